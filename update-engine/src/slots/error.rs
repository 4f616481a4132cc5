//! What can be wrong with the slots of a disk.

use bootloader::gpt::{EditError, Guid};
use bootloader::{BlockError, GptError, Slot, SlotError};

/// Why slots are not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// The partition table cannot be read or written.
    #[error("using the partition table of the system disk")]
    Table(#[source] GptError),
    /// Sectors that blocks of 4096 bytes cannot be made of.
    #[error("the disk's sectors have {block_size} bytes: Ballast is installed on 512 or 4096")]
    BlockSize {
        /// Bytes in a sector.
        block_size: u32,
    },
    /// No boot partitions.
    #[error("this is not a disk that Ballast was installed on")]
    NoSlots(#[from] SlotError),
    /// A partition of a slot is not there.
    #[error(
        "this is not a disk that Ballast was installed on: \
         no partition of type {type_guid} is labelled {label}"
    )]
    Missing {
        /// Label that was looked for.
        label: &'static str,
        /// Type that was looked for.
        type_guid: Guid,
    },
    /// Nothing says which of two partitions is meant.
    #[error("partitions {first} and {second} are both labelled {label}: rename the foreign one")]
    Twice {
        /// The label.
        label: &'static str,
        /// Number of the first one.
        first: u32,
        /// Number of the second one.
        second: u32,
    },
    /// The slot that is said to run holds something else.
    #[error(
        "slot {slot} of this disk is not what runs: partition {label} has the GUID {found}, the \
         running system needs {expected}; check that this is the disk the host was started from"
    )]
    NotRunning {
        /// Slot that is said to run.
        slot: Slot,
        /// Label of the partition.
        label: &'static str,
        /// Its unique GUID.
        found: Guid,
        /// Half of the running root hash.
        expected: Guid,
    },
    /// The passive slot is what the host goes back to.
    #[error(
        "slot {slot} runs on trial: nothing is installed before it is blessed; \
         see what boot-complete.target waits for"
    )]
    NotBlessed {
        /// The running slot.
        slot: Slot,
    },
    /// The release does not fit.
    #[error(
        "partition {label} is too small: the release needs {needed} bytes, it has {present}; \
         install this host anew from an image with larger slots"
    )]
    TooSmall {
        /// Label of the partition.
        label: &'static str,
        /// Bytes that the release needs.
        needed: u64,
        /// Bytes in the partition.
        present: u64,
    },
    /// The partition ends before these blocks.
    #[error("partition {label} ends before what was to be moved at block {block}")]
    Beyond {
        /// Label of the partition.
        label: &'static str,
        /// First block.
        block: usize,
    },
    /// The disk failed.
    #[error("using partition {label}: check the disk's health and the kernel log")]
    Block {
        /// Label of the partition.
        label: &'static str,
        /// What the disk answered.
        source: BlockError,
    },
    /// The disk failed to make writes durable.
    #[error("making writes durable: check the disk's health and the kernel log")]
    Flush(#[source] BlockError),
    /// The table in memory does not take a change.
    #[error("changing the partition table")]
    Edit(#[from] EditError),
}
