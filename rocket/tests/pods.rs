//! Pods, run by the program itself as root, each test on a host of its own: a network
//! namespace, a part of the control groups, and a file system in memory, which only the test
//! and its children see.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "pods/declared.rs"]
mod declared;
#[path = "pods/host.rs"]
mod host;
#[path = "pods/image.rs"]
mod image;
#[path = "pods/isolation.rs"]
mod isolation;
#[path = "pods/killed.rs"]
mod killed;
#[path = "pods/many.rs"]
mod many;
#[path = "pods/networks.rs"]
mod networks;
#[path = "pods/options.rs"]
mod options;
#[path = "pods/steps.rs"]
mod steps;
#[path = "pods/verbs.rs"]
mod verbs;
#[path = "pods/volumes.rs"]
mod volumes;
