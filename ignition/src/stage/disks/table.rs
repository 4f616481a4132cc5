//! The partition table of one disk: looking at it and deciding. Nothing is written
//! here; [`Decided::write`] does that once all disks are decided.
//!
//! A table is only made from nothing where there is none, or where `wipeTable` allows
//! it; else the one that is there is changed.

mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use bootloader::block::{BlockIo as _, FileDisk};
use bootloader::gpt::{CopyError, Geometry, Gpt, GptError, Partition};
use nix::fcntl::{Flock, FlockArg};

use crate::config::Disk;

use super::kernel::{Device, Kernel};
use super::plan::{self, Operation, Table};
use super::probe;
use super::protected::protected;
use super::refusal::Refusal;
use super::wanted::{Wanted, wanted};
use super::{Context, DisksError, Purpose, Subject};

/// Entries of a table that is made anew, as every tool makes them.
const ENTRIES: u32 = 128;

/// What a disk carries.
enum Found {
    /// A table.
    Table(Box<Gpt>),
    /// Nothing that a new table would destroy.
    Blank,
    /// No table, and something that a new one would destroy, in words.
    Contents(String),
    /// Another table, or a damaged one, in words.
    Other(String),
}

/// What is to happen to a disk.
pub(super) enum Change {
    /// It has no table, and needs none.
    Nothing,
    /// The table that is there stays, with these operations.
    Edit {
        /// The table as it was read.
        gpt: Box<Gpt>,
        /// None if it is as wanted.
        operations: Vec<Operation>,
        /// Whether the protective MBR is still to be written.
        unprotected: bool,
    },
    /// A new table is made.
    Make {
        /// The empty table that it starts from.
        gpt: Box<Gpt>,
        /// None if the disk shall have no table.
        operations: Vec<Operation>,
        /// What is wiped, if there is something.
        wiped: Option<Wiped>,
    },
}

/// A table, or what is where it would be, that a new one replaces.
pub(super) struct Wiped {
    /// None if it cannot be read.
    table: Option<Box<Gpt>>,
    /// The numbers of its partitions.
    numbers: BTreeSet<u32>,
}

/// One disk, decided.
pub struct Decided<'a> {
    at: Subject<'a>,
    device: Device,
    pub(super) change: Change,
    /// Open if something will be written.
    io: Option<FileDisk>,
    /// udev leaves a disk alone while it is locked. None if nothing is to be written.
    _lock: Option<Flock<File>>,
}

/// Decides what happens to each of `disks`, or says what is in the way. Waits for
/// disks that are not there yet; writes nothing.
pub fn decide<'a>(
    context: &Context<'_>,
    disks: &'a [Disk],
) -> Result<Vec<Decided<'a>>, DisksError> {
    // Before the first one is locked: udev may have to finish with it.
    let found = find(context, disks.iter().enumerate())?;
    let found = found.into_iter().zip(disks);
    found
        .map(|((at, device), disk)| decide_one(context, at, device, disk))
        .collect()
}

/// The devices of `disks`, which come with their places in the config's list.
pub(super) fn find<'a>(
    context: &Context<'_>,
    disks: impl Iterator<Item = (usize, &'a Disk)>,
) -> Result<Vec<(Subject<'a>, Device)>, DisksError> {
    let mut found: Vec<(Subject<'_>, Device)> = Vec::new();
    for (index, disk) in disks {
        let at = context.subject(format!("storage.disks.{index}"), &disk.device);
        let device = context.find(&at)?;
        let same = |(_, other): &&(_, Device)| other.place() == device.place();
        if let Some((other, _)) = found.iter().find(same) {
            let other = &other.key;
            let message = format!("is the disk of {other} too; list all its partitions there");
            return Err(at.conflict(message));
        }
        found.push((at, device));
    }
    Ok(found)
}

/// Decides what happens to `disk`, or says what is in the way.
pub(super) fn decide_one<'a>(
    context: &Context<'_>,
    at: Subject<'a>,
    device: Device,
    disk: &'a Disk,
) -> Result<Decided<'a>, DisksError> {
    let user = context.kernel.user(&device);
    let user = user.map_err(|source| at.device("looking for users of", source))?;
    if let Some(why) = device.unfit().map(str::to_owned).or(user) {
        return Err(at.conflict(why));
    }
    let block_size = device.block_size();
    let block_size = block_size.map_err(|source| at.device("asking for the size of", source))?;
    let wanted = entries(context, &at, disk, block_size)?;
    let writes = matches!(context.purpose, Purpose::Write);
    let lock = writes.then(|| lock(&at, &device)).transpose()?;
    let open = |source| at.device("opening", source);
    let io = FileDisk::open_read_only(device.path(), block_size).map_err(open)?;
    let mut look = Look {
        context,
        at: &at,
        device: &device,
        io,
        wanted,
    };
    let change = match disk.wipe_table == Some(true) {
        true => look.renew()?,
        false => look.edit()?,
    };
    // A disk that cannot be written is known before another one is.
    let io = (writes && change.writes())
        .then(|| FileDisk::open(device.path(), block_size).map_err(open))
        .transpose()?;
    Ok(Decided {
        at,
        device,
        change,
        io,
        _lock: lock,
    })
}

