//! Blocks that a patch makes out of the running release.
//!
//! A patch that does not come or is not good costs what was fetched of it, and nothing
//! else: what it did not make is fetched like any other block.

use std::pin::pin;

use futures_util::{Stream, StreamExt};

use super::{File, Plan, Work};
use crate::fetch::{FetchError, Received, Source};
use crate::frames::FrameTable;
use crate::install::image::{Image, Unpacker};
use crate::install::{InstallError, PatchUse, Phase};
use crate::patch::{MAX_FRAME, MAX_MEMORY, PatchFault, Pieces};
use crate::plan::Place;
use crate::release::{BLOCK, Frame, Patch};
use crate::slots::{Disk, Part};

/// Requests for frames of a patch under way at the same time: each holds two of them.
const PARALLEL: usize = 2;

/// Bytes of the running release that are read at once.
const WINDOW: usize = 128 << 10;

/// Why a frame of a patch was not applied to its end.
enum Stopped {
    Patch(PatchFault),
    Install(InstallError),
}

impl From<PatchFault> for Stopped {
    fn from(fault: PatchFault) -> Self {
        Self::Patch(fault)
    }
}

impl From<InstallError> for Stopped {
    fn from(error: InstallError) -> Self {
        Self::Install(error)
    }
}

impl<D: Disk> Work<'_, '_, D> {
    /// Makes what is missing of the first of `files` with `patch`, if less has to be
    /// fetched for it than of the file. The running image has `old_size` bytes.
    pub(in crate::install) async fn patch(
        &mut self,
        files: &mut [File<'_, '_>],
        patch: &Patch,
        old_size: u64,
    ) -> Result<(), InstallError> {
        self.watch.phase(Phase::Fetching);
        let table = FrameTable::new(&patch.frames);
        while is_affordable(patch) {
            let Some((first, others)) = files.split_first_mut() else {
                break;
            };
            let plan = self.plan_of(first.image, &table);
            if self.cost(&plan) >= self.cost(&self.plan(first)) {
                break;
            }
            let rest: u64 = others.iter().map(|file| self.plan(file).bytes()).sum();
            self.watch
                .update(|p| p.expected = p.received + plan.bytes() + rest);
            let source = self.source(&patch.target, &table);
            match self.apply_all(first.image, source, plan, old_size).await? {
                Err(FetchError::NoRanges { .. }) if self.ranges => self.ranges = false,
                done => {
                    let done = done.unwrap_or(PatchUse::NotServed);
                    self.watch.update(|p| p.patch = done);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Bytes that a plan has fetched, where a request counts as the bytes that are rather
    /// fetched than spared with one.
    fn cost(&self, plan: &Plan) -> u64 {
        plan.bytes() + plan.requests.len() as u64 * self.options.limits.gap
    }

    async fn apply_all(
        &mut self,
        image: &mut Image<'_>,
        source: Source<'_>,
        plan: Plan,
        old_size: u64,
    ) -> Result<Result<PatchUse, FetchError>, InstallError> {
        let Plan { wanted, requests } = plan;
        if self.ranges {
            let received = source.frames(requests, &wanted, PARALLEL);
            self.take_patch(image, source, received, old_size).await
        } else {
            let received = source.whole(&wanted);
            self.take_patch(image, source, received, old_size).await
        }
    }

    async fn take_patch(
        &mut self,
        image: &mut Image<'_>,
        source: Source<'_>,
        received: impl Stream<Item = Result<Received, FetchError>>,
        old_size: u64,
    ) -> Result<Result<PatchUse, FetchError>, InstallError> {
        let mut received = pin!(received);
        let mut all = PatchUse::Applied;
        let mut unpacker = Unpacker::new()?;
        let mut old = Old::new(old_size);
        while let Some(frame) = self.watch.or_cancelled(received.next()).await? {
            let applied = match frame {
                Ok(frame) => self.apply(image, source.table, &mut unpacker, &mut old, &frame),
                Err(why) => return Ok(Err(why)),
            };
            self.watch.update(|p| {
                p.received = source.traffic.bytes();
                p.requests = source.traffic.requests();
            });
            match applied {
                Ok(Made::Right) => {}
                // A few blocks of the running release may have rotted.
                Ok(Made::InPart) => all = PatchUse::OtherBlocks,
                Ok(Made::Nothing) => return Ok(Ok(PatchUse::OtherBlocks)),
                Err(Stopped::Patch(fault)) => return Ok(Ok(PatchUse::Wrong(fault))),
                Err(Stopped::Install(error)) => return Err(error),
            }
        }
        Ok(Ok(all))
    }

    /// Makes what one frame makes.
    fn apply(
        &mut self,
        image: &mut Image<'_>,
        table: &FrameTable,
        unpacker: &mut Unpacker,
        old: &mut Old,
        frame: &Received,
    ) -> Result<Made, Stopped> {
        let blocks = table.blocks(frame.frame);
        let content = unpacker.unpack_patch(&frame.bytes)?;
        let mut pieces = Pieces::open(content, blocks.len(), old.size)?;
        let mut piece = Vec::new();
        let (mut written, mut wrong) = (0, false);
        loop {
            self.watch.check()?;
            let made = pieces.next(&mut piece, |at, buffer: &mut [u8]| {
                let mut read = |block, window: &mut [u8]| {
                    let place = Place::Active(block);
                    self.writer.read(Part::Usr, place, window)
                };
                old.fill(at, buffer, &mut read).map_err(Stopped::from)
            })?;
            let Some(first) = made else {
                return Ok(match (wrong, written) {
                    (false, _) => Made::Right,
                    (true, 0) => Made::Nothing,
                    (true, _) => Made::InPart,
                });
            };
            let offer = image.offer(&mut self.writer, blocks.start + first, &piece)?;
            self.watch.update(|p| {
                p.fetched += offer.written;
                p.patched += offer.written;
            });
            written += offer.written;
            wrong |= offer.wrong.is_some();
        }
    }
}

/// Whether this host has the memory for a patch.
fn is_affordable(patch: &Patch) -> bool {
    let fits = |frame: &Frame| frame.1 as usize <= MAX_FRAME;
    patch.memory <= MAX_MEMORY && patch.frames.iter().all(fits)
}

/// Which of the blocks that a frame makes, and that were wanted, are the signed ones.
enum Made {
    Right,
    InPart,
    Nothing,
}

/// The running `/usr`, read in windows. It may have rotted: then what is made of it does
/// not have the signed hash.
struct Old {
    size: u64,
    /// First byte of the window.
    start: u64,
    window: Vec<u8>,
}

impl Old {
    fn new(size: u64) -> Self {
        Self {
            size,
            start: 0,
            window: Vec::new(),
        }
    }

    /// Fills `buffer` with the bytes from `at` on, which are inside the image.
    fn fill(
        &mut self,
        mut at: u64,
        mut buffer: &mut [u8],
        read: &mut impl FnMut(usize, &mut [u8]) -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        while !buffer.is_empty() {
            let end = self.start + self.window.len() as u64;
            if !(self.start..end).contains(&at) {
                self.move_to(at, read)?;
                continue;
            }
            let there = &self.window[(at - self.start) as usize..];
            let length = there.len().min(buffer.len());
            let (now, later) = buffer.split_at_mut(length);
            now.copy_from_slice(&there[..length]);
            buffer = later;
            at += length as u64;
        }
        Ok(())
    }

    fn move_to(
        &mut self,
        at: u64,
        read: &mut impl FnMut(usize, &mut [u8]) -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        let start = at - at % BLOCK as u64;
        let length = (self.size - start).min(WINDOW as u64) as usize;
        // An error leaves no window that was half read.
        let mut window = std::mem::take(&mut self.window);
        window.resize(length, 0);
        read((start / BLOCK as u64) as usize, &mut window)?;
        (self.start, self.window) = (start, window);
        Ok(())
    }
}
