//! The GUID partition table (UEFI Specification 2.10, section 5.3), both copies.
//!
//! A disk carries the table twice: the primary from block 1 on, the backup at the
//! end. Each copy is a header and an array of entries, each under a CRC-32.
//! [`Gpt::read`] believes no field before its CRC and its bounds were checked, takes
//! the primary, and the backup where the primary is wrong. [`Gpt::repair`] rewrites
//! the copy that is wrong from the one that is right.
//!
//! # Power loss
//!
//! [`Gpt::commit`] writes the backup (entries, header), flushes, and only then
//! writes the primary (entries, header) and flushes. It starts only when the primary
//! on the disk is valid. So at every instant:
//!
//! 1. until the backup is durable, the primary on disk is the old one, whole: a
//!    reader sees the old table, whatever became of the backup;
//! 2. until the primary is durable, it is either whole (old or new) or its CRCs say
//!    that it is not, and the backup, at the last block where every reader looks for
//!    it, is the new one, whole.
//!
//! A disk may reorder writes between two flushes, and tear one: within a copy that
//! does no harm, because header and entries vouch for each other. The backup comes
//! first because a disk that was grown still has it in its old place: the new place
//! must hold a copy before the primary may be at risk.
//!
//! When the primary is the wrong copy, writing the backup first would destroy the
//! only right one. Therefore `commit` refuses then, and [`Gpt::repair`], which
//! leaves the right copy alone, has to come first.
//!
//! One case is beyond help: a disk that was grown, not written since, and then lost its
//! primary *header*. Nothing says where its backup is.

use crate::block::BlockIo;
use alloc::{string::String, vec, vec::Vec};
use gpt_disk_types::{GptPartitionAttributes, GptPartitionEntry, GptPartitionType, LbaLe, U64Le};

mod entries;
mod error;
mod header;
mod read;
mod write;

pub use error::{CopyError, EditError, GptError};
pub use gpt_disk_types::{Guid, guid};
pub use write::{erase, protect, protect_all};

/// Most bytes that an array of entries may have: 8192 entries of 128 bytes.
pub const MAX_ENTRY_BYTES: u32 = 1 << 20;

/// One of the two copies of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The copy at the start of the disk.
    Primary,
    /// The copy at the end of the disk.
    Backup,
}

/// Size and number of a disk's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in one block: a power of two, 512 to 65536.
    pub block_size: u32,
    /// Blocks on the disk.
    pub block_count: u64,
}

/// What was wrong on the disk when the table was read.
#[derive(Debug, Default)]
pub struct Health {
    /// Why the primary copy cannot be used.
    pub primary: Option<CopyError>,
    /// Why the backup copy cannot be used.
    pub backup: Option<CopyError>,
    /// Both copies are valid, but they say different things: power was lost between
    /// writing one and the other, or another program wrote only one.
    pub differ: bool,
}

impl Health {
    /// Both copies are valid and say the same.
    pub fn is_good(&self) -> bool {
        self.primary.is_none() && self.backup.is_none() && !self.differ
    }
}

/// Where on the disk the parts of the two copies are.
#[derive(Clone, Copy, Debug)]
struct Layout {
    primary_entries: u64,
    backup_entries: u64,
    backup: u64,
    last_usable: u64,
}

/// A partition table in memory, with what is needed to write it back.
#[derive(Debug)]
pub struct Gpt {
    geometry: Geometry,
    layout: Layout,
    /// Where the primary copy on the disk says that the backup is.
    named_backup: u64,
    disk_guid: Guid,
    first_usable: u64,
    entry_size: u32,
    entry_count: u32,
    /// The array, padded to whole blocks.
    entries: Vec<u8>,
    /// Bytes of the header after the 92 that the specification defines.
    header_tail: Vec<u8>,
    source: Which,
    health: Health,
}

