//! Images: what they are called, where they come from, who signed them, where they are kept.
//!
//! [`obtain`] is what running a pod asks: an image from the [`Store`](store::Store) if it
//! is there and trusted, else fetched. Everything that comes from outside is bounded, and
//! compared with the digest that named it before it is believed:
//!
//! 1. [`trust`] says what the policies demand; the manifest is read, by tag or by digest,
//!    and the signatures of its digest; what is not trusted ends here;
//! 2. layers are fetched, decompressed, hashed twice and [unpacked](unpack) as they come,
//!    several at once;
//! 3. what was right is put on the disk and gets its name by a rename.

pub mod digest;
mod error;
pub mod fetch;
mod local;
pub mod manifest;
pub mod name;
pub mod platform;
pub mod progress;
pub mod source;
pub mod store;
pub mod trust;
pub mod unpack;

use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::image::ImageConfiguration;

pub use digest::Digest;
pub use error::Error;
pub use fetch::{FetchOptions, fetch};
pub use source::Source;
pub use store::Store;

use crate::dirs::Dirs;
use trust::Verified;
use trust::policy::Policies;

/// An image of the store, ready to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its manifest.
    pub id: Digest,
    /// The name by which it was found.
    pub name: String,
    /// How it is to be run.
    pub config: ImageConfiguration,
    /// Trees of its layers, the lowest first, with whiteouts as overlayfs has them.
    pub layers: Vec<PathBuf>,
    /// Why it is trusted.
    pub verified: Verified,
}

/// When a registry is asked for an image that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PullPolicy {
    /// Only if it is not in the store.
    #[default]
    Missing,
    /// Always; what is there already is not fetched again.
    Always,
    /// Never: what is not in the store is an error.
    Never,
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(text, false)
    }
}

/// An image to run: from the store if it is there and may be used, else fetched. From the
/// store, nothing is started for it, no thread and no runtime.
pub fn obtain(
    dirs: &Dirs,
    store: &Store,
    source: &Source,
    options: &FetchOptions,
) -> Result<Image, Error> {
    if let Some(image) = store.find(source, options.pull)? {
        let policies = Policies::load(dirs).map_err(trust::TrustError::from)?;
        trust::allows(&policies, source, options.checks, &image.id, &image.verified)?;
        return Ok(image);
    }
    if options.pull == PullPolicy::Never {
        return Err(Error::absent(&source.to_string()));
    }
    fetch(dirs, store, source, options)
}
