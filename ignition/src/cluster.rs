//! What a node shows its cluster: a certificate, its key, the authority; and whether
//! they are right.
//!
//! One judge for three places: `ignition translate` on a laptop ([`judge`] of what is
//! embedded), first boot (of what was fetched, before anything is written), and the host
//! (`ignition cluster check`, before the agent starts and once a day).

mod certificate;
mod check;
mod judge;

pub use check::run;
pub use judge::{Fault, FaultKind, Judgement, Material, NodeName, Part, judge};

/// Where a node's material is.
pub const DIRECTORY: &str = "/etc/cluster";

/// The authority's certificate.
pub const CA: &str = "/etc/cluster/ca.crt";

/// The node's certificate, with those between it and the authority.
pub const CERTIFICATE: &str = "/etc/cluster/node.crt";

/// The key of the node's certificate.
pub const KEY: &str = "/etc/cluster/node.key";

/// What a node without a certificate asks for one with.
pub const TOKEN: &str = "/etc/cluster/token";

/// The node's name, if the config gives one.
pub const NAME: &str = "/etc/cluster/name";

/// The cluster's domain.
pub const DOMAIN: &str = "/etc/cluster/domain";
