//! What can be wrong with a partition table.

use super::Which;
use crate::block::BlockError;
use core::fmt;

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

/// Why one copy of the table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk could not be read there.
    #[error("{0}")]
    Read(BlockError),
    /// No table at all.
    #[error("no EFI PART signature at block {lba}")]
    Signature {
        /// Block that was looked at.
        lba: u64,
    },
    /// A revision of the format that is not 1.0.
    #[error("header revision {found:#010x} is not 1.0")]
    Revision {
        /// Revision in the header.
        found: u32,
    },
    /// A header shorter than its fields or longer than its block.
    #[error("header size {found} is not between 92 and the block size")]
    HeaderSize {
        /// Size in the header.
        found: u32,
    },
    /// The header was damaged.
    #[error("header CRC is {stored:08x}, its bytes give {computed:08x}")]
    HeaderCrc {
        /// CRC in the header.
        stored: u32,
        /// CRC of the header's bytes.
        computed: u32,
    },
    /// The header belongs somewhere else.
    #[error("header at block {lba} says that it is at block {found}")]
    MyLba {
        /// Block that holds the header.
        lba: u64,
        /// Block that the header names.
        found: u64,
    },
    /// The header names an impossible place for the other copy.
    #[error("header says that the other copy is at block {found}")]
    Alternate {
        /// Block that the header names.
        found: u64,
    },
    /// The other copy would be beyond the end: the disk was cut short.
    #[error("block {lba} is beyond the end of the disk")]
    BeyondDisk {
        /// Block that the primary header names.
        lba: u64,
    },
    /// An entry size that is not 128 times a power of two, or is too large.
    #[error("entry size {found} is not 128 times a power of two up to 4096")]
    EntrySize {
        /// Size in the header.
        found: u32,
    },
    /// No entries, or more than this program is ready to read.
    #[error("{count} entries of {size} bytes are none or too many")]
    EntryCount {
        /// Number of entries in the header.
        count: u32,
        /// Size of an entry in the header.
        size: u32,
    },
    /// An empty range of usable blocks, or one outside the disk or over the header.
    #[error("usable blocks {first} to {last} are not a range of this disk")]
    Usable {
        /// First usable block in the header.
        first: u64,
        /// Last usable block in the header.
        last: u64,
    },
    /// The array lies over a header, over usable blocks or outside the disk.
    #[error("entries at blocks {first} to {last} overlap something else or leave the disk")]
    EntriesPlace {
        /// First block of the array.
        first: u64,
        /// Last block of the array.
        last: u64,
    },
    /// The entries were damaged, or only partly written.
    #[error("CRC of the entries is {stored:08x}, their bytes give {computed:08x}")]
    EntriesCrc {
        /// CRC in the header.
        stored: u32,
        /// CRC of the entries' bytes.
        computed: u32,
    },
    /// A partition outside the usable blocks, or one that ends before it starts.
    #[error("partition {number} at blocks {first} to {last} leaves the usable blocks")]
    PartitionPlace {
        /// Number of the partition.
        number: u32,
        /// Its first block.
        first: u64,
        /// Its last block.
        last: u64,
    },
    /// Two partitions share blocks.
    #[error("partitions {first} and {second} overlap")]
    Overlap {
        /// Number of the one that starts first.
        first: u32,
        /// Number of the other one.
        second: u32,
    },
    /// A left-over of another table.
    #[error("it belongs to another disk")]
    OtherDisk,
    /// Not enough memory for the entries.
    #[error("no memory for {bytes} bytes of entries")]
    Memory {
        /// Bytes asked for.
        bytes: u32,
    },
}

/// A partition table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// A block size that no disk has.
    #[error("block size {block_size} is not a power of two between 512 and 65536")]
    BlockSize {
        /// Bytes in a block.
        block_size: u32,
    },
    /// A disk too small or impossibly large.
    #[error("a disk of {block_count} blocks cannot carry a partition table")]
    BlockCount {
        /// Blocks on the disk.
        block_count: u64,
    },
    /// Neither copy can be used.
    #[error("no valid partition table: primary: {primary}; backup: {backup}")]
    NoValidCopy {
        /// What is wrong with the primary copy.
        primary: CopyError,
        /// What is wrong with the backup copy.
        backup: CopyError,
    },
    /// A shape of table that cannot be written.
    #[error("shaping a new partition table")]
    Shape(#[source] CopyError),
    /// The copy does not fit between its header and the usable blocks.
    #[error("no room for a copy of the partition table with {blocks} blocks of entries")]
    NoRoom {
        /// Blocks that the array takes.
        blocks: u64,
    },
    /// The primary copy is wrong: repair it before writing anything new.
    #[error("writing the partition table while its primary copy is broken")]
    NeedsRepair,
    /// The disk refused.
    #[error("writing the {which} partition table")]
    Write {
        /// The copy being written.
        which: Which,
        /// What the disk answered.
        #[source]
        source: BlockError,
    },
    /// The disk took the write and did not keep it.
    #[error("the {which} partition table reads back different from what was written")]
    NotKept {
        /// The copy that was written.
        which: Which,
    },
}

/// A change that the table cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The entry does not exist, or is unused.
    #[error("no partition {number} in a table of {count} entries")]
    NoEntry {
        /// Number of the partition.
        number: u32,
        /// Entries in the table.
        count: u32,
    },
    /// Not a label.
    #[error("label of partition {number} is not up to 36 UCS-2 characters")]
    Name {
        /// Number of the partition.
        number: u32,
    },
    /// An unused type, or blocks that partitions may not use.
    #[error("partition {number} has no type or leaves the usable blocks {} to {}", .usable.0, .usable.1)]
    Place {
        /// Number of the partition.
        number: u32,
        /// First and last usable block.
        usable: (u64, u64),
    },
    /// Blocks that another partition has.
    #[error("partition {number} overlaps partition {other}")]
    Overlap {
        /// Number of the new partition.
        number: u32,
        /// Number of the one that is there.
        other: u32,
    },
}