/// One used entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number of the partition, from 1.
    pub number: u32,
    /// What the partition is for.
    pub type_guid: Guid,
    /// This partition's own identity, the PARTUUID.
    pub guid: Guid,
    /// First block.
    pub first_lba: u64,
    /// Last block, part of the partition.
    pub last_lba: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Label, up to 36 UCS-2 characters.
    pub name: String,
}

impl Partition {
    /// Blocks in the partition.
    pub fn block_count(&self) -> u64 {
        self.last_lba - self.first_lba + 1
    }
}

impl Gpt {
    /// An empty table for a disk of `geometry`, with `entry_count` entries of 128
    /// bytes. In memory only: [`format`](Self::format) writes it.
    ///
    /// Fails if the disk is too small for both copies and one block of data.
    pub fn new(geometry: Geometry, disk_guid: Guid, entry_count: u32) -> Result<Self, GptError> {
        geometry.check()?;
        let entry_size = 128;
        let bytes = entries::array_bytes(entry_count, entry_size).map_err(GptError::Shape)?;
        let blocks = u64::from(bytes.div_ceil(geometry.block_size));
        let too_small = GptError::NoRoom { blocks };
        let Some(last_usable) = geometry.block_count.checked_sub(2 + blocks) else {
            return Err(too_small);
        };
        let first_usable = 2 + blocks;
        if last_usable < first_usable {
            return Err(too_small);
        }
        Ok(Self {
            geometry,
            layout: Layout {
                primary_entries: 2,
                backup_entries: last_usable + 1,
                backup: geometry.block_count - 1,
                last_usable,
            },
            named_backup: geometry.block_count - 1,
            disk_guid,
            first_usable,
            entry_size,
            entry_count,
            entries: vec![0; (blocks * u64::from(geometry.block_size)) as usize],
            header_tail: Vec::new(),
            source: Which::Primary,
            health: Health::default(),
        })
    }

    /// Reads the table of `disk`: the primary copy, or else the backup.
    ///
    /// Also reads the other copy, to know its [`health`](Self::health). Writes
    /// nothing. Costs about 70 blocks for 128 entries.
    pub fn read<D: BlockIo + ?Sized>(disk: &mut D) -> Result<Self, GptError> {
        read::read(disk)
    }

    /// The copy that the table was read from.
    pub fn source(&self) -> Which {
        self.source
    }

    /// What is wrong on the disk, as far as it was not repaired since.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The disk that the table was read from.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The identity of the disk.
    pub fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// How many entries the table has, used and unused.
    pub fn entry_count(&self) -> u32 {
        self.entry_count
    }

    /// First and last block that partitions may use.
    pub fn usable(&self) -> (u64, u64) {
        (self.first_usable, self.layout.last_usable)
    }

