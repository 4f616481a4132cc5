//! What Ballast's daemons, and the programs that talk to them, share.
//!
//! - [`policy`]: TOML fragments of the operator, and what they add up to;
//! - [`durable`]: files that are there whole or not at all; [`kept`]: reading what a
//!   daemon remembers;
//! - [`log`]: lines for the journal;
//! - [`pause`]: how long to wait before something is tried again;
//! - [`scripts`]: executables that operators drop into directories;
//! - `reboot` (feature `reboot`): rebooting;
//! - `bus` (feature `bus`): who calls an object on D-Bus;
//! - `client` (feature `client`): programs that people talk to daemons with;
//! - `yaml` (feature `yaml`): a text as a tree whose nodes know where they are.

#[cfg(feature = "bus")]
pub mod bus;
#[cfg(feature = "client")]
pub mod client;
pub mod durable;
pub mod kept;
pub mod log;
pub mod pause;
pub mod policy;
#[cfg(feature = "reboot")]
pub mod reboot;
pub mod scripts;
#[cfg(feature = "yaml")]
pub mod yaml;
