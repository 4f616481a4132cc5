//! Writing a release into the passive slot: looks what is there, copies and fetches
//! the rest, checks all of it, and arms the slot.
//!
//! Whatever brings blocks only *offers* them: [`image::Image`] takes a block if it has
//! the signed hash, and writes nothing else. Today blocks come from the disk itself and
//! from frames of the release's files; a further source needs a plan of what it can
//! give, and offers it before the frames are chosen.

mod check;
mod error;
mod held;
mod image;
mod watch;
mod writer;

use std::pin::pin;
use std::time::Duration;

use bootloader::Slot;
use futures_util::{Stream, StreamExt};

use crate::blocks::BlockHashes;
use crate::fetch::{FetchError, Patience, Received, Source, Traffic};
use crate::frames::FrameTable;
use crate::plan::{self, Limits, Order};
use crate::release::{self, Descriptor};
use crate::remote::Remote;
use crate::slots::{Disarmed, Disk, Names, Part, Running, Slots};
use crate::tree::Tree;
use crate::verified::Verified;
use held::Held;
use image::{Image, Unpacker};
use writer::Writer;

pub use error::InstallError;
pub use image::FrameFault;
pub use watch::{Phase, Progress, Watch};

/// How an installation goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many times the new release may be started before it must be blessed.
    pub tries: u8,
    /// Requests under way at the same time.
    pub parallel: usize,
    /// How frames become requests.
    pub limits: Limits,
    /// How failures of the server are met.
    pub patience: Patience,
    /// Bytes written after which they are made durable: what a power cut costs at most.
    pub flush_every: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tries: 1,
            parallel: 4,
            // About what a request and its answer's header cost in time and bytes.
            limits: Limits {
                gap: 4 << 10,
                request: 4 << 20,
            },
            patience: Patience {
                failures: 6,
                pause: Duration::from_secs(1),
            },
            flush_every: 16 << 20,
        }
    }
}

/// A release to install.
#[derive(Debug)]
pub struct Release<'a> {
    /// What it is.
    pub descriptor: &'a Verified<Descriptor>,
    /// The tree of its `/usr`, as it was fetched.
    pub tree: Vec<u8>,
}

/// An installation that ended well: the slot is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The slot that holds the release and is started next.
    pub slot: Slot,
    /// The last figures.
    pub progress: Progress,
}

/// Writes `release` into the slot that does not run, and arms it.
///
/// What is in that slot already and right is kept, so after a failure, a crash or a power
/// cut the same call goes on where it was. The running slot is only read. Blocks while
/// the disk works; waits for the remote without blocking. Dropping the future is as safe
/// as a power cut.
pub async fn install<D: Disk>(
    disk: &mut D,
    running: Running,
    release: Release<'_>,
    remote: &dyn Remote,
    options: &Options,
    watch: &Watch,
) -> Result<Report, InstallError> {
    let descriptor = release.descriptor;
    watch.phase(Phase::Looking);
    let mut slots = Slots::open(disk, running)?;
    admit(&slots, running, descriptor)?;
    let tree = Tree::verify(release.tree, &descriptor.usr).map_err(|source| {
        let version = descriptor.version.to_string();
        InstallError::Tree { version, source }
    })?;

    let old = Held::look(&mut slots, running, watch)?;
    let mut usr = Image::new(Part::Usr, tree.leaves(), descriptor.usr.size);
    let blocks = BlockHashes::new(&[], &descriptor.boot.blocks);
    let mut boot = Image::new(Part::Boot, blocks, descriptor.boot.size);
    watch.update(|p| p.total = usr.bytes() + boot.bytes());
    let passive = held::claimed_tree(&mut slots)?;
    usr.look(&mut slots, passive.as_ref().map(Tree::leaves), watch)?;
    boot.look(&mut slots, None, watch)?;
    drop(passive);

    let writer = Writer::new(slots.disarm()?, options.flush_every, watch);
    let mut work = Work {
        writer,
        remote,
        options,
        watch,
        traffic: Traffic::default(),
        ranges: true,
    };
    work.writer.put_tree(tree.bytes())?;
    work.copy(&mut usr, old.usr.as_ref().map(Tree::leaves))?;
    work.copy(&mut boot, Some(BlockHashes::new(&[], &old.boot)))?;
    drop(old);
    work.fetch(&mut usr, descriptor).await?;
    work.fetch(&mut boot, descriptor).await?;

    watch.phase(Phase::Checking);
    let mut slots = work.writer.finish()?;
    check::tree(&mut slots, tree.bytes(), watch)?;
    usr.check(&mut slots, watch)?;
    check::boot(&mut slots, &boot, descriptor, watch)?;
    arm(slots, descriptor, options, watch)
}

