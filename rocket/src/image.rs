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
pub mod export;
pub mod fetch;
mod local;
pub mod manifest;
pub mod name;
pub mod platform;
pub mod progress;
pub mod registries;
mod registry;
pub mod source;
pub mod store;
#[cfg(test)]
mod testing;
pub mod trust;
pub mod unpack;

use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

pub use digest::Digest;
pub use error::Error;
pub use fetch::{FetchOptions, fetch};
pub use local::source as local_source;
pub use registry::{RegistryError, fetch_key};
pub use source::Source;
pub use store::Store;

use crate::dirs::Dirs;
use crate::options::PullPolicy;
use trust::Verified;
use trust::policy::Policies;
use unpack::Limits;

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

/// What a layer may be at most on this host: `image.toml` beside the policies.
///
/// ```toml
/// [limits]
/// bytes = 68719476736     # of its files, unpacked
/// entries = 4000000
/// depth = 256             # components of a path
/// ratio = 200             # bytes unpacked for each one fetched, beyond the first GiB
/// devices = true          # whether it may bring device nodes
/// ```
pub fn limits(dirs: &Dirs) -> Result<Limits, Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        limits: Limits,
    }
    for config in dirs.config() {
        let path = config.join("image.toml");
        match trust::policy::read_text(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("reading", &path)(error)),
            Ok(text) => {
                let parsed: Result<File, _> = toml::from_str(&text);
                let wrong = |error: toml::de::Error| Error::Archive {
                    path,
                    what: error.to_string(),
                };
                return Ok(parsed.map_err(wrong)?.limits);
            }
        }
    }
    Ok(Limits::default())
}

/// An image to run: from the store if it is there and may be used, else fetched. From the
/// store, nothing is started for it, no thread and no runtime.
pub fn obtain(store: &Store, source: &Source, options: &FetchOptions) -> Result<Image, Error> {
    if let Some(image) = store.find(source, options.policy)? {
        let policies = Policies::load(store.dirs()).map_err(trust::TrustError::from)?;
        trust::allows(
            &policies,
            source,
            options.checks,
            &image.id,
            &image.verified,
        )?;
        return Ok(image);
    }
    if options.policy == PullPolicy::Never {
        return Err(Error::absent(&source.to_string()));
    }
    fetch(store, source, options)
}
