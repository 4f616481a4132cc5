//! What changes in a partition table, decided from the table and the config.
//!
//! The rules are upstream's (Ignition's operator notes, "Partition Reuse
//! Semantics"). A start or size of 0 is what it would be if all partitions that
//! the config names were removed and made anew, in the order of the config; a
//! partition whose start is absent is made where there is most room then. Three
//! things are stricter or kinder than upstream:
//!
//! - a number of 0 stands for the partition that already has the label, if there
//!   is one: a first boot that was cut off finds what it made;
//! - for the same reason, what would come out otherwise once it is made is refused;
//! - a partition that is in use, or belongs to the running system, is never
//!   changed.

use std::collections::{BTreeMap, BTreeSet};

use bootloader::gpt::{EditError, Gpt, Guid, Partition, guid};

use super::kernel::LAST_PARTITION;
use super::mismatch::{self, Mismatch};
use super::refusal::{Reason, Refusal, amount};
use super::space::{NoSpace, Space};
use super::wanted::Wanted;

/// Type of a partition whose config says none: Linux data.
pub const LINUX_DATA: Guid = guid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// Bytes that a default start is a multiple of.
const ALIGNMENT: u64 = 1 << 20;

/// What the plan needs of a partition table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Bytes in a block.
    pub block_size: u32,
    /// First and last block that partitions may use.
    pub usable: (u64, u64),
    /// Highest number that a partition may have.
    pub entries: u32,
    /// What is there.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The table as it is.
    pub fn of(gpt: &Gpt) -> Self {
        Self {
            block_size: gpt.geometry().block_size,
            usable: gpt.usable(),
            entries: gpt.entry_count(),
            partitions: gpt.partitions().collect(),
        }
    }

    /// The table once `operations` are made, but for identities that are still to be made.
    fn after(&self, operations: &[Operation]) -> Self {
        let mut partitions = self.partitions.clone();
        for operation in operations {
            match operation {
                Operation::Delete { number } => partitions.retain(|p| p.number != *number),
                Operation::Create { partition, .. } => partitions.push(partition.clone()),
                Operation::Resize { number, last_lba } => {
                    let resized = partitions.iter_mut().filter(|p| p.number == *number);
                    resized.for_each(|partition| partition.last_lba = *last_lba);
                }
            }
        }
        Self {
            partitions,
            ..*self
        }
    }

    /// What is free if only those partitions are there that `stays` keeps.
    fn space(&self, stays: impl Fn(u32) -> bool) -> Space {
        let alignment = ALIGNMENT / u64::from(self.block_size.max(1));
        let staying = self.partitions.iter().filter(|p| stays(p.number));
        let taken = staying.map(|p| (p.first_lba, p.last_lba));
        Space::new(self.usable, alignment, taken)
    }

    fn get(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Takes a partition out.
    Delete {
        /// Its number.
        number: u32,
    },
    /// Puts a partition in, at a number that is not used (any more).
    Create {
        /// All of it; without an identity, if the config has none for it.
        partition: Partition,
        /// Whether the identity is still to be made.
        anonymous: bool,
    },
    /// Moves the end of a partition.
    Resize {
        /// Its number.
        number: u32,
        /// The new last block.
        last_lba: u64,
    },
}

impl Operation {
    /// The number of the partition that changes.
    pub fn number(&self) -> u32 {
        match self {
            Self::Delete { number } | Self::Resize { number, .. } => *number,
            Self::Create { partition, .. } => partition.number,
        }
    }
}

/// A wanted partition with its number, and what is there.
struct Target<'a> {
    wanted: &'a Wanted,
    number: u32,
    found: Option<&'a Partition>,
}

/// What becomes of a target: upstream's table of what is there and what is allowed.
enum Step {
    Stay,
    Delete,
    /// Keeps its start, has another size.
    Resize {
        size: u64,
    },
    /// Is made, at the start and of the size that the config gives, with 0 for the largest
    /// free space; what was there is deleted.
    Make {
        start: u64,
        size: u64,
    },
}

