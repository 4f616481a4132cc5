//! Config drives: discs labelled `config-2` in OpenStack's layout.

use std::path::Path;
use std::time::Duration;

use crate::fetch::Fetcher;

use super::disc::{CONFIG_DRIVE, Drives, wait_for};
use super::{Provider, ProviderError, Raw};

/// Labels that OpenStack gives them; `vfat` may have only capitals.
pub const LABELS: [&str; 2] = ["config-2", "CONFIG-2"];

const USER_DATA: &str = "openstack/latest/user_data";

/// A platform on which the config drive is the only source.
#[derive(Debug, Clone)]
pub struct ConfigDrive {
    name: &'static str,
    drives: Drives,
}

impl ConfigDrive {
    /// KubeVirt, with `cloudInitConfigDrive`.
    pub fn kubevirt(drives: Drives) -> Self {
        Self {
            name: "kubevirt",
            drives,
        }
    }

    /// Nutanix AHV.
    pub fn nutanix(drives: Drives) -> Self {
        Self {
            name: "nutanix",
            drives,
        }
    }
}

impl Provider for ConfigDrive {
    fn name(&self) -> &'static str {
        self.name
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let patience = fetcher.patience();
        match wait_for(fetcher, patience, || self.drives.labelled(&LABELS)) {
            Some(device) => read(&self.drives, &device),
            None => Err(no_disc(LABELS[0], patience)),
        }
    }
}

/// The config on the config drive `device`.
pub fn read(drives: &Drives, device: &Path) -> Result<Option<Raw>, ProviderError> {
    let disc = drives.open(device, &CONFIG_DRIVE)?;
    let bytes = disc.read(USER_DATA)?;
    Ok(bytes.map(|bytes| Raw {
        source: format!("config drive ({})", disc.name(USER_DATA)),
        bytes,
    }))
}

/// That no disc `what` came.
pub fn no_disc(what: &'static str, patience: Duration) -> ProviderError {
    ProviderError::NoDisc {
        what,
        seconds: patience.as_secs(),
    }
}