/// The wanted partitions, in blocks.
fn entries(
    context: &Context<'_>,
    at: &Subject<'_>,
    disk: &Disk,
    block_size: u32,
) -> Result<Vec<Wanted>, DisksError> {
    wanted(disk, block_size).map_err(|unfit| {
        let key = format!("{}.partitions.{}", at.key, unfit.index);
        context.subject(key, &disk.device).conflict(unfit)
    })
}

fn lock(at: &Subject<'_>, device: &Device) -> Result<Flock<File>, DisksError> {
    let file = File::open(device.path());
    let file = file.map_err(|source| at.device("opening", source))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| at.device("locking", error.into()))
}

impl Change {
    fn writes(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Edit {
                gpt,
                operations,
                unprotected,
            } => *unprotected || !operations.is_empty() || !gpt.health().is_good(),
            Self::Make { .. } => true,
        }
    }

    /// Whether partition `number`, or the whole disk if there is none, is another one then.
    pub(super) fn touches(&self, number: Option<u32>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Make { .. } => true,
            Self::Edit { operations, .. } => operations
                .iter()
                .any(|operation| number.is_none_or(|number| operation.number() == number)),
        }
    }
}

impl Decided<'_> {
    /// Whether the contents of `device` may be others once this is written.
    pub fn changes(&self, kernel: &Kernel, device: &Device) -> Result<bool, DisksError> {
        let disk = kernel.disk_of(device);
        let disk = disk.map_err(|source| self.at.device("looking for partitions of", source))?;
        let (place, number) = match &disk {
            Some((disk, number)) => (disk.place(), Some(*number)),
            None => (device.place(), None),
        };
        if place != self.device.place() {
            return Ok(false);
        }
        Ok(self.change.touches(number))
    }
}

/// One disk that is looked at.
struct Look<'a> {
    context: &'a Context<'a>,
    at: &'a Subject<'a>,
    device: &'a Device,
    io: FileDisk,
    wanted: Vec<Wanted>,
}