/// The changes that make `table` what `wanted` asks for; none if it is so.
///
/// `protected` has the numbers of partitions that must not change, and why.
/// The changes are to be made in order; the result has no overlaps, and once they are made
/// there are none left: a first boot that is cut off asks again.
pub fn decide(
    table: &Table,
    wanted: &[Wanted],
    protected: &BTreeMap<u32, String>,
) -> Result<Vec<Operation>, Refusal> {
    let operations = changes(table, wanted, protected)?;
    if operations.is_empty() {
        return Ok(operations);
    }
    let after = table.after(&operations);
    match changes(&after, wanted, &BTreeMap::new()) {
        Ok(none) if none.is_empty() => Ok(operations),
        again => Err(unsettled(&after, wanted, again)),
    }
}

/// The refusal of what would be other changes when it is asked for again.
fn unsettled(table: &Table, wanted: &[Wanted], again: Result<Vec<Operation>, Refusal>) -> Refusal {
    let number = match again {
        Err(refusal) => refusal.number,
        Ok(operations) => operations.first().map_or(0, Operation::number),
    };
    let label = table.get(number).map(|partition| partition.name.as_str());
    let is_meant = |one: &&Wanted| match one.number {
        0 => one.label.as_deref() == label,
        other => other == number,
    };
    Refusal {
        index: wanted.iter().find(is_meant).map_or(0, |one| one.index),
        number,
        reason: Reason::Unsettled,
    }
}

fn changes(
    table: &Table,
    wanted: &[Wanted],
    protected: &BTreeMap<u32, String>,
) -> Result<Vec<Operation>, Refusal> {
    let targets = number(table, wanted)?;
    for target in &targets {
        contradiction(table, target)?;
    }
    let places = meant(table, &targets)?;
    let mut steps = Vec::new();
    for (target, place) in targets.iter().zip(places) {
        let step = step(table, target, &place)?;
        if let Some(why) = protected.get(&target.number)
            && target.found.is_some()
            && !matches!(step, Step::Stay)
        {
            let why = why.clone();
            return Err(refuse(target, Reason::Protected { why }));
        }
        steps.push((target, step));
    }
    operations(table, &steps)
}

/// Makes `operations` in `gpt`, in memory. `fresh` gives identities.
pub fn apply(
    gpt: &mut Gpt,
    operations: &[Operation],
    mut fresh: impl FnMut() -> Guid,
) -> Result<(), EditError> {
    // What goes or moves leaves first: its blocks may be needed.
    let mut made = Vec::new();
    for operation in operations {
        match operation {
            Operation::Delete { number } => gpt.remove_partition(*number)?,
            Operation::Create {
                partition,
                anonymous,
            } => {
                let mut partition = partition.clone();
                if *anonymous {
                    partition.guid = fresh();
                }
                made.push(partition);
            }
            Operation::Resize { number, last_lba } => {
                let found = gpt.partition(*number);
                gpt.remove_partition(*number)?;
                made.extend(found.map(|partition| Partition {
                    last_lba: *last_lba,
                    ..partition
                }));
            }
        }
    }
    made.iter()
        .try_for_each(|partition| gpt.set_partition(partition))
}

fn refuse(target: &Target<'_>, reason: Reason) -> Refusal {
    Refusal {
        index: target.wanted.index,
        number: target.number,
        reason,
    }
}

/// Gives every wanted partition its number.
fn number<'a>(table: &'a Table, wanted: &'a [Wanted]) -> Result<Vec<Target<'a>>, Refusal> {
    let mut taken: BTreeSet<u32> = wanted.iter().map(|w| w.number).collect();
    let mut targets = Vec::new();
    for wanted in wanted {
        let refusal = |reason| Refusal {
            index: wanted.index,
            number: wanted.number,
            reason,
        };
        let number = match wanted.number {
            0 => labelled(table, wanted, &taken)
                .map_err(refusal)?
                .or_else(|| next_free(table, &taken)),
            number => Some(number).filter(|number| *number <= table.entries),
        };
        let entries = table.entries;
        let number = number.ok_or_else(|| refusal(Reason::NoEntry { entries }))?;
        if number > LAST_PARTITION && wanted.exists {
            return Err(refusal(Reason::NoDevice));
        }
        taken.insert(number);
        targets.push(Target {
            wanted,
            number,
            found: table.get(number),
        });
    }
    Ok(targets)
}

