//! Reading files of a repository, wherever it is.

use std::error::Error;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::directory::Directory;
use super::http::Http;
use super::name::BadName;
use super::tar::Tar;
use crate::remote::RemoteError;

/// Bytes of a file of the repository, in order.
pub(crate) type FetchStream = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;

/// Why a file of a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The repository does not have it.
    #[error("{file} is not there")]
    Missing {
        /// The file, from the root of the repository.
        file: String,
    },
    /// The connection, the disk or the server failed.
    #[error("reading {file} failed; check the network, the proxy and the server")]
    Broken {
        /// The file, from the root of the repository.
        file: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server answered with an error.
    #[error("the server answered {status} when asked for {file}")]
    Status {
        /// The file, from the root of the repository.
        file: String,
        /// Status of HTTP.
        status: u16,
    },
    /// The server keeps the connection but hardly sends anything.
    #[error(
        "the server sent {bytes} bytes of {file} in {seconds} seconds, which is too slow to \
         wait for; check its load, the network and the proxy"
    )]
    TooSlow {
        /// The file, from the root of the repository.
        file: String,
        /// What came in the last window.
        bytes: u64,
        /// Length of the window.
        seconds: u64,
    },
    /// The file goes on after its end.
    #[error(
        "{file} is longer than the {limit} bytes that it may have; check that the server is \
         the right one and that nothing between changes what it sends"
    )]
    TooLong {
        /// The file, from the root of the repository.
        file: String,
        /// Bytes it may have.
        limit: u64,
    },
    /// The file ends before its end.
    #[error(
        "{file} ended after {arrived} of {expected} bytes; check that the server's copy is \
         whole"
    )]
    TooShort {
        /// The file, from the root of the repository.
        file: String,
        /// Bytes that came.
        arrived: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The server sent the whole file instead of a part.
    #[error("the server does not serve parts of {file}")]
    NoRanges {
        /// The file, from the root of the repository.
        file: String,
    },
    /// The server sent something else than the part that was asked for.
    #[error("asked for bytes {}..{} of {file}, the server answered {answer}; check that its \
             copy is whole and that no proxy changes answers", .asked.start, .asked.end)]
    WrongRange {
        /// The file, from the root of the repository.
        file: String,
        /// What was asked for.
        asked: Range<u64>,
        /// What came.
        answer: String,
    },
    /// The file is not one that is read: a link out of the repository, a device.
    #[error("{file} is not read: {reason}")]
    Refused {
        /// The file, from the root of the repository.
        file: String,
        /// Why.
        reason: String,
    },
    /// The name of the file is not one.
    #[error(transparent)]
    Name(#[from] BadName),
}

impl FetchError {
    pub(crate) fn broken(file: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken {
            file: file.to_string(),
            source: source.into(),
        }
    }

    pub(crate) fn refused(file: &str, reason: impl Into<String>) -> Self {
        Self::Refused {
            file: file.to_string(),
            reason: reason.into(),
        }
    }

    /// Whether the same request may succeed in a moment, with nothing changed by hand.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::TooSlow { .. } | Self::TooShort { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }

    /// The same for whoever asked for the target by its name.
    pub(crate) fn into_remote(self, target: &str) -> RemoteError {
        let target = target.to_string();
        match self {
            Self::NoRanges { .. } => RemoteError::NoRanges { target },
            Self::WrongRange { asked, answer, .. } => RemoteError::WrongRange {
                target,
                asked,
                answer,
            },
            error if error.is_transient() => RemoteError::Transport {
                target,
                source: error.into(),
            },
            error => RemoteError::Refused {
                target,
                source: error.into(),
            },
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole file, which may have so many bytes.
    AtMost(u64),
    /// The whole file, which has so many bytes.
    Whole(u64),
    /// A part of a file that has `of` bytes.
    Range { range: Range<u64>, of: u64 },
}

impl Part {
    /// Refuses a part that does not lie in its file.
    fn check(&self, file: &str) -> Result<(), FetchError> {
        match self {
            Self::Range { range, of } if range.start > range.end || range.end > *of => {
                let reason = format!("bytes {}..{} of {of}", range.start, range.end);
                Err(FetchError::refused(file, reason))
            }
            _ => Ok(()),
        }
    }

    /// Bytes that must come; none if that is not known.
    fn exact(&self) -> Option<u64> {
        match self {
            Self::AtMost(_) => None,
            Self::Whole(length) => Some(*length),
            Self::Range { range, .. } => Some(range.end - range.start),
        }
    }

    fn limit(&self) -> u64 {
        match self {
            Self::AtMost(limit) => *limit,
            _ => self.exact().unwrap_or(0),
        }
    }
}

/// A repository that can be read.
#[derive(Debug)]
pub(crate) enum Fetcher {
    Http(Http),
    Directory(Directory),
    Tar(Tar),
}

impl Fetcher {
    /// Opens a part of a file. The stream yields exactly that, or an error.
    pub(crate) async fn open(&self, file: &str, part: Part) -> Result<FetchStream, FetchError> {
        super::name::check(file)?;
        part.check(file)?;
        if part.exact() == Some(0) {
            return Ok(Box::pin(stream::empty()));
        }
        let bytes = match self {
            Self::Http(http) => http.open(file, &part).await?,
            Self::Directory(directory) => directory.open(file, &part)?,
            Self::Tar(tar) => tar.open(file, &part)?,
        };
        Ok(measured(bytes, part, file))
    }

    /// Reads a whole file into memory.
    pub(crate) async fn whole(&self, file: &str, part: Part) -> Result<Vec<u8>, FetchError> {
        let bytes = self.open(file, part).await?;
        bytes
            .try_fold(Vec::new(), async |mut all, bytes| {
                all.extend_from_slice(&bytes);
                Ok(all)
            })
            .await
    }
}

/// Passes bytes on, and fails where there are more or fewer than there may be.
fn measured(bytes: FetchStream, part: Part, file: &str) -> FetchStream {
    let file = file.to_string();
    let state = Some((bytes, 0_u64));
    Box::pin(stream::unfold(state, move |state| {
        let (part, file) = (part.clone(), file.clone());
        async move {
            let (mut bytes, arrived) = state?;
            match bytes.next().await {
                None => too_short(&part, arrived, file).map(|error| (Err(error), None)),
                Some(Err(error)) => Some((Err(error), None)),
                Some(Ok(chunk)) => {
                    let arrived = arrived.saturating_add(chunk.len() as u64);
                    if arrived > part.limit() {
                        let limit = part.limit();
                        return Some((Err(FetchError::TooLong { file, limit }), None));
                    }
                    Some((Ok(chunk), Some((bytes, arrived))))
                }
            }
        }
    }))
}

fn too_short(part: &Part, arrived: u64, file: String) -> Option<FetchError> {
    let expected = part.exact().filter(|expected| arrived < *expected)?;
    Some(FetchError::TooShort {
        file,
        arrived,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(chunks: &[&'static [u8]], part: Part) -> Result<usize, FetchError> {
        let chunks: Vec<_> = chunks.iter().map(|c| Ok(Bytes::from_static(c))).collect();
        let bytes = measured(Box::pin(stream::iter(chunks)), part, "file");
        bytes.try_fold(0, async |sum, b| Ok(sum + b.len())).await
    }

    #[tokio::test]
    async fn exactly_the_bytes_that_were_asked_for_are_passed_on() {
        assert_eq!(read(&[b"ab", b"c"], Part::Whole(3)).await.unwrap(), 3);
        let range = Part::Range {
            range: 7..10,
            of: 20,
        };
        assert_eq!(read(&[b"abc"], range).await.unwrap(), 3);
        assert_eq!(read(&[b"abc"], Part::AtMost(9)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn more_or_fewer_bytes_are_an_error() {
        let long = read(&[b"ab", b"cd"], Part::Whole(3)).await.unwrap_err();
        assert!(matches!(long, FetchError::TooLong { limit: 3, .. }));
        assert!(!long.is_transient());
        let short = read(&[b"ab"], Part::Whole(3)).await.unwrap_err();
        assert!(matches!(short, FetchError::TooShort { arrived: 2, .. }));
        assert!(short.is_transient());
        let long = read(&[b"abcd"], Part::AtMost(3)).await.unwrap_err();
        assert!(matches!(long, FetchError::TooLong { limit: 3, .. }));
    }

    #[test]
    fn a_part_outside_of_its_file_is_refused() {
        let part = |range| Part::Range { range, of: 10 };
        assert!(part(0..10).check("x").is_ok());
        assert!(part(9..11).check("x").is_err());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = part(5..4);
        assert!(reversed.check("x").is_err());
    }
}
