//! What Ballast's daemons share.
//!
//! - [`policy`]: TOML fragments of the operator, and what they add up to;
//! - [`durable`]: files that are there whole or not at all;
//! - [`log`]: lines for the journal.

pub mod durable;
pub mod log;
pub mod policy;
