//! Policy: TOML fragments that an operator drops on a host, and what they add up to.
//!
//! - [`fragment`]: which files count ([`Roots`]), and reading them;
//! - [`schema`]: every daemon declares its sections as types; here their keys are
//!   checked, one by one, so that each complaint names file, line and key;
//! - [`merge`]: fragments in order become one [`Policy`] that remembers where each value
//!   came from;
//! - [`follow`]: what a daemon does when the files change under it, or are wrong;
//! - [`length`](mod@length): lengths of time as people write them; [`value`]: values that
//!   are checked when they are read;
//! - [`reboot`]: the sections about reboots, which several programs know;
//! - `watch` (feature `watch`): being told about changes.
//!
//! # Precedence
//!
//! Directories from lowest to highest: `/usr/lib/ballast/config.d`,
//! `/run/ballast/config.d`, `/etc/ballast/config.d`. A file replaces the one of the same
//! name in a lower directory, also when it is wrong; a link to `/dev/null` removes it.
//! What is left is merged in the order of the names: the last value of a key counts,
//! arrays are replaced whole.

pub mod follow;
pub mod fragment;
pub mod length;
pub mod merge;
pub mod problem;
pub mod reboot;
pub mod schema;
pub mod value;
#[cfg(feature = "watch")]
pub mod watch;

pub use follow::Follower;
pub use fragment::Roots;
pub use length::{Grace, Length};
pub use merge::{Entry, Policy, SectionError, load};
pub use problem::{Origin, Problem, Severity};
pub use schema::{Schema, Section};
pub use value::BadValue;
