//! Writing what was decided for a disk, and telling the kernel.
//!
//! A table that is there is changed so that a cut at any instant leaves the old
//! or the new one (see [`bootloader::gpt`]). The protective MBR of a new one is
//! written last, so that a cut leaves what the next attempt takes for an empty
//! disk or for the finished table.

use std::collections::{BTreeMap, BTreeSet};

use bootloader::block::{BlockIo as _, FileDisk};
use bootloader::gpt::{self, Gpt, Guid};

use crate::log;
use crate::program;

use super::super::kernel::{Device, Known, LAST_PARTITION};
use super::super::plan::{self, Operation};
use super::super::{DisksError, Subject, settle};
use super::{Change, Decided, Wiped};

/// How often the kernel is told before its answer counts.
const ATTEMPTS: usize = 3;

/// A disk whose table is as decided.
pub struct Written<'a> {
    at: Subject<'a>,
    device: Device,
    /// The table that is on it now; of a disk without one, an empty one.
    gpt: Box<Gpt>,
    /// The partitions that are other ones than before.
    numbers: BTreeSet<u32>,
}

impl<'a> Decided<'a> {
    /// Carries the decision out; durable when it returns. None if the disk has no
    /// table and needs none.
    pub fn write(self) -> Result<Option<Written<'a>>, DisksError> {
        let Self {
            at,
            device,
            change,
            io,
            _lock,
        } = self;
        let mut work = Work { at: &at, io };
        let (gpt, numbers) = match change {
            Change::Nothing => {
                log::info(&format!("no partitions to make disk={}", at.name));
                return Ok(None);
            }
            Change::Edit {
                gpt,
                operations,
                unprotected,
            } => work.edit(gpt, &operations, unprotected)?,
            Change::Make {
                gpt,
                operations,
                wiped,
            } => work.make(gpt, &operations, wiped)?,
        };
        Ok(Some(Written {
            at,
            device,
            gpt,
            numbers,
        }))
    }
}

/// One disk that is written.
struct Work<'a> {
    at: &'a Subject<'a>,
    /// None if the decision writes nothing.
    io: Option<FileDisk>,
}

type Table = (Box<Gpt>, BTreeSet<u32>);

impl Work<'_> {
    fn edit(
        &mut self,
        mut gpt: Box<Gpt>,
        operations: &[Operation],
        unprotected: bool,
    ) -> Result<Table, DisksError> {
        let at = self.at;
        let Some(io) = &mut self.io else {
            log::info(&format!("partitions are as wanted disk={}", at.name));
            return Ok((gpt, BTreeSet::new()));
        };
        if let Some(which) = gpt.repair(io).map_err(|source| at.table(source))? {
            let disk = at.name;
            log::info(&format!("repaired the {which} partition table disk={disk}"));
        }
        if unprotected {
            gpt::protect(io).map_err(|source| at.block(source))?;
        }
        if !operations.is_empty() {
            apply(at, &mut gpt, operations)?;
            gpt.commit(io).map_err(|source| at.table(source))?;
            gpt::protect_all(io).map_err(|source| at.block(source))?;
        }
        tell(at, io.block_size(), operations);
        Ok((gpt, numbers(operations)))
    }

    fn make(
        &mut self,
        mut gpt: Box<Gpt>,
        operations: &[Operation],
        wiped: Option<Wiped>,
    ) -> Result<Table, DisksError> {
        let at = self.at;
        let Some(io) = &mut self.io else {
            return Ok((gpt, BTreeSet::new()));
        };
        if let Some(wiped) = &wiped {
            let erased = gpt::erase(io, wiped.table.as_deref());
            erased.map_err(|source| at.block(source))?;
            log::info(&format!("wiped partition table disk={}", at.name));
        }
        if !operations.is_empty() {
            apply(at, &mut gpt, operations)?;
            gpt.format(io).map_err(|source| at.table(source))?;
            gpt::protect(io).map_err(|source| at.block(source))?;
        }
        tell(at, io.block_size(), operations);
        let mut changed = numbers(operations);
        changed.extend(wiped.into_iter().flat_map(|wiped| wiped.numbers));
        Ok((gpt, changed))
    }
}

