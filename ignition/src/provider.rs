//! Where the config of this machine comes from.
//!
//! One module per source behind [`Provider`]. The kernel command line is
//! asked first, then the system's own `user.ign`, then the platform. Parts that
//! come with the system are merged in before ([`System`]).

mod aws;
mod azure;
mod cmdline;
mod configdrive;
mod disc;
mod file;
pub mod hyperv;
mod metadata;
mod openstack;
mod proxmoxve;
mod qemu;
mod system;
pub mod virtualbox;
pub mod vmware;

use std::path::PathBuf;

use crate::fetch::{FetchError, Fetcher};

pub use aws::Aws;
pub use azure::Azure;
pub use cmdline::{Cmdline, experimental, platform_id, report_url};
pub use configdrive::ConfigDrive;
pub use disc::{Drives, Mount};
pub use file::FileProvider;
pub use hyperv::HyperV;
pub use metadata::Service;
pub use openstack::OpenStack;
pub use proxmoxve::ProxmoxVe;
pub use qemu::Qemu;
pub use system::System;
pub use virtualbox::VirtualBox;
pub use vmware::VmWare;

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
    /// What a source gave cannot be undone to a config.
    #[error("{place}: {message}")]
    Encoding {
        /// The source.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A disc could not be mounted.
    #[error("mounting {}", .device.display())]
    Mount {
        /// The disc.
        device: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The disc that every machine of the platform has is not there.
    #[error("no disc {what} appeared in {seconds} s; attach it to this machine")]
    NoDisc {
        /// Its label or kind.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The hypervisor below this machine did not answer.
    #[error("asking the host for {what}")]
    Host {
        /// What it was asked for, and how.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No such platform.
    #[error("platform {0:?} is not implemented in this version; known are: {KNOWN}")]
    Unknown(String),
}

/// Platforms by name.
const KNOWN: &str = "aws, azure, digitalocean, file, gcp, hetzner, hyperv, kubevirt, metal, \
                     nutanix, openstack, oraclecloud, proxmoxve, qemu, virtualbox, vmware, vultr";

/// The provider of `platform`, or an error that names the known ones.
///
/// `metal` has no source of its own: its config comes by kernel argument.
pub fn of_platform(platform: &str) -> Result<Option<Box<dyn Provider>>, ProviderError> {
    let drives = Drives::default;
    Ok(Some(match platform {
        "metal" => return Ok(None),
        "aws" => Box::new(Aws::default()),
        "azure" => Box::new(Azure::default()),
        "file" => Box::new(FileProvider::from_environment()),
        "hyperv" => Box::new(HyperV::default()),
        "kubevirt" => Box::new(ConfigDrive::kubevirt(drives())),
        "nutanix" => Box::new(ConfigDrive::nutanix(drives())),
        "openstack" | "brightbox" => Box::new(OpenStack::default()),
        "proxmoxve" => Box::new(ProxmoxVe::default()),
        "qemu" => Box::new(Qemu::default()),
        "virtualbox" => Box::new(VirtualBox::default()),
        "vmware" => Box::new(VmWare::default()),
        other => match Service::of_platform(other) {
            Some(service) => Box::new(service),
            None => return Err(ProviderError::Unknown(other.to_owned())),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_platform_has_its_provider() {
        for platform in KNOWN.split(", ").map(str::trim) {
            let provider = of_platform(platform).unwrap();
            let name = provider.map_or("metal", |provider| provider.name());
            assert_eq!(name, platform);
        }
        let error = of_platform("plan9").err().unwrap().to_string();
        assert!(
            error.contains("plan9") && error.contains("openstack"),
            "{error}"
        );
    }
}
