//! Where the config of this machine comes from.
//!
//! One module per source behind [`Provider`]. The kernel command line is
//! asked first, then the platform.

mod cmdline;
mod file;
mod qemu;

use std::path::PathBuf;

use crate::fetch::{FetchError, Fetcher};

pub use cmdline::{Cmdline, platform_id};
pub use file::FileProvider;
pub use qemu::Qemu;

/// A config as a provider gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// What people know the source by, e.g.
    /// `QEMU fw_cfg (opt/com.coreos/config)`.
    pub source: String,
    /// The text.
    pub bytes: Vec<u8>,
}

/// A source of configs.
pub trait Provider {
    /// Upstream's name of the source.
    fn name(&self) -> &'static str;

    /// The config, or None if this source has none for this machine.
    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError>;
}

/// A source that failed to answer.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The config is elsewhere and could not be fetched.
    #[error("the config that {name} names")]
    Fetch {
        /// The provider.
        name: &'static str,
        /// The cause.
        source: FetchError,
    },
    /// A local source could not be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No such platform.
    #[error("platform {0:?} is not implemented in this version; known are: {KNOWN}")]
    Unknown(String),
}

/// Platforms by name.
const KNOWN: &str = "file, metal, qemu";

/// The provider of `platform`, or an error that names the known ones.
///
/// `metal` has no source of its own: its config comes by kernel argument.
pub fn of_platform(platform: &str) -> Result<Option<Box<dyn Provider>>, ProviderError> {
    match platform {
        "qemu" => Ok(Some(Box::new(Qemu::default()))),
        "file" => Ok(Some(Box::new(FileProvider::from_environment()))),
        "metal" => Ok(None),
        other => Err(ProviderError::Unknown(other.to_owned())),
    }
}