impl Look<'_> {
    /// Changes the table that is there, or makes one on an empty disk.
    fn edit(&mut self) -> Result<Change, DisksError> {
        let mut gpt = match self.look()? {
            Found::Table(gpt) => gpt,
            Found::Blank | Found::Contents(_)
                if !self.wanted.iter().any(|wanted| wanted.exists) =>
            {
                return Ok(Change::Nothing);
            }
            Found::Blank => return self.make(None),
            Found::Contents(what) | Found::Other(what) => {
                let message = format!("{what}; set wipeTable if it may be destroyed");
                return Err(self.at.conflict(message));
            }
        };
        let operations = match self.decide(&Table::of(&gpt)) {
            Ok(none) if none.is_empty() => none,
            // All of a disk that was grown is used, which is what the next attempt
            // finds.
            _ => {
                gpt.grow().map_err(|source| self.at.table(source))?;
                self.decide(&Table::of(&gpt))?
            }
        };
        let unprotected = !self.has_mbr()?;
        Ok(Change::Edit {
            gpt,
            operations,
            unprotected,
        })
    }

    /// Makes a new table, unless the disk has just the wanted one: then this is
    /// not the first attempt.
    fn renew(&mut self) -> Result<Change, DisksError> {
        let old = match Gpt::read(&mut self.io) {
            Ok(gpt) => Some(gpt),
            Err(GptError::NoValidCopy { .. }) => None,
            Err(source) => return Err(self.at.table(source)),
        };
        let operations = self.decide(&Table::of(&self.fresh()?))?;
        let there = old.iter().flat_map(Gpt::partitions).collect::<Vec<_>>();
        if self.has_mbr()?
            && same(&there, &operations)
            && let Some(gpt) = old
        {
            return Ok(Change::Edit {
                gpt: Box::new(gpt),
                operations: Vec::new(),
                unprotected: false,
            });
        }
        let users = self.users()?;
        if let Some((number, why)) = users.first_key_value() {
            let message = format!("its table is not wiped: partition {number}: {why}");
            return Err(self.at.conflict(message));
        }
        self.make(Some(Wiped {
            table: old.map(Box::new),
            numbers: there.iter().map(|p| p.number).collect(),
        }))
    }

    fn make(&self, wiped: Option<Wiped>) -> Result<Change, DisksError> {
        let gpt = Box::new(self.fresh()?);
        let operations = self.decide(&Table::of(&gpt))?;
        Ok(Change::Make {
            gpt,
            operations,
            wiped,
        })
    }

    fn fresh(&self) -> Result<Gpt, DisksError> {
        let geometry = Geometry {
            block_size: self.io.block_size(),
            block_count: self.io.block_count(),
        };
        let guid = self.at.guid()?;
        Gpt::new(geometry, guid, ENTRIES).map_err(|source| self.at.table(source))
    }

    fn look(&mut self) -> Result<Found, DisksError> {
        let (primary, backup) = match Gpt::read(&mut self.io) {
            Ok(_) if self.foreign_mbr()? => {
                return Ok(Found::Other("holds an MBR partition table".to_owned()));
            }
            Ok(gpt) => return Ok(Found::Table(Box::new(gpt))),
            Err(GptError::NoValidCopy { primary, backup }) => (primary, backup),
            Err(source) => return Err(self.at.table(source)),
        };
        if let CopyError::Read(source) = primary {
            return Err(self.at.block(source));
        }
        let found = probe::probe(self.device.path()).map_err(|source| self.at.program(source))?;
        if let Some(what) = found.describe() {
            let what = format!("holds {what}");
            return Ok(match found.table {
                None => Found::Contents(what),
                Some(_) => Found::Other(what),
            });
        }
        if self.foreign_mbr()? {
            let what = "holds an MBR partition table or boot sector";
            return Ok(Found::Other(what.to_owned()));
        }
        // Without the protective MBR, which is written last, a primary copy
        // that is not there makes the rest a left-over.
        if matches!(primary, CopyError::Signature { .. }) && !self.has_mbr()? {
            return Ok(Found::Blank);
        }
        Ok(Found::Other(format!(
            "has a damaged partition table (primary: {primary}; backup: {backup})"
        )))
    }

    fn block_zero(&mut self) -> Result<Vec<u8>, DisksError> {
        let mut block = vec![0; self.io.block_size() as usize];
        let read = self.io.read(0, &mut block);
        read.map_err(|source| self.at.block(source))?;
        Ok(block)
    }

    /// Whether block 0 has the mark of an MBR.
    fn has_mbr(&mut self) -> Result<bool, DisksError> {
        Ok(self.block_zero()?.get(510..512) == Some(&[0x55, 0xaa]))
    }

    /// Whether block 0 is an MBR with partitions, none of which stands for a GPT.
    fn foreign_mbr(&mut self) -> Result<bool, DisksError> {
        let block = self.block_zero()?;
        let kinds = [450, 466, 482, 498].map(|at| block.get(at).copied().unwrap_or(0));
        Ok(self.has_mbr()? && kinds.iter().any(|kind| *kind != 0) && !kinds.contains(&0xee))
    }

    fn users(&self) -> Result<BTreeMap<u32, String>, DisksError> {
        let users = self.context.users(self.device);
        users.map_err(|source| self.at.device("looking for users of", source))
    }

    fn decide(&self, table: &Table) -> Result<Vec<Operation>, DisksError> {
        let protected = protected(&table.partitions, self.users()?);
        let decided = plan::decide(table, &self.wanted, &protected);
        decided.map_err(|refusal: Refusal| {
            let key = format!("{}.partitions.{}", self.at.key, refusal.index);
            let at = self.context.subject(key, self.at.name);
            at.conflict(refusal)
        })
    }
}

/// Whether `there` is what `operations` would make of an empty table.
fn same(there: &[Partition], operations: &[Operation]) -> bool {
    let equal = |found: &Partition| {
        operations.iter().any(|operation| match operation {
            Operation::Create {
                partition,
                anonymous,
            } => {
                let mut wanted = partition.clone();
                if *anonymous {
                    wanted.guid = found.guid;
                }
                *found == wanted
            }
            _ => false,
        })
    };
    there.len() == operations.len() && there.iter().all(equal)
}

#[cfg(test)]
mod tests;
