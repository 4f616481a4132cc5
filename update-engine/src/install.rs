//! Writing a release into the passive slot: looks what is there, copies and fetches
//! the rest, checks all of it, and arms the slot.
//!
//! Whatever brings blocks only *offers* them: [`image::Image`] takes a block if it has
//! the signed hash, and writes nothing else. Blocks come from the disk itself, from a
//! patch, and from frames of the release's files, in this order: a further source needs a
//! plan of what it can give, and offers it before the frames are chosen.

mod check;
mod error;
mod held;
mod image;
mod watch;
mod work;
mod writer;

use std::time::Duration;

use bootloader::Slot;

use crate::blocks::BlockHashes;
use crate::fetch::{Patience, Traffic};
use crate::plan::Limits;
use crate::release::{self, Descriptor, Patch};
use crate::remote::Remote;
use crate::slots::{Disarmed, Disk, Names, Part, Running, Slots};
use crate::tree::Tree;
use crate::verified::Verified;
use held::Held;
use image::Image;
use work::{File, Work};

pub use error::InstallError;
pub use image::FrameFault;
pub use watch::{PatchUse, Phase, Progress, Watch};

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

/// The verity tree of a release, where an earlier installation has left it in the slot
/// that does not run: it need not be fetched again. Only reads.
pub fn kept_tree<D: Disk>(
    disk: &mut D,
    running: Running,
    descriptor: &Verified<Descriptor>,
) -> Result<Option<Vec<u8>>, InstallError> {
    let mut slots = Slots::open(disk, running)?;
    Ok(held::kept_tree(&mut slots, &descriptor.usr)?)
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
    let tree = verify(release)?;
    let old = Held::look(&mut slots, running, watch)?;
    let mut usr = Image::new(Part::Usr, tree.leaves(), descriptor.usr.size);
    let blocks = BlockHashes::new(&[], &descriptor.boot.blocks);
    let mut boot = Image::new(Part::Boot, blocks, descriptor.boot.size);
    look(&mut slots, &mut usr, &mut boot, watch)?;

    let traffic = Traffic::default();
    let mut work = Work::new(slots.disarm()?, remote, options, watch, &traffic);
    work.put_tree(tree.bytes())?;
    work.copy(&mut usr, old.usr.as_ref().map(Tree::leaves))?;
    work.copy(&mut boot, Some(BlockHashes::new(&[], &old.boot)))?;
    let old_size = old.usr.as_ref().map(Tree::image_size);
    drop(old);
    let mut files = files(descriptor, &mut usr, &mut boot);
    let from = |patch: &&Patch| patch.from == running.root;
    let patch = descriptor.patches.iter().find(from);
    if let Some((patch, old_size)) = patch.zip(old_size) {
        work.patch(&mut files, patch, old_size).await?;
    }
    work.fetch(&mut files).await?;

    watch.phase(Phase::Checking);
    let mut slots = work.finish()?;
    check::tree(&mut slots, tree.bytes(), watch)?;
    usr.check(&mut slots, watch)?;
    check::boot(&mut slots, &boot, descriptor, watch)?;
    arm(slots, descriptor, options, watch)
}

fn verify(release: Release<'_>) -> Result<Tree, InstallError> {
    let descriptor = release.descriptor;
    Tree::verify(release.tree, &descriptor.usr).map_err(|source| {
        let version = descriptor.version.to_string();
        InstallError::Tree { version, source }
    })
}

/// Finds out what of the release is in its slot already.
fn look<D: Disk>(
    slots: &mut Slots<'_, D>,
    usr: &mut Image<'_>,
    boot: &mut Image<'_>,
    watch: &Watch,
) -> Result<(), InstallError> {
    watch.update(|p| p.total = usr.bytes() + boot.bytes());
    let claimed = held::claimed_tree(slots)?;
    usr.look(slots, claimed.as_ref().map(Tree::leaves), watch)?;
    boot.look(slots, None, watch)
}

fn files<'i, 'a>(
    descriptor: &Descriptor,
    usr: &'i mut Image<'a>,
    boot: &'i mut Image<'a>,
) -> [File<'i, 'a>; 2] {
    let version = &descriptor.version;
    [
        File::new(usr, version, release::USR_FRAMES, &descriptor.usr.frames),
        File::new(boot, version, release::BOOT_FRAMES, &descriptor.boot.frames),
    ]
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

#[cfg(test)]
mod tests;
