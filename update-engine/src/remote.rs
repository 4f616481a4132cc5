//! Where the bytes of a repository come from: the network, a directory, a tar.

use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

/// Bytes as they arrive, in order. Nothing about them was checked.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>;

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server, or the path to it, failed; trying again may help.
    #[error("reading {target}")]
    Transport {
        /// Name of the target in the repository.
        target: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with other bytes than were asked for: a wrong
    /// `Content-Range`, more or fewer bytes than the range has.
    #[error("reading {target}: asked for bytes {}..{}, the server answered {answer}", .asked.start, .asked.end)]
    WrongRange {
        /// Name of the target in the repository.
        target: String,
        /// What was asked for.
        asked: Range<u64>,
        /// What came.
        answer: String,
    },
    /// The target is not there, or is not one that is read; trying again at once does
    /// not help.
    #[error("reading {target}")]
    Refused {
        /// Name of the target in the repository.
        target: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server does not serve ranges; ask for the whole.
    #[error("the server does not serve parts of {target}")]
    NoRanges {
        /// Name of the target in the repository.
        target: String,
    },
}

impl RemoteError {
    /// Whether asking again may help, with nothing changed by hand.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::WrongRange { .. })
    }
}

/// Bytes of a repository's targets, by name. Whoever reads them checks them: the
/// hashes of a [`crate::release::Descriptor`] that was verified decide.
#[async_trait::async_trait]
pub trait Remote: Send + Sync {
    /// Opens `range` of the target, or all of it. The stream yields exactly that many
    /// bytes or an error; it fails when the sender is slower than the policy allows.
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError>;
}
