//! Why a partition table cannot become what the config wants.

use std::fmt;

use super::kernel::LAST_PARTITION;
use super::space::NoSpace;

const MIB: u64 = 1 << 20;

/// A wanted partition that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the config's list.
    pub index: usize,
    /// Its number; 0 if it has none yet.
    pub number: u32,
    /// Why.
    pub reason: Reason,
}

/// What is in the way, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is there and shall not be.
    #[error("it exists, and shouldExist is false; set wipePartitionEntry to remove it")]
    Unwanted,
    /// It is there and different.
    #[error("it exists and does not match: {found}; {advice}")]
    Mismatch {
        /// The differences.
        found: String,
        /// What the config could say.
        advice: &'static str,
    },
    /// No number for it.
    #[error("the partition table has entries 1 to {entries} only")]
    NoEntry {
        /// Entries of the table.
        entries: u32,
    },
    /// A number that Linux has no device for.
    #[error("Linux shows partitions 1 to {LAST_PARTITION} of a disk only; take a lower number")]
    NoDevice,
    /// A label that is there twice.
    #[error(
        "the label {label:?} is that of partitions {first} and {second}; \
         give the number of the one that is meant"
    )]
    Ambiguous {
        /// The label.
        label: String,
        /// The first that has it.
        first: u32,
        /// The next.
        second: u32,
    },
    /// No room.
    #[error(
        "no room for it {wanted}: {why}; partitions are placed in the order of the config: \
         give startMiB and sizeMiB that are free"
    )]
    NoSpace {
        /// Where it should be.
        wanted: String,
        /// Why it cannot.
        why: NoSpace,
    },
    /// It would not be what the config wants when it is looked at once more.
    #[error(
        "once all partitions are made, a start or size of 0 would stand for another one; \
         give it startMiB and sizeMiB"
    )]
    Unsettled,
    /// Another partition stays where this one would be.
    #[error(
        "it would overlap partition {other}, which stays where it is; \
         give startMiB and sizeMiB that are free"
    )]
    Overlap {
        /// The other one.
        other: u32,
    },
    /// It must not be changed now.
    #[error("it is not changed: {why}")]
    Protected {
        /// What it is needed for.
        why: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => write!(f, "the new partition: {}", self.reason),
            number => write!(f, "partition {number}: {}", self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

/// `blocks` for people: in MiB if that is a whole number.
pub fn amount(blocks: u64, block_size: u32) -> String {
    let bytes = u128::from(blocks) * u128::from(block_size);
    if bytes.is_multiple_of(u128::from(MIB)) {
        format!("{} MiB", bytes / u128::from(MIB))
    } else {
        format!("{blocks} blocks of {block_size} bytes")
    }
}
