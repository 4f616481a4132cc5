//! What changes in a partition table, decided from the table and the config.
//!
//! The rules are upstream's (Ignition's operator notes, "Partition Reuse
//! Semantics"). A start or size of 0 is what it would be if all partitions that
//! the config names were removed and made anew, in the order of the config. Two
//! things are stricter or kinder than upstream:
//!
//! - a number of 0 stands for the partition that already has the label, if there
//!   is one: a first boot that was cut off finds what it made;
//! - a partition that is in use, or belongs to the running system, is never
//!   changed.

use std::collections::{BTreeMap, BTreeSet};

use bootloader::gpt::{EditError, Gpt, Guid, Partition, guid};

use super::kernel::LAST_PARTITION;
use super::mismatch::{self, Mismatch};
use super::refusal::{Reason, Refusal, amount};
use super::space::Space;
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

/// A wanted partition with its number, what is there, and where it belongs.
struct Target<'a> {
    wanted: &'a Wanted,
    number: u32,
    found: Option<&'a Partition>,
    /// First and last block, if it shall exist.
    place: Option<(u64, u64)>,
}

/// The changes that make `table` what `wanted` asks for; none if it is so.
///
/// `protected` has the numbers of partitions that must not change, and why.
/// The changes are to be made in order; the result has no overlaps.
pub fn decide(
    table: &Table,
    wanted: &[Wanted],
    protected: &BTreeMap<u32, String>,
) -> Result<Vec<Operation>, Refusal> {
    let mut targets = number(table, wanted)?;
    for target in &targets {
        contradiction(table, target)?;
    }
    place(table, &mut targets)?;
    let (mut removed, mut made) = (Vec::new(), Vec::new());
    for target in &targets {
        let operations = operations(table, target)?;
        if let Some(why) = protected.get(&target.number)
            && !operations.is_empty()
            && target.found.is_some()
        {
            let why = why.clone();
            return Err(refuse(target, Reason::Protected { why }));
        }
        for operation in operations {
            match operation {
                Operation::Delete { .. } => removed.push(operation),
                operation => made.push(operation),
            }
        }
    }
    check_overlaps(table, &targets, &removed, &made)?;
    removed.append(&mut made);
    Ok(removed)
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
            place: None,
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

/// Finds the blocks of every partition that shall exist: all that are named are
/// taken away, then made one after the other.
fn place(table: &Table, targets: &mut [Target<'_>]) -> Result<(), Refusal> {
    let named: BTreeSet<u32> = targets.iter().map(|target| target.number).collect();
    let others = table.partitions.iter();
    let others = others.filter(|p| !named.contains(&p.number));
    let alignment = ALIGNMENT / u64::from(table.block_size.max(1));
    let taken = others.map(|p| (p.first_lba, p.last_lba));
    let mut space = Space::new(table.usable, alignment, taken);
    for target in targets.iter_mut().filter(|target| target.wanted.exists) {
        let kept = target.found.filter(|_| !target.wanted.wipe);
        let start = target.wanted.start.or(kept.map(|p| p.first_lba));
        let size = target.wanted.size.or(kept.map(Partition::block_count));
        let (start, size) = (start.unwrap_or(0), size.unwrap_or(0));
        let (first, last) = space.place(start, size).map_err(|why| {
            let wanted = describe_place(start, size, table.block_size);
            refuse(target, Reason::NoSpace { wanted, why })
        })?;
        space.take(first, last);
        target.place = Some((first, last));
    }
    Ok(())
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

/// Upstream's table of what is there and what is allowed.
fn operations(table: &Table, target: &Target<'_>) -> Result<Vec<Operation>, Refusal> {
    let number = target.number;
    let wanted = target.wanted;
    let Some((first, last)) = target.place else {
        return Ok(match target.found {
            Some(_) => vec![Operation::Delete { number }],
            None => Vec::new(),
        });
    };
    let create = Operation::Create {
        partition: Partition {
            number,
            type_guid: wanted.type_guid.unwrap_or(LINUX_DATA),
            guid: wanted.guid.unwrap_or(Guid::ZERO),
            first_lba: first,
            last_lba: last,
            attributes: 0,
            name: wanted.label.clone().unwrap_or_default(),
        },
        anonymous: wanted.guid.is_none(),
    };
    let Some(found) = target.found else {
        return Ok(vec![create]);
    };
    let start = wanted.start.map(|_| first);
    let size = wanted.size.map(|_| last - first + 1);
    let mismatches = mismatch::find(found, wanted, start, size);
    if mismatches.is_empty() {
        return Ok(Vec::new());
    }
    if wanted.wipe {
        return Ok(vec![Operation::Delete { number }, create]);
    }
    unless_resized(table, target, mismatches)?;
    let last_lba = last;
    Ok(vec![Operation::Resize { number, last_lba }])
}

/// Partitions that stay where they are may be in the way of what was placed as
/// if they were not there.
fn check_overlaps(
    table: &Table,
    targets: &[Target<'_>],
    removed: &[Operation],
    made: &[Operation],
) -> Result<(), Refusal> {
    let mut ranges: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for partition in &table.partitions {
        ranges.insert(partition.number, (partition.first_lba, partition.last_lba));
    }
    for operation in removed {
        ranges.remove(&operation.number());
    }
    for operation in made {
        match operation {
            Operation::Create { partition, .. } => {
                ranges.insert(partition.number, (partition.first_lba, partition.last_lba));
            }
            Operation::Resize { number, last_lba } => {
                ranges.entry(*number).and_modify(|r| r.1 = *last_lba);
            }
            Operation::Delete { .. } => {}
        }
    }
    for operation in made {
        let number = operation.number();
        let Some((first, last)) = ranges.get(&number).copied() else {
            continue;
        };
        let clash = |(other, range): (&u32, &(u64, u64))| {
            (*other != number && range.0 <= last && first <= range.1).then_some(*other)
        };
        if let Some(other) = ranges.iter().find_map(clash)
            && let Some(target) = targets.iter().find(|target| target.number == number)
        {
            return Err(refuse(target, Reason::Overlap { other }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
