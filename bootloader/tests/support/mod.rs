//! Disks for the tests: whole, damaged, and with power cuts.

#![allow(dead_code, clippy::unwrap_used)]

use bootloader::block::{BlockError, BlockIo, MemoryDisk, Operation};
use bootloader::gpt::{Geometry, Gpt, Guid, Partition, guid};
use bootloader::slot::BOOT_PARTITION;

pub const DISK: Guid = guid!("11111111-2222-3333-4444-555555555555");

/// A disk with the two slots of a fresh image, in the given number of entries.
pub fn slots_disk(block_size: u32, block_count: u64, entries: u32) -> MemoryDisk {
    let mut disk = MemoryDisk::new(block_size, block_count as usize);
    let geometry = Geometry {
        block_size,
        block_count,
    };
    let mut gpt = Gpt::new(geometry, DISK, entries).unwrap();
    let first = gpt.usable().0;
    for (number, label, at, attributes) in [
        (2, "boot-a", first, 0x0101_0000_0000_0000),
        (5, "boot-b", first + 8, 0x0000_0000_0000_0004),
    ] {
        let partition = Partition {
            number,
            type_guid: BOOT_PARTITION,
            guid: Guid::from_bytes([number as u8; 16]),
            first_lba: at,
            last_lba: at + 7,
            attributes,
            name: label.to_string(),
        };
        gpt.set_partition(&partition).unwrap();
    }
    gpt.format(&mut disk).unwrap();
    disk
}

/// One thing that a program made a disk do.
#[derive(Clone, Debug)]
pub enum Step {
    Write(u64, Vec<u8>),
    Flush,
}

/// A disk that remembers what it was made to do.
pub struct Recorder {
    pub disk: MemoryDisk,
    pub steps: Vec<Step>,
}

impl Recorder {
    pub fn new(disk: MemoryDisk) -> Self {
        Self {
            disk,
            steps: Vec::new(),
        }
    }
}

impl BlockIo for Recorder {
    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.disk.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        self.steps.push(Step::Write(lba, data.to_vec()));
        self.disk.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.steps.push(Step::Flush);
        self.disk.flush()
    }
}

/// What a failing disk does with writes.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Answers with an error.
    Refuses,
    /// Takes them and keeps nothing.
    Forgets,
}

/// A disk that reads well and does not write.
pub struct Faulty(pub MemoryDisk, pub Fault);

impl BlockIo for Faulty {
    fn block_size(&self) -> u32 {
        self.0.block_size()
    }

    fn block_count(&self) -> u64 {
        self.0.block_count()
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        match self.1 {
            Fault::Refuses => {
                let cause = "write protected";
                Err(BlockError::new(Operation::Write, lba, data.len(), cause))
            }
            Fault::Forgets => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Puts new CRCs on both headers, so that damage is found by its meaning.
pub fn reseal(disk: &mut MemoryDisk) {
    let (size, count) = (disk.block_size() as usize, disk.block_count() as usize);
    for lba in [1, count - 1] {
        let bytes = disk.bytes_mut();
        let at = lba * size;
        let field = |bytes: &[u8], offset: usize, length: usize| {
            let mut value = [0; 8];
            value[..length].copy_from_slice(&bytes[at + offset..][..length]);
            u64::from_le_bytes(value) as usize
        };
        let array = field(bytes, 72, 8).saturating_mul(size);
        let length = field(bytes, 80, 4).saturating_mul(field(bytes, 84, 4));
        if let Some(entries) = bytes.get(array..array.saturating_add(length)) {
            let sum = crc32(entries);
            bytes[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
        }
        let header = field(bytes, 12, 4).clamp(92, size);
        bytes[at + 16..at + 20].fill(0);
        let sum = crc32(&bytes[at..at + header]);
        bytes[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
    }
}

/// CRC-32 (ISO 3309), bit by bit: not the implementation under test.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            c >> 1 ^ (0xedb8_8320 & (c & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}
