//! A server in memory, and what it was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bootloader::Slot;
use bootloader::block::MemoryDisk;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::{Built, content, gpt};
use crate::frames::FrameTable;
use crate::release::{self, BLOCK, Frame};
use crate::remote::{ByteStream, Remote, RemoteError};
use crate::slots::Part;

/// Answers with other bytes than it has.
type Lie = Box<dyn Fn(&str, Range<u64>, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// A server in memory.
pub struct Server {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Bytes of a piece in which answers come.
    pub piece: usize,
    pub ranges: bool,
    /// What it makes of the bytes of an answer.
    pub lie: Option<Lie>,
    /// After every so many bytes the connection is lost.
    pub breaks_after: Option<usize>,
    /// Answers nobody before so many requests were open at once.
    pub waits_for: usize,
    log: Mutex<Vec<Asked>>,
    sent: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
    most_open: watch::Sender<usize>,
}

/// A request.
pub type Asked = (String, Option<Range<u64>>);

impl Server {
    pub fn of(built: &Built) -> Self {
        let name = |file| release::target_name(&built.descriptor.version, file);
        let files = [
            (name(release::USR_FRAMES), built.usr_file.clone()),
            (name(release::BOOT_FRAMES), built.boot_file.clone()),
        ];
        Self {
            files: files.into(),
            piece: 1000,
            ranges: true,
            lie: None,
            breaks_after: None,
            waits_for: 0,
            log: Mutex::default(),
            sent: Arc::default(),
            open: Arc::default(),
            most_open: watch::Sender::default(),
        }
    }

    pub fn size_of(&self, built: &Built) -> u64 {
        (built.usr_file.len() + built.boot_file.len()) as u64
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// Bytes that were taken from answers.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The most requests that were open at once.
    pub fn most_open(&self) -> usize {
        *self.most_open.borrow()
    }

    async fn enter(&self) -> Open {
        let now = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let open = Open(Arc::clone(&self.open));
        self.most_open.send_modify(|most| *most = now.max(*most));
        let mut most = self.most_open.subscribe();
        most.wait_for(|most| *most >= self.waits_for).await.unwrap();
        open
    }

    fn lost(target: &str) -> RemoteError {
        RemoteError::Transport {
            target: target.into(),
            source: "connection reset".into(),
        }
    }
}

/// A request that is open as long as this lives.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Remote for Server {
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError> {
        self.log
            .lock()
            .unwrap()
            .push((target.into(), range.clone()));
        if range.is_some() && !self.ranges {
            let target = target.into();
            return Err(RemoteError::NoRanges { target });
        }
        let open = self.enter().await;
        let Some(file) = self.files.get(target) else {
            return Err(RemoteError::Refused {
                target: target.into(),
                source: "404 Not Found".into(),
            });
        };
        let range = range.unwrap_or(0..file.len() as u64);
        let mut bytes = file[range.start as usize..range.end as usize].to_vec();
        if let Some(lie) = &self.lie {
            bytes = lie(target, range, bytes);
        }
        let broken = self.breaks_after.filter(|most| *most < bytes.len());
        bytes.truncate(broken.unwrap_or(bytes.len()));
        let pieces = bytes.chunks(self.piece).map(Bytes::copy_from_slice);
        let mut answers: Vec<_> = pieces.map(Ok).collect();
        if broken.is_some() {
            answers.push(Err(Self::lost(target)));
        }
        let sent = Arc::clone(&self.sent);
        let counted = stream::iter(answers).inspect(move |answer| {
            let _open = &open;
            let length = answer.as_ref().map_or(0, Bytes::len);
            sent.fetch_add(length as u64, Ordering::Relaxed);
        });
        Ok(Box::pin(counted))
    }
}

/// The frames of `target` that any request covered, with their numbers.
pub fn frames_asked(server: &Server, target: &str, frames: &[Frame]) -> Vec<usize> {
    let table = FrameTable::new(frames);
    let asked = server.asked();
    let covers = |frame: usize| {
        let bytes = table.bytes(frame..frame + 1);
        asked.iter().any(|(name, range)| match range {
            Some(range) => name == target && range.start < bytes.end && bytes.start < range.end,
            None => name == target,
        })
    };
    (0..table.count()).filter(|frame| covers(*frame)).collect()
}

/// Fails if a frame was asked for of which the disk had every block before: in its place
/// in slot `b`, as a twin there, or anywhere in the same partition of slot `a`.
pub fn assert_nothing_needless(before: &MemoryDisk, old: &Built, new: &Built, server: &Server) {
    let descriptor = &new.descriptor;
    let parts = [
        (Part::Usr, release::USR_FRAMES, &descriptor.usr.frames),
        (Part::Boot, release::BOOT_FRAMES, &descriptor.boot.frames),
    ];
    let gpt = gpt(before);
    for (part, file, frames) in parts {
        let target = release::target_name(&descriptor.version, file);
        let wanted = padded(new.content(part));
        let there = content(before, &gpt, Slot::B, part, wanted.len());
        let active = padded(old.content(part));
        let mut had: BTreeSet<&[u8]> = active.chunks(BLOCK).collect();
        let pairs = there.chunks(BLOCK).zip(wanted.chunks(BLOCK));
        had.extend(pairs.filter(|(a, b)| a == b).map(|(block, _)| block));
        let table = FrameTable::new(frames);
        for frame in frames_asked(server, &target, frames) {
            let blocks = table.blocks(frame);
            let mut blocks = wanted[blocks.start * BLOCK..blocks.end * BLOCK].chunks(BLOCK);
            assert!(
                blocks.any(|block| !had.contains(block)),
                "frame {frame} of {target} was fetched although every block was there"
            );
        }
    }
}

pub fn padded(image: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    image
}
