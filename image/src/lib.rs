//! Builds Ballast releases and publishes them.
//!
//! `image` owns the way from Debian packages and this repository to one release
//! directory: a system tree made by mkosi, `/usr` as erofs with its verity tree,
//! a unified kernel image that names the verity root, and a bootable disk.
//! Everything runs in the *tools tree* ([`tools::Tools`]), so that the bytes do
//! not depend on the distribution of the build machine.
//!
//! [`keys`] and [`publish`] put releases into a signed repository, [`serve`] shows it on
//! HTTP.

pub mod build;
pub mod cache;
mod durable;
pub mod host;
pub mod keys;
mod parallel;
pub mod progress;
pub mod publish;
#[cfg(any(test, feature = "testing"))]
pub mod python_tuf;
pub mod reproduce;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
pub mod serve;
pub mod tools;

pub use build::{BuildOptions, build};
pub use cache::cache_dir;
