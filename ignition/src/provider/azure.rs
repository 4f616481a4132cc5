//! Azure: user data from the metadata service, else custom data from the
//! provisioning disc.

use crate::fetch::{FetchError, Fetcher};
use crate::log;

use super::disc::{Drives, wait_for};
use super::metadata::{LINK_LOCAL, Question};
use super::{Provider, ProviderError, Raw};

const USER_DATA: &str = "/metadata/instance/compute/userData?api-version=2021-01-01&format=text";
/// The service says 404 and 410 while it is being updated, 429 when it is
/// asked too often.
const NOT_YET: &[u16] = &[404, 410, 429];

const CUSTOM_DATA: &str = "CustomData.bin";
/// Tells the provisioning disc from any other.
const MARK: &str = "ovf-env.xml";
const KINDS: [&str; 2] = ["udf", "iso9660"];

/// User data or custom data of the virtual machine.
#[derive(Debug, Clone)]
pub struct Azure {
    base: String,
    drives: Drives,
}

impl Default for Azure {
    fn default() -> Self {
        Self::new(LINK_LOCAL.to_owned(), Drives::default())
    }
}

impl Azure {
    /// Asks the service at `base` and looks for the disc among `drives`.
    pub fn new(base: String, drives: Drives) -> Self {
        Self { base, drives }
    }

    fn user_data(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let answer = Question {
            name: "azure",
            service: "Azure user data",
            url: format!("{}{USER_DATA}", self.base),
            headers: vec![("Metadata", "true".to_owned())],
            again: NOT_YET,
        }
        .ask(fetcher)?;
        let filled = answer.filter(|raw| !raw.bytes.trim_ascii().is_empty());
        filled.map(Raw::base64_decoded).transpose()
    }

    fn custom_data(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let patience = fetcher.patience();
        let found = wait_for(fetcher, patience, || self.disc().transpose());
        found.unwrap_or_else(|| {
            Err(ProviderError::NoDisc {
                what: "Azure's provisioning disc (with ovf-env.xml)",
                seconds: patience.as_secs(),
            })
        })
    }

    /// What the provisioning disc says; None if there is none.
    fn disc(&self) -> Result<Option<Option<Raw>>, ProviderError> {
        for device in self.drives.optical() {
            // An empty drive, or somebody else's disc.
            let Ok(disc) = self.drives.open(&device, &KINDS) else {
                continue;
            };
            if disc.read(MARK)?.is_none() {
                continue;
            }
            let bytes = disc.read(CUSTOM_DATA)?;
            return Ok(Some(bytes.map(|bytes| Raw {
                source: format!("Azure custom data ({})", disc.name(CUSTOM_DATA)),
                bytes,
            })));
        }
        Ok(None)
    }
}

impl Provider for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        match self.user_data(fetcher) {
            Ok(Some(raw)) => Ok(Some(raw)),
            Ok(None) => {
                log::info("there is no user data; looking for custom data");
                self.custom_data(fetcher)
            }
            // A machine whose service does not answer may have the disc.
            Err(ProviderError::Fetch { source, name }) if gave_up(&source) => {
                log::warn(&source.to_string());
                match self.disc()? {
                    Some(answer) => Ok(answer),
                    None => Err(ProviderError::Fetch { name, source }),
                }
            }
            Err(error) => Err(error),
        }
    }
}

fn gave_up(error: &FetchError) -> bool {
    matches!(error, FetchError::GaveUp { .. })
}
