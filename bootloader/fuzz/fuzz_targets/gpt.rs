//! Any disk: reading its table does not panic, and what is accepted can be repaired,
//! written and read again.
//!
//! The first byte says what is done to the rest: a fuzzer does not find CRCs by
//! itself, so one bit asks for right ones.

#![no_main]

use bootloader::block::{BlockIo, MemoryDisk};
use bootloader::gpt::Gpt;
use bootloader::slot::{Slot, SlotTable};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((how, content)) = data.split_first() else {
        return;
    };
    let mut disk = MemoryDisk::from_bytes(512, spread(content));
    if how & 1 == 1 {
        seal(&mut disk);
    }
    let Ok(mut gpt) = Gpt::read(&mut disk) else {
        return;
    };
    let before: Vec<_> = gpt.partitions().collect();
    if gpt.repair(&mut disk).is_err() {
        return;
    }
    let mut gpt = Gpt::read(&mut disk).expect("repaired table is unreadable");
    assert!(gpt.health().is_good());
    assert!(gpt.partitions().eq(before));
    if let Ok(mut slots) = SlotTable::from_gpt(&gpt) {
        slots.arm(Slot::B, 1);
        slots.store(&mut gpt).expect("slots of this table");
        if gpt.commit(&mut disk).is_ok() {
            let again = Gpt::read(&mut disk).expect("written table is unreadable");
            assert_eq!(SlotTable::from_gpt(&again), Ok(slots));
        }
    }
});

/// A disk of 128 blocks: the first half of `content` is at its start, from block 1 on,
/// the other half at its end.
fn spread(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 128 * BLOCK];
    let (start, end) = content.split_at(content.len() / 2);
    let start = &start[..start.len().min(60 * BLOCK)];
    let end = &end[..end.len().min(60 * BLOCK)];
    bytes[BLOCK..BLOCK + start.len()].copy_from_slice(start);
    let length = bytes.len();
    bytes[length - end.len()..].copy_from_slice(end);
    bytes
}

/// Puts right signatures, places and CRCs into both headers.
fn seal(disk: &mut MemoryDisk) {
    let last = disk.block_count() as usize - 1;
    for (lba, other) in [(1, last), (last, 1)] {
        let at = lba * BLOCK;
        let bytes = disk.bytes_mut();
        bytes[at..at + 16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        bytes[at + 24..at + 32].copy_from_slice(&(lba as u64).to_le_bytes());
        if bytes[at + 20] & 1 == 0 {
            bytes[at + 32..at + 40].copy_from_slice(&(other as u64).to_le_bytes());
        }
        let field = |offset: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&bytes[at + offset..at + offset + 4]);
            u32::from_le_bytes(value) as usize
        };
        let start = field(72).saturating_mul(BLOCK);
        let length = field(80).saturating_mul(field(84));
        if let Some(array) = bytes.get(start..start.saturating_add(length)) {
            let sum = crc32(array).to_le_bytes();
            bytes[at + 88..at + 92].copy_from_slice(&sum);
        }
        bytes[at + 16..at + 20].fill(0);
        let sum = crc32(&bytes[at..at + 92]).to_le_bytes();
        bytes[at + 16..at + 20].copy_from_slice(&sum);
    }
}

/// CRC-32 (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            c >> 1 ^ (0xedb8_8320 & (c & 1).wrapping_neg())
        })
    })
}
