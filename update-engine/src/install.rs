//! Writing a release into the passive slot: looks what is there, copies and fetches
//! the rest, checks all of it, and arms the slot.
//!
//! Whatever brings blocks only *offers* them: [`image::Image`] takes a block if it has
//! the signed hash, and writes nothing else. Today blocks come from the disk itself and
//! from frames of the release's files; a further source needs a plan of what it can
//! give, and offers it before the frames are chosen.

mod image;
mod watch;
mod writer;

use crate::blocks::{BlockHashes, hash_blocks};
use crate::fetch::{FetchError, Patience, Source, Traffic};
use crate::frames::FrameTable;
use crate::plan::{self, Limits, Order};
use crate::release::{self, BLOCK, Descriptor, Digest, Frame};
use crate::remote::Remote;
use crate::slots::{Disarmed, Disk, Names, Part, Running, Slots, SlotsError};
use crate::tree::{self, Tree, TreeError};
use crate::verified::Verified;
use bootloader::{Slot, uki};
use futures_util::{Stream, StreamExt};
use image::{Image, Unpacker};
use sha2::{Digest as _, Sha256};
use std::pin::pin;
use std::time::Duration;
use writer::Writer;

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

/// Why a release was not installed. Once it was begun, the passive slot is disarmed and
/// the running one still the next one started.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The disk is not as it should be, or fails.
    #[error("the slots of the system disk")]
    Slots(#[from] SlotsError),
    /// Both slots cannot have the same name.
    #[error("release {version} is what slot {slot} runs already")]
    Runs {
        /// The release's version.
        version: String,
        /// The running slot.
        slot: Slot,
    },
    /// The fetched tree is not the signed one.
    #[error("the verity tree of release {version}; {ASK_SERVER}")]
    Tree {
        /// The release's version.
        version: String,
        /// What is wrong.
        source: TreeError,
    },
    /// The parts of a descriptor do not fit each other.
    #[error("the descriptor of release {version} contradicts itself: {what}; {ASK_PUBLISHER}")]
    Descriptor {
        /// The release's version.
        version: String,
        /// What does not fit.
        what: String,
    },
    /// Bytes did not come.
    #[error("fetching")]
    Fetch(#[from] FetchError),
    /// What came is not what was published.
    #[error("{target}: bytes {}..{} are not what was signed; {ASK_SERVER}", .range.start, .range.end)]
    Frame {
        /// Name of the target.
        target: String,
        /// Bytes of the frame in it.
        range: std::ops::Range<u64>,
        /// What is wrong with it.
        source: FrameFault,
    },
    /// The disk took a block and gives back another one.
    #[error(
        "block {block} of partition {label} reads back different from what was written: \
         check the disk's health"
    )]
    NotKept {
        /// Label of the partition.
        label: &'static str,
        /// The first wrong block.
        block: usize,
    },
    /// No memory to decompress with.
    #[error("starting the decompressor")]
    Memory(#[source] std::io::Error),
    /// Someone stopped it.
    #[error("cancelled")]
    Cancelled,
}

const ASK_SERVER: &str =
    "compare the server's file with the published one, and look for a proxy that changes it";
