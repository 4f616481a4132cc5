//! Layers: from compressed bytes to a tree of files, checked while they pass.
//!
//! Nothing of a tree is believed until the digest of the compressed bytes and the digest of
//! the archive in them were right: whoever calls this keeps the tree where nobody looks
//! until then.

mod content;
mod describe;
mod entries;
mod look;
mod number;
mod path;
mod pax;
mod sparse;
mod squeeze;
mod tree;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::thread;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hashing};

pub use entries::{Entries, Entry, Kind, Skip, TarError};
pub use squeeze::{Compression, decoder};
pub use tree::Made;
use tree::Tree;

/// What one layer may be at most. What is not one of these is bounded by constants: names
/// and records, see [`Entries`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes, unpacked: of the archive, and of all files with their holes.
    pub bytes: u64,
    /// Files, directories and all other entries.
    pub entries: u64,
    /// Components of a path.
    pub depth: usize,
    /// Bytes unpacked for each compressed one, beyond the first GiB.
    pub ratio: u64,
    /// Whether a layer may bring device nodes.
    pub devices: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 4_000_000,
            depth: 256,
            ratio: 200,
            devices: true,
        }
    }
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes could not be read.
    #[error("reading the layer")]
    Read(#[source] io::Error),
    /// The compressed bytes are damaged.
    #[error("decompressing the layer ({0})")]
    Decompress(Compression, #[source] io::Error),
    /// More bytes than the manifest says, or fewer.
    #[error("the layer has {found} bytes, its manifest says {expected}")]
    Size {
        /// As the manifest says.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// Not the bytes that the manifest names.
    #[error("the layer's bytes have the digest {found}, its manifest says {expected}")]
    Digest {
        /// As the manifest says.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// Not the content that the configuration names.
    #[error("the layer's content has the digest {found}, the configuration says {expected}")]
    DiffId {
        /// As the configuration says.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// The archive is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file could not be made.
    #[error("{operation} {path:?}")]
    Write {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A name that leads out of the tree, or means nothing.
    #[error("the layer has an entry of the name {0:?}, which is refused")]
    Name(String),
    /// A path with too many components.
    #[error("the path {name:?} has more than {most} components")]
    Depth {
        /// The path.
        name: String,
        /// How many it may have.
        most: usize,
    },
    /// Something below what is no directory.
    #[error("{0:?} is no directory, but something is to be put into it")]
    NoDirectory(String),
    /// A link to nothing, or to what cannot be linked to.
    #[error("the link {0:?} has no target that can be linked to")]
    Link(String),
    /// A hard link to what this layer does not have.
    #[error(
        "{name:?} is a hard link to {target:?}, which this layer does not have; files of other \
         layers cannot be linked to"
    )]
    OtherLayer {
        /// The link.
        name: String,
        /// Its target.
        target: String,
    },
    /// A device that policy, or the meaning of 0/0, forbids.
    #[error("the device {name:?} ({major}, {minor}) is refused")]
    Device {
        /// Where it would be.
        name: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// Too many entries.
    #[error("the layer has more than {0} entries")]
    Entries(u64),
    /// Too many bytes.
    #[error("the layer unpacks to more than {0} bytes")]
    Bytes(u64),
    /// Too many bytes for so few.
    #[error("the layer unpacks to more than {0} times its size")]
    Ratio(u64),
    /// A thread could not be started, or ended by itself.
    #[error("unpacking in two threads")]
    Thread(#[source] io::Error),
}

impl UnpackError {
    /// Whether it failed because a disk is full.
    pub fn is_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::Read(source)
            | Self::Decompress(_, source)
            | Self::Write { source, .. }
            | Self::Tar(TarError::Read(source)) => full(source),
            _ => false,
        }
    }
}

/// What a layer must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Digest of the bytes as they are fetched.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Digest of the archive in them.
    pub diff_id: Digest,
}

impl Expected {
    /// The bytes that were fetched are the ones that were promised: their number first, which
    /// tells more of what went wrong.
    ///
    /// # Errors
    /// They are others.
    pub fn check(&self, digest: Digest, size: u64) -> Result<(), UnpackError> {
        if size != self.size {
            return Err(UnpackError::Size {
                expected: self.size,
                found: size,
            });
        }
        if digest != self.digest {
            return Err(UnpackError::Digest {
                expected: self.digest,
                found: digest,
            });
        }
        Ok(())
    }
}

/// Unpacks a layer below a directory, which must be empty and out of everybody's reach.
/// The tree may be believed only if this succeeds.
pub fn unpack(
    source: impl Read + Send,
    expected: &Expected,
    root: OwnedFd,
    limits: &Limits,
) -> Result<Made, UnpackError> {
    let (send, archive) = squeeze::pipe();
    let (fetched, built) = thread::scope(|scope| {
        let builder = thread::Builder::new().name("decompress".to_owned());
        let decompress = move || squeeze::run(source, expected, limits, &send);
        let thread = builder.spawn_scoped(scope, decompress);
        let thread = thread.map_err(UnpackError::Thread)?;
        let built = build(archive, root, limits);
        let gone = |_| UnpackError::Thread(io::Error::other("a thread has panicked"));
        Ok::<_, UnpackError>((thread.join().map_err(gone)?, built))
    })?;
    // Wrong bytes explain a wrong archive, not the other way round.
    fetched?;
    let (made, found) = built?;
    if found != expected.diff_id {
        return Err(UnpackError::DiffId {
            expected: expected.diff_id,
            found,
        });
    }
    Ok(made)
}

/// Makes the tree, and hashes the archive to its very end.
fn build(
    archive: impl Read,
    root: OwnedFd,
    limits: &Limits,
) -> Result<(Made, Digest), UnpackError> {
    let mut entries = Entries::new(Hashing::new(archive));
    let mut tree = Tree::new(root, limits);
    while let Some(entry) = entries.next_entry()? {
        tree.add(&entry, &mut entries)?;
    }
    let mut rest = entries.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(TarError::Read)?;
    let (digest, _) = rest.finish();
    Ok((tree.finish()?, digest))
}
