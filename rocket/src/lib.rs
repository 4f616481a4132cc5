//! Containers without a daemon.
//!
//! `rocket run` is the parent of the app: signals and standard streams go straight through,
//! and the app's exit status is rocket's. What a host has is directories: images and layers
//! in a store named by content, pods whose life is a rename. Any number of rockets agree on
//! them by `flock`, and one that was killed leaves nothing that `rocket gc` does not clean.
//!
//! [`image`] brings images into the store and says whose they are, [`runtime`] turns an OCI
//! runtime spec into a running process, `pod` puts the two together, [`declared`] runs the pods
//! that files declare, [`oci`] is the command line by which other engines call the runtime.

pub mod cli;
pub mod declared;
pub mod detach;
pub mod dirs;
pub mod durable;
pub mod image;
pub mod names;
pub mod network;
pub mod notify;
pub mod oci;
pub mod options;
pub mod pod;
pub mod process;
mod relay;
pub mod runtime;

/// The exit status of what rocket itself could not do.
pub const FAILED: u8 = 254;
