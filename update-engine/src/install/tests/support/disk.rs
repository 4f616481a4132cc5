//! Disks in the real layout, and what is on them.

use bootloader::block::MemoryDisk;
use bootloader::gpt::{Geometry, Guid, Partition, guid};
use bootloader::slot::{BOOT_PARTITION, SlotBits, SlotTable};
use bootloader::{BlockError, BlockIo, Gpt, Slot};

use super::{Built, SECTOR};
use crate::slots::{Names, Part, TREE_PARTITION, USR_PARTITION};

/// Root, types and places of the real layout's partitions, in sectors. Small, and apart
/// from each other.
const ROOT_PARTITION: Guid = guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");

/// Sectors of the partitions: what the releases here need, and a little more.
#[derive(Clone, Copy)]
pub struct Layout {
    pub boot: u64,
    pub tree: u64,
    pub usr: u64,
    /// Entries of the partition table, used or not.
    pub entries: u32,
}

impl Layout {
    pub const SMALL: Self = Self {
        boot: 20 * 8,
        tree: 4 * 8,
        usr: 72 * 8,
        entries: 128,
    };
}

/// A disk in the real layout: `old` blessed in slot `a`, nothing in slot `b`.
pub fn disk_with(old: &Built) -> MemoryDisk {
    disk_of(Layout::SMALL, old)
}

pub fn disk_of(layout: Layout, old: &Built) -> MemoryDisk {
    let slot = [
        (BOOT_PARTITION, layout.boot),
        (TREE_PARTITION, layout.tree),
        (USR_PARTITION, layout.usr),
    ];
    let labels = Slot::ALL.map(|slot| Part::ALL.map(|part| part.label(slot)));
    let mut partitions = vec![(ESP, "esp", 8)];
    for labels in labels {
        for ((type_guid, sectors), label) in slot.into_iter().zip(labels) {
            partitions.push((type_guid, label, sectors));
        }
    }
    partitions.push((ROOT_PARTITION, "root", 8));
    let sectors: u64 = partitions.iter().map(|p| p.2).sum();
    let geometry = Geometry {
        block_size: SECTOR as u32,
        block_count: sectors + 2 * 34 + 6,
    };
    let mut disk = MemoryDisk::new(SECTOR as u32, geometry.block_count as usize);
    let mut gpt = Gpt::new(geometry, Guid::from_bytes([0xd1; 16]), layout.entries).unwrap();
    let mut first_lba = gpt.usable().0.next_multiple_of(8);
    for (index, (type_guid, name, sectors)) in partitions.into_iter().enumerate() {
        let partition = Partition {
            number: index as u32 + 1,
            type_guid,
            guid: Guid::from_bytes([index as u8 + 1; 16]),
            first_lba,
            last_lba: first_lba + sectors - 1,
            attributes: 0,
            name: name.into(),
        };
        gpt.set_partition(&partition).unwrap();
        first_lba += sectors;
    }
    gpt.format(&mut disk).unwrap();
    let blessed = SlotBits {
        priority: 1,
        tries: 0,
        successful: true,
    };
    put(&mut disk, Slot::A, old, blessed);
    disk
}

/// Puts a release into a slot, below any code under test.
pub fn put(disk: &mut MemoryDisk, slot: Slot, built: &Built, bits: SlotBits) {
    let mut gpt = Gpt::read(disk).unwrap();
    let names = built.names();
    for part in Part::ALL {
        let partition = find(&gpt, slot, part);
        let at = partition.first_lba as usize * SECTOR;
        let content = built.content(part);
        disk.bytes_mut()[at..at + content.len()].copy_from_slice(content);
        let guid = match part {
            Part::Boot => names.boot,
            Part::Tree => names.tree,
            Part::Usr => names.usr,
        };
        gpt.set_guid(partition.number, guid).unwrap();
        if part == Part::Boot {
            let attributes = bits.into_attributes(0);
            gpt.set_attributes(partition.number, attributes).unwrap();
        }
    }
    gpt.commit(disk).unwrap();
}

pub fn find(gpt: &Gpt, slot: Slot, part: Part) -> Partition {
    let label = part.label(slot);
    gpt.partitions().find(|p| p.name == label).unwrap()
}

/// A disk that is only looked at.
struct View<'a>(&'a [u8]);

impl BlockIo for View<'_> {
    fn block_size(&self) -> u32 {
        SECTOR as u32
    }

    fn block_count(&self) -> u64 {
        (self.0.len() / SECTOR) as u64
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let at = lba as usize * SECTOR;
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        unreachable!("nobody writes while looking")
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        unreachable!("nobody writes while looking")
    }
}

pub fn gpt(disk: &MemoryDisk) -> Gpt {
    Gpt::read(&mut View(disk.bytes())).unwrap()
}

/// The first bytes of a partition.
pub fn content<'a>(
    disk: &'a MemoryDisk,
    gpt: &Gpt,
    slot: Slot,
    part: Part,
    length: usize,
) -> &'a [u8] {
    let at = find(gpt, slot, part).first_lba as usize * SECTOR;
    &disk.bytes()[at..at + length]
}

/// What a slot's partitions are named.
pub fn names(gpt: &Gpt, slot: Slot) -> Names {
    let guid = |part| find(gpt, slot, part).guid;
    Names {
        boot: guid(Part::Boot),
        tree: guid(Part::Tree),
        usr: guid(Part::Usr),
    }
}

/// Byte for byte, and by the name of every partition.
pub fn assert_holds(disk: &MemoryDisk, slot: Slot, built: &Built) {
    let gpt = gpt(disk);
    for part in Part::ALL {
        let expected = built.content(part);
        let found = content(disk, &gpt, slot, part, expected.len());
        assert!(found == expected, "{} is wrong", part.label(slot));
    }
    assert_eq!(names(&gpt, slot), built.names());
}

pub fn table(disk: &MemoryDisk) -> SlotTable {
    SlotTable::from_gpt(&gpt(disk)).unwrap()
}

pub fn bits(disk: &MemoryDisk, slot: Slot) -> SlotBits {
    table(disk).bits(slot)
}

/// The slot that the selector tries first.
pub fn chosen(disk: &MemoryDisk) -> Slot {
    bootloader::choose(&table(disk)).first.slot
}