/// The number of the partition that has the wanted label, if no other entry of
/// the config is about it.
fn labelled(table: &Table, wanted: &Wanted, taken: &BTreeSet<u32>) -> Result<Option<u32>, Reason> {
    let Some(label) = wanted.label.as_deref().filter(|label| !label.is_empty()) else {
        return Ok(None);
    };
    let all = table.partitions.iter();
    let mut numbers = all
        .filter(|p| p.name == label && !taken.contains(&p.number))
        .map(|p| p.number);
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(second)) => Err(Reason::Ambiguous {
            label: label.to_owned(),
            first,
            second,
        }),
        (first, _) => Ok(first),
    }
}

fn next_free(table: &Table, taken: &BTreeSet<u32>) -> Option<u32> {
    (1..=table.entries).find(|number| !taken.contains(number) && table.get(*number).is_none())
}

/// What is certain before any place is known, so that the message is about it
/// and not about space.
fn contradiction(table: &Table, target: &Target<'_>) -> Result<(), Refusal> {
    let Some(found) = target.found.filter(|_| !target.wanted.wipe) else {
        return Ok(());
    };
    if !target.wanted.exists {
        return Err(refuse(target, Reason::Unwanted));
    }
    let nonzero = |value: Option<u64>| value.filter(|value| *value != 0);
    let (start, size) = (nonzero(target.wanted.start), nonzero(target.wanted.size));
    let mismatches = mismatch::find(found, target.wanted, start, size);
    unless_resized(table, target, mismatches)
}

fn unless_resized(
    table: &Table,
    target: &Target<'_>,
    mismatches: Vec<Mismatch>,
) -> Result<(), Refusal> {
    let only_size = mismatches.iter().all(Mismatch::is_size);
    if mismatches.is_empty() || (only_size && target.wanted.resize) {
        return Ok(());
    }
    let block_size = table.block_size;
    let found = mismatch::describe(&mismatches, block_size);
    let advice = match only_size {
        true => "set resize to change its size, or wipePartitionEntry to replace it",
        false => "set wipePartitionEntry to replace it, or ask for what is there",
    };
    Err(refuse(target, Reason::Mismatch { found, advice }))
}

/// Where a partition is meant to be, with zeros resolved; what is absent matches anything.
#[derive(Default)]
struct Meant {
    start: Option<u64>,
    size: Option<u64>,
    /// Where it is made, if the config does not give its start. A size of 0 ends where
    /// the space of this start ends.
    made_at: u64,
}