const ASK_PUBLISHER: &str = "the release has to be published again";

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
    let passive = claimed_tree(&mut slots)?;
    usr.look(&mut slots, passive.as_ref().map(Tree::leaves), watch)?;
    boot.look(&mut slots, None, watch)?;
    drop(passive);

    let mut work = Work {
        writer: Writer::new(slots.disarm()?, options.flush_every, watch),
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
    let target = |file| release::target_name(&descriptor.version, file);
    let (file, frames) = (target(release::USR_FRAMES), &descriptor.usr.frames);
    work.fetch(&mut usr, &file, frames).await?;
    let (file, frames) = (target(release::BOOT_FRAMES), &descriptor.boot.frames);
    work.fetch(&mut boot, &file, frames).await?;

    let mut slots = work.writer.finish()?;
    watch.phase(Phase::Checking);
    check_tree(&mut slots, tree.bytes(), watch)?;
    usr.check(&mut slots, watch)?;
    check_boot(&mut slots, &boot, descriptor, watch)?;
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

/// The running release: what blocks can be copied from.
struct Held {
    /// The tree of `/usr`, if it leads to the root that runs.
    usr: Option<Tree>,
    /// Hashes of the kernel image's blocks.
    boot: Vec<u8>,
}

impl Held {
    fn look<D: Disk>(
        slots: &mut Slots<'_, D>,
        running: Running,
        watch: &Watch,
    ) -> Result<Self, InstallError> {
        let mut usr = None;
        if let Some((bytes, size, salt)) = read_tree(slots, running.slot)? {
            usr = Tree::lead_to(bytes, size, salt, running.root).ok();
        }
        let boot = hash_kernel(slots, watch)?;
        Ok(Self { usr, boot })
    }
}

/// The bytes of the tree in `slot`, of how many bytes of image and with which salt it
/// is; `None` where there is no tree. Nothing is checked.
fn read_tree<D: Disk>(
    slots: &mut Slots<'_, D>,
    slot: Slot,
) -> Result<Option<(Vec<u8>, u64, Digest)>, SlotsError> {
    let mut first = [0; BLOCK];
    slots.read(slot, Part::Tree, 0, &mut first)?;
    let claim = tree::claimed(&first).filter(|claim| claim.0 <= slots.room(slot, Part::Tree));
    let Some((length, size, salt)) = claim else {
        return Ok(None);
    };
    let mut bytes = vec![0; length as usize];
    slots.read(slot, Part::Tree, 0, &mut bytes)?;
    Ok(Some((bytes, size, salt)))
}

/// The tree of the release that the passive slot is named after. A slot in pieces has no
/// such name.
///
/// Only a hint where to look: a block that it names elsewhere is not read, one that it
/// names in place is compared like all others.
fn claimed_tree<D: Disk>(slots: &mut Slots<'_, D>) -> Result<Option<Tree>, SlotsError> {
    let slot = slots.passive();
    let Some((bytes, size, salt)) = read_tree(slots, slot)? else {
        return Ok(None);
    };
    let names = slots.names(slot);
    let tree = Tree::claim(bytes, size, salt);
    Ok(tree.filter(|tree| {
        let named = Names::of(Digest([0; 32]), tree.root());
        (named.usr, named.tree) == (names.usr, names.tree)
    }))
}

/// Hashes of the running kernel image's blocks; none if there is no image that can be
/// measured.
fn hash_kernel<D: Disk>(slots: &mut Slots<'_, D>, watch: &Watch) -> Result<Vec<u8>, InstallError> {
    let slot = slots.running();
    let room = slots.room(slot, Part::Boot);
    let mut head = vec![0; room.min(uki::HEADER_BYTES as u64) as usize];
    slots.read(slot, Part::Boot, 0, &mut head)?;
    let Ok(size) = uki::total_size(&head, room) else {
        return Ok(Vec::new());
    };
    // Where the image ends inside a block, what lies behind it is part of the block.
    let blocks = (size.div_ceil(BLOCK as u64) as usize).min((room / BLOCK as u64) as usize);
    let mut hashes = Vec::new();
    image::in_parts(blocks, watch, |first, buffer| {
        slots.read(slot, Part::Boot, first, buffer)?;
        hashes.extend(hash_blocks(&[], buffer));
        Ok(())
    })?;
    Ok(hashes)
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
        target: &str,
        frames: &[Frame],
    ) -> Result<(), InstallError> {
        self.watch.phase(Phase::Fetching);
        let table = FrameTable::new(frames);
        if self.ranges {
            match self.fetch_once(image, target, &table).await {
                Err(InstallError::Fetch(FetchError::NoRanges { .. })) => self.ranges = false,
                done => return done,
            }
        }
        self.fetch_once(image, target, &table).await
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
        received: impl Stream<Item = Result<crate::fetch::Received, FetchError>>,
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

/// Compares the tree on the disk with the one that was verified.
fn check_tree<D: Disk>(
    slots: &mut Disarmed<'_, D>,
    tree: &[u8],
    watch: &Watch,
) -> Result<(), InstallError> {
    let label = Part::Tree.label(slots.passive());
    image::in_parts(tree.len() / BLOCK, watch, |first, buffer| {
        slots.reread(Part::Tree, first, buffer)?;
        let expected = &tree[first * BLOCK..first * BLOCK + buffer.len()];
        let mut blocks = buffer.chunks(BLOCK).zip(expected.chunks(BLOCK));
        match blocks.position(|(found, expected)| found != expected) {
            None => Ok(()),
            Some(at) => Err(InstallError::NotKept {
                label,
                block: first + at,
            }),
        }
    })
}

/// Checks the kernel image on the disk as the selector will: its own headers say how
/// long it is, and its SHA-256 is what the partition will be named after.
fn check_boot<D: Disk>(
    slots: &mut Disarmed<'_, D>,
    image: &Image<'_>,
    descriptor: &Descriptor,
    watch: &Watch,
) -> Result<(), InstallError> {
    let boot = &descriptor.boot;
    let mut head = Vec::new();
    let mut whole = Sha256::new();
    let mut rest = boot.size as usize;
    image::in_parts(image.block_count(), watch, |first, buffer| {
        slots.reread(Part::Boot, first, buffer)?;
        if first == 0 {
            head.extend_from_slice(&buffer[..buffer.len().min(uki::HEADER_BYTES)]);
        }
        let used = buffer.len().min(rest);
        whole.update(&buffer[..used]);
        rest -= used;
        Ok(())
    })?;
    let found = Digest(whole.finalize().into());
    if found != boot.sha256 {
        // Either the disk did not keep it, or the list of blocks is of another image.
        image.check(slots, watch)?;
        let what = format!("its kernel image has the SHA-256 {found}");
        return Err(contradiction(descriptor, what));
    }
    match uki::total_size(&head, boot.size) {
        Ok(size) if size == boot.size => Ok(()),
        Ok(size) => Err(contradiction(
            descriptor,
            format!("its kernel image ends after {size} of {} bytes", boot.size),
        )),
        Err(why) => Err(contradiction(
            descriptor,
            format!("its kernel image: {why}"),
        )),
    }
}

fn contradiction(descriptor: &Descriptor, what: String) -> InstallError {
    let version = descriptor.version.to_string();
    InstallError::Descriptor { version, what }
}

#[cfg(test)]
mod tests;
