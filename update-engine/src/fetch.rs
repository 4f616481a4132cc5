//! Frames of a target from a [`Remote`], with every repetition that it takes.
//!
//! What comes out is as untrusted as what came in: it only has the right lengths.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream};

use crate::frames::FrameTable;
use crate::plan::Request;
use crate::remote::{ByteStream, Remote, RemoteError};

/// Why frames did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not serve ranges; ask for the whole.
    #[error("the server does not serve parts of {target}")]
    NoRanges {
        /// Name of the target.
        target: String,
    },
    /// The same request would be answered in the same way.
    #[error(
        "the server does not give what it should; check the server and its copy of the release"
    )]
    Refused(#[source] RemoteError),
    /// No repetition helped.
    #[error(
        "{target}: bytes {}..{} did not come, gave up after {failures} failures in a row; \
         check the server and the way to it", .range.start, .range.end
    )]
    GaveUp {
        /// Name of the target.
        target: String,
        /// Bytes that were still missing.
        range: Range<u64>,
        /// How many times something failed without a frame in between.
        failures: u32,
        /// The last failure, unless the answer just ended early.
        source: Option<RemoteError>,
    },
}

/// How failures are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Failures in a row, without a frame in between, after which a request is given up.
    pub failures: u32,
    /// Pause after the first failure; it doubles with every further one.
    pub pause: Duration,
}

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Patience {
    pub(crate) fn pause(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1));
        let pause = self.pause.saturating_mul(factor.unwrap_or(u32::MAX));
        pause.min(LONGEST_PAUSE)
    }
}

/// What was asked for and what came, over all requests.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes received, wanted or not.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One file of frames on a server.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Where bytes come from.
    pub remote: &'a dyn Remote,
    /// Name of the target.
    pub target: &'a str,
    /// Where its frames are.
    pub table: &'a FrameTable,
    /// How failures are met.
    pub patience: Patience,
    /// Where bytes are counted.
    pub traffic: &'a Traffic,
}

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Number of the frame.
    pub frame: usize,
    /// As many bytes as the table says.
    pub bytes: Vec<u8>,
}

impl<'a> Source<'a> {
    /// The `wanted` frames that are in `requests`, in any order, `parallel` requests at a
    /// time. Holds at most two frames of every request in memory. Ends after the first
    /// error.
    pub fn frames(
        self,
        requests: Vec<Request>,
        wanted: &'a [usize],
        parallel: usize,
    ) -> impl Stream<Item = Result<Received, FetchError>> + Send + 'a {
        let streams = requests.into_iter().map(move |request| {
            let read = Reading::new(self, request.frames, Ask::Range, wanted);
            Box::pin(stream::try_unfold(read, Reading::step))
        });
        stream::iter(streams).flatten_unordered(parallel)
    }

    /// The `wanted` frames from the whole file, in one request.
    pub fn whole(
        self,
        wanted: &'a [usize],
    ) -> impl Stream<Item = Result<Received, FetchError>> + Send + 'a {
        let frames = 0..self.table.count();
        let read = Reading::new(self, frames, Ask::Whole, wanted);
        stream::try_unfold(read, Reading::step)
    }
}

/// What a server is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// The range that is still missing.
    Range,
    /// Always the whole file.
    Whole,
}

/// One request, and those that repeat it.
struct Reading<'a> {
    source: Source<'a>,
    /// Frames that did not come yet.
    frames: Range<usize>,
    ask: Ask,
    /// In order.
    wanted: &'a [usize],
    /// How far the file was read.
    at: u64,
    /// What came of the first of `frames`.
    begun: Vec<u8>,
    answer: Option<Answer>,
    failures: u32,
}

/// An open answer.
struct Answer {
    stream: ByteStream,
    /// What came and was not used yet.
    chunk: Bytes,
    /// Bytes to pass over: those from before a repetition of the whole.
    skip: u64,
}