fn arm<D: Disk>(
    slots: Disarmed<'_, D>,
    descriptor: &Descriptor,
    options: &Options,
    watch: &Watch,
) -> Result<Report, InstallError> {
    let slot = slots.passive();
    let names = Names::of(descriptor.boot.sha256, descriptor.usr.root);
    slots.arm(names, options.tries)?;
    watch.phase(Phase::Armed);
    let progress = watch.last();
    Ok(Report { slot, progress })
}

/// Everything that can be refused without a look at any image.
fn admit<D: Disk>(
    slots: &Slots<'_, D>,
    running: Running,
    descriptor: &Descriptor,
) -> Result<(), InstallError> {
    slots.check_blessed()?;
    if descriptor.usr.root == running.root {
        return Err(InstallError::Runs {
            version: descriptor.version.to_string(),
            slot: running.slot,
        });
    }
    slots.check_room(Part::Usr, descriptor.usr.size)?;
    slots.check_room(Part::Tree, descriptor.usr.tree_size)?;
    slots.check_room(Part::Boot, descriptor.boot.size)?;
    Ok(())
}

/// The part of an installation that writes.
struct Work<'a, 'd, D: Disk> {
    writer: Writer<'a, 'd, D>,
    remote: &'a dyn Remote,
    options: &'a Options,
    watch: &'a Watch,
    traffic: Traffic,
    /// The server was not seen refusing them.
    ranges: bool,
}

impl<D: Disk> Work<'_, '_, D> {
    /// Copies what the disk has. A block that turns out to be another one stays missing.
    fn copy(
        &mut self,
        image: &mut Image<'_>,
        active: Option<BlockHashes<'_>>,
    ) -> Result<(), InstallError> {
        self.watch.phase(Phase::Copying);
        let active = active.map(Order::new);
        let copies = plan::copies(image.order(), image.right(), active.as_ref());
        let mut buffer = Vec::new();
        for copy in copies {
            self.watch.check()?;
            let written = image.copy(&mut self.writer, copy, &mut buffer)?;
            self.watch.update(|p| p.copied += written);
        }
        Ok(())
    }

    /// Fetches what is missing, in ranges if the server has them.
    async fn fetch(
        &mut self,
        image: &mut Image<'_>,
        descriptor: &Descriptor,
    ) -> Result<(), InstallError> {
        self.watch.phase(Phase::Fetching);
        let (file, frames) = match image.part() {
            Part::Boot => (release::BOOT_FRAMES, &descriptor.boot.frames),
            Part::Tree | Part::Usr => (release::USR_FRAMES, &descriptor.usr.frames),
        };
        let target = release::target_name(&descriptor.version, file);
        let table = FrameTable::new(frames);
        if self.ranges {
            match self.fetch_once(image, &target, &table).await {
                Err(InstallError::Fetch(FetchError::NoRanges { .. })) => self.ranges = false,
                done => return done,
            }
        }
        self.fetch_once(image, &target, &table).await
    }

    async fn fetch_once(
        &mut self,
        image: &mut Image<'_>,
        target: &str,
        table: &FrameTable,
    ) -> Result<(), InstallError> {
        let wanted = plan::frames(image.order(), image.right(), table);
        if wanted.is_empty() {
            return Ok(());
        }
        let traffic = std::mem::take(&mut self.traffic);
        let source = Source {
            remote: self.remote,
            target,
            table,
            patience: self.options.patience,
            traffic: &traffic,
        };
        let done = if self.ranges {
            let requests = plan::requests(&wanted, table, self.options.limits);
            let received = source.frames(requests, &wanted, self.options.parallel);
            self.take(image, source, received).await
        } else {
            self.take(image, source, source.whole(&wanted)).await
        };
        self.traffic = traffic;
        done
    }

    async fn take(
        &mut self,
        image: &mut Image<'_>,
        source: Source<'_>,
        received: impl Stream<Item = Result<Received, FetchError>>,
    ) -> Result<(), InstallError> {
        let mut received = pin!(received);
        let mut unpacker = Unpacker::new()?;
        while let Some(frame) = self.watch.or_cancelled(received.next()).await? {
            let frame = frame?;
            let taken = image.unpack(&mut self.writer, &mut unpacker, source.table, &frame)?;
            let written = taken.map_err(|fault| InstallError::Frame {
                target: source.target.to_string(),
                range: source.table.bytes(frame.frame..frame.frame + 1),
                source: fault,
            })?;
            self.watch.update(|p| {
                p.fetched += written;
                p.received = source.traffic.bytes();
                p.requests = source.traffic.requests();
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
