//! The network of pods: rocket's own bridge, with addresses, ports and names.
//!
//! What is there is derived from files: one per address that is taken, in a directory that
//! one rocket at a time changes. Devices go with the network namespace of the pod that they
//! lead to, so a pod that was killed leaves an address, which the next `rocket gc` or the
//! next pod that needs one takes back, and nothing else.

mod bridge;
mod cni;
mod config;
mod files;
mod lease;
mod link;
mod rules;

use std::io;
use std::path::PathBuf;

pub use bridge::{Bridge, attach, loopback};
pub use cni::{Attachment, CniError, Member, attach as attach_cni, detach as detach_cni};
pub use config::Settings;
pub use files::{Names, hosts, resolv_conf};
pub use lease::{Lease, Leases};

/// A network that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A file could not be used.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refused a change of devices, addresses or routes.
    #[error("{operation} {object}")]
    Link {
        /// What was done.
        operation: &'static str,
        /// With which device or address.
        object: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of settings is wrong.
    #[error("{}: {message}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// All addresses are taken.
    #[error(
        "all {taken} addresses of {network} are taken; give the network a wider `ipv4` in \
         /etc/rocket/network.toml, or remove pods"
    )]
    Full {
        /// The network.
        network: String,
        /// How many there are.
        taken: usize,
    },
    /// A port of the host is taken by another pod.
    #[error("port {port} of the host leads into pod {pod} already")]
    PortTaken {
        /// The port, as it was asked for.
        port: String,
        /// The other pod.
        pod: String,
    },
    /// Rules for forwarding and masquerading could not be loaded.
    #[error("loading rules with nft: {0}")]
    Rules(String),
}

fn failed(
    operation: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.into();
    move |source| NetworkError::Io {
        operation,
        path,
        source,
    }
}