impl<'a> Reading<'a> {
    fn new(source: Source<'a>, frames: Range<usize>, ask: Ask, wanted: &'a [usize]) -> Self {
        Self {
            source,
            at: source.table.bytes(frames.clone()).start,
            frames,
            ask,
            wanted,
            begun: Vec::new(),
            answer: None,
            failures: 0,
        }
    }

    /// The next wanted frame.
    async fn step(mut self) -> Result<Option<(Received, Self)>, FetchError> {
        while self.frames.start < self.last_wanted() {
            let frame = self.frames.start;
            match self.fill().await {
                Ok(()) => {
                    let bytes = std::mem::take(&mut self.begun);
                    self.failures = 0;
                    self.frames.start += 1;
                    if self.is_wanted(frame) {
                        return Ok(Some((Received { frame, bytes }, self)));
                    }
                }
                Err(why) => self.failed(why).await?,
            }
        }
        Ok(None)
    }

    fn is_wanted(&self, frame: usize) -> bool {
        self.wanted.binary_search(&frame).is_ok()
    }

    /// The end of the last wanted frame here: nobody needs what is behind.
    fn last_wanted(&self) -> usize {
        let before = self.wanted.partition_point(|f| *f < self.frames.end);
        let last = before.checked_sub(1).and_then(|i| self.wanted.get(i));
        last.map_or(0, |frame| frame + 1)
    }

    /// Reads to the end of the first of `frames`. `None` is an answer that ended early.
    async fn fill(&mut self) -> Result<(), Option<RemoteError>> {
        let frame = self.frames.start;
        let end = self.source.table.bytes(frame..frame + 1).end;
        let keep = self.is_wanted(frame);
        while self.at < end {
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => {
                    let answer = self.open().await?;
                    self.answer.insert(answer)
                }
            };
            let chunk = answer.some(end - self.at, &self.source).await?;
            self.at += chunk.len() as u64;
            if keep {
                self.begun.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Answer, RemoteError> {
        let end = self.source.table.bytes(self.frames.clone()).end;
        let (range, skip) = match self.ask {
            Ask::Range => (Some(self.at..end), 0),
            Ask::Whole => (None, self.at),
        };
        self.source.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let stream = self.source.remote.read(self.source.target, range).await?;
        let chunk = Bytes::new();
        Ok(Answer {
            stream,
            chunk,
            skip,
        })
    }

    /// Waits before the next attempt, if there is one.
    async fn failed(&mut self, source: Option<RemoteError>) -> Result<(), FetchError> {
        self.answer = None;
        let source = match source {
            Some(RemoteError::NoRanges { target }) => return Err(FetchError::NoRanges { target }),
            Some(why @ (RemoteError::Refused { .. } | RemoteError::WrongRange { .. })) => {
                return Err(FetchError::Refused(why));
            }
            passing => passing,
        };
        self.failures += 1;
        let hopeless = source.as_ref().is_some_and(|e| !e.is_transient());
        if hopeless || self.failures >= self.source.patience.failures {
            let end = self.source.table.bytes(self.frames.clone()).end;
            return Err(FetchError::GaveUp {
                target: self.source.target.to_string(),
                range: self.at..end,
                failures: self.failures,
                source,
            });
        }
        tokio::time::sleep(self.source.patience.pause(self.failures)).await;
        Ok(())
    }
}

impl Answer {
    /// At most `most` of the bytes that come next, at least one.
    async fn some(&mut self, most: u64, source: &Source<'_>) -> Result<Bytes, Option<RemoteError>> {
        while self.chunk.is_empty() {
            let next = self.stream.next().await;
            self.chunk = next.ok_or(None)?.map_err(Some)?;
            let length = self.chunk.len() as u64;
            source.traffic.bytes.fetch_add(length, Ordering::Relaxed);
            let skipped = length.min(self.skip);
            self.skip -= skipped;
            self.chunk.advance(skipped as usize);
        }
        let length = most.min(self.chunk.len() as u64);
        Ok(self.chunk.split_to(length as usize))
    }
}
