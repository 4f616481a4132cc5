//! First-boot provisioning: reads an Ignition config (spec 3.0.0 to 3.6.0),
//! merges what it refers to, checks it as a whole, and makes the host so.
//!
//! The path of a config through the crate:
//!
//! 1. [`provider`] finds the config of this machine;
//! 2. [`config`] parses it, with line and column for every complaint,
//!    refuses what is not implemented, and merges parents with children;
//! 3. [`fetch`] brings what `source` keys name, verified;
//! 4. [`stage`] acts: `fetch-offline` and `fetch` leave the merged config in
//!    a cache, `files` carries it out below a root directory.
//!
//! Nothing below the root is written before the whole merged config is known
//! and was accepted. The files stage can be cut off at any instant and run
//! again; it ends in the same state (see [`stage::files`]).
//!
//! With the cargo feature `tools` there is also `tools`: the same code for
//! a laptop.

pub mod account;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod durable;
pub mod failure;
pub mod fetch;
pub mod log;
pub mod module;
pub mod program;
pub mod provider;
pub mod report;
pub mod root;
pub mod stage;
pub mod state;
#[cfg(feature = "tools")]
pub mod tools;
