//! Signed A/B updates: a release is fetched block by block, verified before a byte
//! is written, put on trial, and taken back by itself when it does not work.
//!
//! - [`release`]: what a release and a channel look like in a repository; also
//!   used by the publisher;
//! - [`verified`]: what was checked, by its type;
//! - [`remote`]: where bytes come from;
//! - [`server`]: a repository, read and verified; the only part that touches the
//!   network.

mod durable;
pub mod release;
pub mod remote;
pub mod server;
pub mod verified;

pub use verified::Verified;