fn numbers(operations: &[Operation]) -> BTreeSet<u32> {
    operations.iter().map(Operation::number).collect()
}

fn apply(at: &Subject<'_>, gpt: &mut Gpt, operations: &[Operation]) -> Result<(), DisksError> {
    let guids = operations.iter().map(|_| at.guid());
    let mut guids = guids.collect::<Result<Vec<_>, _>>()?.into_iter();
    let fresh = || guids.next().unwrap_or(Guid::ZERO);
    plan::apply(gpt, operations, fresh).map_err(|source| at.edit(source))
}

/// Says what was done.
fn tell(at: &Subject<'_>, block_size: u32, operations: &[Operation]) {
    let disk = at.name;
    let size = u64::from(block_size);
    for operation in operations {
        log::info(&match operation {
            Operation::Delete { number } => {
                format!("removed partition disk={disk} number={number}")
            }
            Operation::Create { partition, .. } => format!(
                "made partition disk={disk} number={} label={:?} start={} bytes={}",
                partition.number,
                partition.name,
                partition.first_lba * size,
                partition.block_count() * size
            ),
            Operation::Resize { number, .. } => {
                format!("resized partition disk={disk} number={number}")
            }
        });
    }
}

impl Written<'_> {
    /// Makes the kernel's partitions those of the table, and waits for udev.
    pub fn tell_kernel(&self) -> Result<(), DisksError> {
        let Device::Block { .. } = self.device else {
            return Ok(());
        };
        // Also those of a table that a cut left unfinished and that is complete only
        // now, and of one of another kind that was wiped.
        let mut numbers = self.numbers.clone();
        let known = self.known()?;
        let there: BTreeSet<u32> = self.gpt.partitions().map(|p| p.number).collect();
        numbers.extend(there.iter().filter(|number| !known.contains_key(number)));
        numbers.extend(known.keys().filter(|number| !there.contains(number)));
        numbers.retain(|number| *number <= LAST_PARTITION);
        if numbers.is_empty() {
            return Ok(());
        }
        let mut wrong = self.wrong(&numbers)?;
        for _ in 0..ATTEMPTS {
            wrong.iter().for_each(|number| self.tell_of(*number));
            // udev reads the table too once it was written: for a moment there are no
            // partitions then.
            settle().map_err(|source| self.at.program(source))?;
            wrong = self.wrong(&numbers)?;
            if wrong.is_empty() {
                return Ok(());
            }
        }
        Err(self.at.kernel(format!("partitions {wrong:?}")))
    }

    /// Those of `numbers` that the kernel has otherwise than the table.
    fn wrong(&self, numbers: &BTreeSet<u32>) -> Result<Vec<u32>, DisksError> {
        let known = self.known()?;
        let units = u64::from(self.gpt.geometry().block_size) / 512;
        let expected = |number| {
            self.gpt.partition(number).map(|partition| Known {
                start: partition.first_lba * units,
                size: partition.block_count() * units,
            })
        };
        let wrong = |number: &u32| known.get(number).copied() != expected(*number);
        Ok(numbers.iter().copied().filter(wrong).collect())
    }

    fn tell_of(&self, number: u32) {
        let path = self.device.path().display().to_string();
        let verb = match self.gpt.partition(number) {
            Some(_) => "--update",
            None => "--delete",
        };
        let arguments = [verb, "--nr", &number.to_string(), &path].map(str::to_owned);
        // udev may have been faster; what counts is what the kernel has then.
        if let Err(error) = program::run("partx", &arguments) {
            log::info(&format!("{error}"));
        }
    }

    fn known(&self) -> Result<BTreeMap<u32, Known>, DisksError> {
        let known = self.device.partitions();
        known.map_err(|source| self.at.device("reading the partitions of", source))
    }
}
