//! Proxmox VE: the cloud-init disc.

use std::time::Duration;

use crate::fetch::Fetcher;
use crate::log;

use super::disc::{CONFIG_DRIVE, Drives, wait_for};
use super::{Provider, ProviderError, Raw};

/// How long a disc may take to appear; machines need not have one.
const PATIENCE: Duration = Duration::from_secs(30);
/// The user's comes before the vendor's.
const FILES: [&str; 2] = ["user-data", "vendor-data"];

/// A disc labelled `cidata`, in cloud-init's layout, with Ignition JSON in
/// place of cloud-init's own language.
#[derive(Debug, Clone, Default)]
pub struct ProxmoxVe {
    drives: Drives,
}

impl ProxmoxVe {
    /// Looks among `drives`.
    pub fn new(drives: Drives) -> Self {
        Self { drives }
    }
}

impl Provider for ProxmoxVe {
    fn name(&self) -> &'static str {
        "proxmoxve"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let patience = PATIENCE.min(fetcher.patience());
        let found = wait_for(fetcher, patience, || {
            self.drives.labelled(&["cidata", "CIDATA"])
        });
        let Some(device) = found else {
            log::warn(&format!(
                "no disc labelled cidata after {} s; this machine gets no config",
                patience.as_secs()
            ));
            return Ok(None);
        };
        let disc = self.drives.open(&device, &CONFIG_DRIVE)?;
        for path in FILES {
            let Some(bytes) = disc.read(path)? else {
                continue;
            };
            let source = disc.name(path);
            if is_for_us(&bytes) {
                return Ok(Some(Raw { source, bytes }));
            }
            if !bytes.is_empty() {
                log::warn(&format!("{source} is not Ignition JSON and is passed over"));
            }
        }
        Ok(None)
    }
}

/// Whether this is meant to be JSON. If it has mistakes, people must learn of
/// them; what cloud-init writes by itself is no mistake.
fn is_for_us(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}