/// What zeros stand for: all partitions that are named are taken away, then made one after
/// the other.
fn meant(table: &Table, targets: &[Target<'_>]) -> Result<Vec<Meant>, Refusal> {
    let named: BTreeSet<u32> = targets.iter().map(|target| target.number).collect();
    let stays = |number: u32| !named.contains(&number);
    let mut space = table.space(stays);
    let meant = targets.iter().map(|target| {
        let Wanted { start, size, .. } = *target.wanted;
        if !target.wanted.exists {
            return Ok(Meant::default());
        }
        let kept = target.found.filter(|_| !target.wanted.wipe);
        let from = start.or(kept.map(|p| p.first_lba)).unwrap_or(0);
        let long = size.or(kept.map(Partition::block_count)).unwrap_or(0);
        let placed = space.place(from, long);
        let (first, last) =
            placed.map_err(|why| no_room(table, target, (from, long), why, stays))?;
        space.take(first, last);
        Ok(Meant {
            start: start.map(|_| first),
            size: size.map(|_| last - first + 1),
            made_at: if size == Some(0) { first } else { 0 },
        })
    });
    meant.collect()
}

/// Why there is no room for `target`, among partitions that `stays` keeps.
fn no_room(
    table: &Table,
    target: &Target<'_>,
    (start, size): (u64, u64),
    why: NoSpace,
    stays: impl Fn(u32) -> bool,
) -> Refusal {
    let last = start.saturating_add(size.saturating_sub(1));
    let mut staying = table.partitions.iter().filter(|p| stays(p.number));
    let other = staying.find(|p| p.first_lba <= last && start <= p.last_lba);
    let reason = match other.filter(|_| start != 0) {
        Some(Partition { number: other, .. }) => Reason::Overlap { other: *other },
        None => Reason::NoSpace {
            wanted: describe_place(start, size, table.block_size),
            why,
        },
    };
    refuse(target, reason)
}

fn describe_place(start: u64, size: u64, block_size: u32) -> String {
    let start = match start {
        0 => "at the largest free space".to_owned(),
        start => format!("at {}", amount(start, block_size)),
    };
    match size {
        0 => format!("{start}, to its end"),
        size => format!("{start}, {} long", amount(size, block_size)),
    }
}

fn step(table: &Table, target: &Target<'_>, meant: &Meant) -> Result<Step, Refusal> {
    let wanted = target.wanted;
    let made = Step::Make {
        start: meant.start.unwrap_or(meant.made_at),
        size: meant.size.unwrap_or(0),
    };
    let Some(found) = target.found else {
        return Ok(if wanted.exists { made } else { Step::Stay });
    };
    if !wanted.exists {
        return Ok(Step::Delete);
    }
    let mismatches = mismatch::find(found, wanted, meant.start, meant.size);
    if mismatches.is_empty() {
        return Ok(Step::Stay);
    }
    if wanted.wipe {
        return Ok(made);
    }
    unless_resized(table, target, mismatches)?;
    let size = meant.size.unwrap_or_else(|| found.block_count());
    Ok(Step::Resize { size })
}

/// First all that goes, then what is made or resized, each where the others leave room.
fn operations(table: &Table, steps: &[(&Target<'_>, Step)]) -> Result<Vec<Operation>, Refusal> {
    let changed = steps.iter().filter(|(_, step)| !matches!(step, Step::Stay));
    let changed: BTreeSet<u32> = changed.map(|(target, _)| target.number).collect();
    let stays = |number: u32| !changed.contains(&number);
    let mut space = table.space(stays);
    let (mut removed, mut made) = (Vec::new(), Vec::new());
    for (target, step) in steps {
        let number = target.number;
        let mut place = |start, size| {
            let placed = space.place(start, size);
            let placed = placed.map_err(|why| no_room(table, target, (start, size), why, stays));
            placed.inspect(|(first, last)| space.take(*first, *last))
        };
        match (step, target.found) {
            (Step::Stay, _) => {}
            (Step::Delete, _) => removed.push(Operation::Delete { number }),
            (Step::Make { start, size }, found) => {
                removed.extend(found.map(|_| Operation::Delete { number }));
                made.push(create(target, place(*start, *size)?));
            }
            (Step::Resize { size }, found) => {
                let start = found.map_or(0, |found| found.first_lba);
                let (_, last_lba) = place(start, *size)?;
                made.push(Operation::Resize { number, last_lba });
            }
        }
    }
    removed.append(&mut made);
    Ok(removed)
}

fn create(target: &Target<'_>, (first_lba, last_lba): (u64, u64)) -> Operation {
    let wanted = target.wanted;
    Operation::Create {
        partition: Partition {
            number: target.number,
            type_guid: wanted.type_guid.unwrap_or(LINUX_DATA),
            guid: wanted.guid.unwrap_or(Guid::ZERO),
            first_lba,
            last_lba,
            attributes: 0,
            name: wanted.label.clone().unwrap_or_default(),
        },
        anonymous: wanted.guid.is_none(),
    }
}

#[cfg(test)]
mod tests;