    /// The used entries in the order of their numbers.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        (1..=self.entry_count).filter_map(|number| self.partition(number))
    }

    /// The partition `number` (from 1), if that entry is used.
    pub fn partition(&self, number: u32) -> Option<Partition> {
        let entry = self.entry(number)?;
        entry.is_used().then(|| entries::view(number, &entry))
    }

    /// Sets all attribute bits of partition `number`. Memory only.
    pub fn set_attributes(&mut self, number: u32, attributes: u64) -> Result<(), EditError> {
        self.edit(number, |entry| {
            entry.attributes.0 = U64Le::from_u64(attributes);
            Ok(())
        })
    }

    /// Sets the identity (PARTUUID) of partition `number`. Memory only.
    pub fn set_guid(&mut self, number: u32, guid: Guid) -> Result<(), EditError> {
        self.edit(number, |entry| {
            entry.unique_partition_guid = guid;
            Ok(())
        })
    }

    /// Sets the label of partition `number`. Memory only.
    ///
    /// Fails if the label is longer than 36 characters or not UCS-2.
    pub fn set_name(&mut self, number: u32, name: &str) -> Result<(), EditError> {
        let name = entries::name(number, name)?;
        self.edit(number, |entry| {
            entry.name = name;
            Ok(())
        })
    }

    /// Puts `partition` into the table at its number, replacing what was there.
    /// Memory only.
    ///
    /// Fails if it leaves the usable blocks or overlaps another partition.
    pub fn set_partition(&mut self, partition: &Partition) -> Result<(), EditError> {
        let number = partition.number;
        self.entry(number).ok_or(EditError::NoEntry {
            number,
            count: self.entry_count,
        })?;
        let usable = self.usable();
        if partition.type_guid == Guid::ZERO
            || partition.first_lba > partition.last_lba
            || partition.first_lba < usable.0
            || partition.last_lba > usable.1
        {
            return Err(EditError::Place { number, usable });
        }
        let overlaps = |other: &Partition| {
            other.number != number
                && other.first_lba <= partition.last_lba
                && partition.first_lba <= other.last_lba
        };
        if let Some(other) = self.partitions().find(overlaps) {
            return Err(EditError::Overlap {
                number,
                other: other.number,
            });
        }
        let entry = GptPartitionEntry {
            partition_type_guid: GptPartitionType(partition.type_guid),
            unique_partition_guid: partition.guid,
            starting_lba: LbaLe::from_u64(partition.first_lba),
            ending_lba: LbaLe::from_u64(partition.last_lba),
            attributes: GptPartitionAttributes(U64Le::from_u64(partition.attributes)),
            name: entries::name(number, &partition.name)?,
        };
        self.store(number, &entry);
        Ok(())
    }

    /// Takes partition `number` out of the table; its blocks become free. Memory
    /// only.
    pub fn remove_partition(&mut self, number: u32) -> Result<(), EditError> {
        let count = self.entry_count;
        self.entry(number)
            .filter(GptPartitionEntry::is_used)
            .ok_or(EditError::NoEntry { number, count })?;
        // All of the entry: it may be longer than the fields that are known.
        let size = self.entry_size as usize;
        let start = (number as usize - 1) * size;
        if let Some(place) = self.entries.get_mut(start..start + size) {
            place.fill(0);
        }
        Ok(())
    }

    fn edit(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut GptPartitionEntry) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        let count = self.entry_count;
        let mut entry = self
            .entry(number)
            .filter(GptPartitionEntry::is_used)
            .ok_or(EditError::NoEntry { number, count })?;
        change(&mut entry)?;
        self.store(number, &entry);
        Ok(())
    }

    fn entry(&self, number: u32) -> Option<GptPartitionEntry> {
        entries::get(&self.entries, self.entry_size, self.entry_count, number)
    }

    fn store(&mut self, number: u32, entry: &GptPartitionEntry) {
        let start = (number as usize - 1) * self.entry_size as usize;
        let bytes = bytemuck::bytes_of(entry);
        if let Some(place) = self.entries.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// The bytes of the array that its CRC covers.
    fn array(&self) -> &[u8] {
        &self.entries[..(self.entry_size * self.entry_count) as usize]
    }

    /// Blocks that the array takes in each copy.
    fn array_blocks(&self) -> u64 {
        self.entries.len() as u64 / u64::from(self.geometry.block_size)
    }
}

impl Geometry {
    /// The geometry of `disk`, checked.
    fn of<D: BlockIo + ?Sized>(disk: &D) -> Result<Self, GptError> {
        let geometry = Self {
            block_size: disk.block_size(),
            block_count: disk.block_count(),
        };
        geometry.check()?;
        Ok(geometry)
    }

    fn check(self) -> Result<(), GptError> {
        let Self {
            block_size,
            block_count,
        } = self;
        if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
            return Err(GptError::BlockSize { block_size });
        }
        // Below this there is no room for two headers, two arrays and one block;
        // above, a byte offset would not fit 64 bits.
        if block_count < 6 || block_count > u64::MAX / u64::from(block_size) {
            return Err(GptError::BlockCount { block_count });
        }
        Ok(())
    }
}
