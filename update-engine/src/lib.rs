//! Signed A/B updates: a release is fetched block by block, verified before a byte
//! is written, put on trial, and taken back by itself when it does not work.
//!
//! - [`release`]: what a release and a channel look like in a repository; also
//!   used by the publisher;
//! - [`verified`]: what was checked, by its type;
//! - [`remote`]: where bytes come from; [`fetch`]: how they are asked for;
//! - [`server`]: a repository, read and verified; the only part that touches the
//!   network;
//! - [`blocks`], [`tree`], [`frames`]: an image as hashes, and as a file of frames;
//! - [`patch`]: blocks made out of an earlier release's;
//! - [`plan`]: which blocks are there already, which are fetched;
//! - [`slots`]: the slots on the disk; [`install`]: writing a release into one.

pub mod blocks;
mod durable;
pub mod fetch;
pub mod frames;
pub mod install;
pub mod patch;
pub mod plan;
pub mod release;
pub mod remote;
pub mod server;
pub mod slots;
pub mod tree;
pub mod verified;

pub use verified::Verified;
