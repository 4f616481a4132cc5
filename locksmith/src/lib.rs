//! When a host reboots: it needs to, a window is open, its cluster can spare it.
//! Locksmith decides when; what is booted is not its business, and it never touches slots.

pub mod classic;
pub mod etcd;
pub mod fleet_lock;
pub mod lock;
pub mod record;
pub mod semaphore;

#[cfg(feature = "simulation")]
pub mod simulation;
