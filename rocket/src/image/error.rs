//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::manifest::{ConfigError, ManifestError};
use super::source::SourceError;
use super::trust::TrustError;
use super::unpack::UnpackError;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is none.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An image that nobody may run.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Files about registries.
    #[error(transparent)]
    Registries(#[from] super::registries::RegistriesError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] super::registry::RegistryError),
    /// The kernel refused something.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No room. What was there before is as it was.
    #[error(
        "the disk of {} is full: nothing of {object} was kept; `rocket image gc` frees what is \
         not needed",
        .path.display()
    )]
    Full {
        /// What there was no room for.
        object: String,
        /// On which disk.
        path: PathBuf,
    },
    /// A record of the store that cannot be read or written.
    #[error("the record {} is damaged; fetch the image again, or remove the record", .path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Nothing in the store.
    #[error(
        "the store has no image {0:?}; `rocket image list` shows what it has, `rocket fetch` adds one"
    )]
    Absent(String),
    /// Several in the store.
    #[error("several images in the store begin with sha256:{0}: write more digits")]
    Ambiguous(String),
    /// A manifest that is none, or none of an image.
    #[error("the manifest of {0}")]
    Manifest(String, #[source] ManifestError),
    /// A configuration that is none.
    #[error("the configuration {0}")]
    Config(String, #[source] ConfigError),
    /// A layer that cannot be used.
    #[error("the layer {digest}")]
    Layer {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: UnpackError,
    },
    /// Nothing for this machine.
    #[error("{image} has nothing for {machine}, only for {has}")]
    Platform {
        /// Which image.
        image: String,
        /// What this machine is.
        machine: String,
        /// What there is.
        has: String,
    },
    /// Bytes that are not what they were called.
    #[error("{object} has the digest {found}, but was called {expected}")]
    Digest {
        /// What.
        object: String,
        /// What it was called.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A file that is not in the archive or layout, or is too long.
    #[error("{path}: {what}", path = .path.display())]
    Archive {
        /// Archive or layout.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An archive that cannot be read.
    #[error("reading {}", .path.display())]
    Tar {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: super::unpack::TarError,
    },
    /// Several images, and none was chosen, or one that is not there.
    #[error("{}: {what}; it has {has}", .path.display())]
    Choice {
        /// Archive or layout.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Which images there are.
        has: String,
    },
}

impl Error {
    /// For `map_err`: what was being done to which file.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                object: "the image".to_owned(),
                path,
            },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// Something that is not in the store.
    pub fn absent(name: &str) -> Self {
        Self::Absent(name.to_owned())
    }

    /// What is wrong with a layer; a full disk is the disk's fault.
    pub fn layer(digest: &Digest, store: &Path, source: UnpackError) -> Self {
        if source.is_full() {
            return Self::Full {
                object: format!("the layer {digest}"),
                path: store.to_owned(),
            };
        }
        Self::Layer {
            digest: *digest,
            source,
        }
    }
}
