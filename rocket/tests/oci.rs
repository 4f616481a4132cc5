//! Containers from bundles, made by the program itself as root of this host.
//!
//! What needs controllers of cgroup v2 is tested in guests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "oci/bundle.rs"]
mod bundle;
#[path = "oci/crash.rs"]
mod crash;
#[path = "oci/files.rs"]
mod files;
#[path = "oci/life.rs"]
mod life;
#[path = "oci/privileges.rs"]
mod privileges;
