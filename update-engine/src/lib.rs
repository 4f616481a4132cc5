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
//! - [`slots`]: the slots on the disk; [`install`]: writing a release into one;
//! - [`attempt`]: how far an update has come, a pure state machine; [`state`]: what is
//!   remembered of it;
//! - [`next`], [`wave`], [`schedule`]: which release is taken, and when;
//! - [`host`], [`marks`]: what runs, and the slots' bits;
//! - [`settings`]: the engine's part of the policy;
//! - [`daemon`]: decides and acts, with an [`updater`]; [`bus`]: it on D-Bus;
//!   [`view`]: what it shows;
//! - [`gate`], [`health`], [`trial`]: what a release on trial has to show;
//! - [`client`] is `updatectl`; [`programs`]: what is started.

pub mod attempt;
pub mod blocks;
pub mod bus;
pub mod client;
pub mod daemon;
pub mod fetch;
pub mod frames;
pub mod gate;
pub mod health;
pub mod host;
pub mod install;
pub mod marks;
pub mod next;
pub mod patch;
pub mod plan;
pub mod programs;
pub mod release;
pub mod remote;
pub mod schedule;
pub mod server;
pub mod settings;
pub mod slot_name;
pub mod slots;
pub mod state;
pub mod tree;
pub mod trial;
pub mod updater;
pub mod verified;
pub mod view;
pub mod wave;

#[cfg(test)]
mod testing;

pub use verified::Verified;
