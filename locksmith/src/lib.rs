//! When a host reboots: it needs to, a window is open, its cluster can spare it.
//! Locksmith decides when; what is booted is not its business, and it never touches slots.
//!
//! - [`plan`]: how far a reboot has come, a pure state machine; [`window`]: when it may;
//! - [`daemon`]: decides and acts; [`bus`]: it on D-Bus; [`view`]: what it shows;
//!   [`client`] is `locksmithctl`;
//! - [`host`], [`engine`]: what this host is, and what update-engine says of it;
//!   [`machine`], [`sessions`], [`hooks`]: rebooting, who is logged in, programs before;
//! - [`settings`], [`state`]: the policy, and what is remembered;
//! - [`lock`]: what a group's lock can be asked; [`locks`]: from the policy to one;
//! - [`record`], [`semaphore`]: what a group keeps, and deciding about it; [`classic`]: what
//!   it had before;
//! - [`etcd`]: the lock there; [`fleet_lock`]: the lock at a server, and such a server,
//!   which [`serve`] runs.

pub mod bus;
pub mod classic;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod etcd;
pub mod fleet_lock;
pub mod hooks;
pub mod host;
pub mod lock;
pub mod locks;
pub mod machine;
pub mod plan;
pub mod record;
pub mod semaphore;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod state;
pub mod view;
pub mod window;

#[cfg(feature = "simulation")]
pub mod simulation;
