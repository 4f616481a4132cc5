//! Reading the partition table: both copies, damage, hostile content.

#![allow(clippy::unwrap_used)]

mod support;

use bootloader::block::{BlockIo, MemoryDisk};
use bootloader::gpt::{CopyError, EditError, Geometry, Gpt, GptError, Guid, Partition, Which};
use bootloader::slot::{BOOT_PARTITION, Slot, SlotBits, SlotError, SlotTable};
use proptest::prelude::*;
use support::{DISK, reseal, slots_disk};

const BLOCK: usize = 512;

/// A disk with two valid copies and the slots, 512 blocks of 512 bytes.
fn disk() -> MemoryDisk {
    slots_disk(512, 512, 128)
}

fn partitions(disk: &mut MemoryDisk) -> Vec<Partition> {
    Gpt::read(disk).unwrap().partitions().collect()
}

#[test]
fn a_table_by_sfdisk_is_read() {
    let fixture = include_bytes!("fixtures/sfdisk.gpt");
    let (start, end) = fixture.split_at(4 * BLOCK);
    let mut disk = MemoryDisk::new(512, 1 << 20);
    let bytes = disk.bytes_mut();
    let length = bytes.len();
    bytes[..start.len()].copy_from_slice(start);
    bytes[length - BLOCK..].copy_from_slice(end);
    bytes[length - 33 * BLOCK..length - 31 * BLOCK].copy_from_slice(&start[2 * BLOCK..]);

    let gpt = Gpt::read(&mut disk).unwrap();
    assert!(gpt.health().is_good(), "{:?}", gpt.health());
    assert_eq!((gpt.source(), gpt.disk_guid()), (Which::Primary, DISK));
    assert_eq!((gpt.entry_count(), gpt.usable()), (128, (2048, 1_048_542)));
    let labels: Vec<String> = gpt.partitions().map(|p| p.name).collect();
    let expected = "esp boot-a usr-a-verity usr-a boot-b usr-b-verity usr-b";
    assert_eq!(labels.join(" "), expected);
    let esp = gpt.partition(1).unwrap();
    assert_eq!((esp.first_lba, esp.block_count()), (2048, 131_072));
    assert_eq!(esp.guid.to_string(), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    let slots = SlotTable::from_gpt(&gpt).unwrap();
    let running = SlotBits {
        priority: 1,
        tries: 0,
        successful: true,
    };
    assert_eq!(slots.bits(Slot::A), running);
    assert_eq!(slots.bits(Slot::B), SlotBits::default());
    assert_eq!(slots.get(Slot::B).number, 5);
}

#[test]
fn what_is_written_is_the_format_that_sfdisk_writes() {
    let fixture = include_bytes!("fixtures/sfdisk.gpt");
    let geometry = Geometry {
        block_size: 512,
        block_count: 1 << 20,
    };
    let mut disk = MemoryDisk::new(512, 1 << 20);
    Gpt::new(geometry, DISK, 128)
        .unwrap()
        .format(&mut disk)
        .unwrap();
    // All fields but the first usable block, which sfdisk aligns, and the CRCs.
    let same = |ours: &[u8], theirs: &[u8]| {
        for field in [0..16, 20..40, 48..88] {
            assert_eq!(
                ours[field.clone()],
                theirs[field.clone()],
                "bytes {field:?}"
            );
        }
    };
    same(&disk.bytes()[BLOCK..], &fixture[BLOCK..]);
    let end = disk.bytes().len() - BLOCK;
    same(&disk.bytes()[end..], &fixture[4 * BLOCK..]);
}

/// Random partitions that fit into `usable` without overlap.
fn layout(usable: (u64, u64), cuts: &[u64], entries: u32) -> Vec<Partition> {
    let room = usable.1 - usable.0 + 1;
    let mut starts: Vec<u64> = cuts.iter().map(|cut| usable.0 + cut % room).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.truncate(entries as usize);
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([usable.1]);
    let places = starts.iter().zip(ends).enumerate();
    places
        .map(|(index, (first, last))| Partition {
            number: index as u32 + 1,
            type_guid: Guid::from_bytes([0x5a; 16]),
            guid: Guid::from_bytes([index as u8; 16]),
            first_lba: *first,
            last_lba: last,
            attributes: first.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            name: format!("p{index}-Größe-ß"),
        })
        .collect()
}

proptest! {
    #[test]
    fn every_table_comes_back_from_either_copy(
        block_size in prop::sample::select(vec![512u32, 1024, 4096]),
        extra in 600u64..2000,
        entries in prop::sample::select(vec![1u32, 4, 128, 129, 200, 256, 1024]),
        cuts in prop::collection::vec(any::<u64>(), 1..300),
        lost in prop::sample::select(vec![None, Some(Which::Primary), Some(Which::Backup)]),
    ) {
        let geometry = Geometry { block_size, block_count: extra };
        let mut disk = MemoryDisk::new(block_size, extra as usize);
        let mut gpt = Gpt::new(geometry, DISK, entries).unwrap();
        let expected = layout(gpt.usable(), &cuts, entries);
        for partition in &expected {
            gpt.set_partition(partition).unwrap();
        }
        gpt.format(&mut disk).unwrap();
        let whole = disk.clone();
        let header = match lost {
            None => 0,
            Some(Which::Primary) => 1,
            Some(Which::Backup) => extra - 1,
        };
        disk.write(header, &vec![0; block_size as usize]).unwrap();

        let mut gpt = Gpt::read(&mut disk).unwrap();
        prop_assert_eq!(gpt.partitions().collect::<Vec<_>>(), expected);
        prop_assert_eq!(gpt.health().primary.is_some(), lost == Some(Which::Primary));
        prop_assert_eq!(gpt.health().backup.is_some(), lost == Some(Which::Backup));
        prop_assert_eq!(gpt.repair(&mut disk).unwrap(), lost);
        prop_assert_eq!(disk.bytes(), whole.bytes());
    }

    #[test]
    fn damage_to_one_copy_loses_nothing_and_is_repaired(
        in_backup: bool,
        at in 0usize..33 * BLOCK,
        flip in 1u8..,
        run in 1usize..2000,
    ) {
        let whole = disk();
        let mut disk = whole.clone();
        let (start, end) = if in_backup { (479, 512) } else { (1, 34) };
        let (start, end) = (start * BLOCK, end * BLOCK);
        for byte in disk.bytes_mut()[start..end].iter_mut().skip(at).take(run) {
            *byte ^= flip;
        }
        let mut gpt = Gpt::read(&mut disk).unwrap();
        prop_assert_eq!(SlotTable::from_gpt(&gpt).unwrap().bits(Slot::A).priority, 1);
        gpt.repair(&mut disk).unwrap();
        let again = Gpt::read(&mut disk).unwrap();
        prop_assert!(again.health().is_good(), "{:?}", again.health());
        prop_assert_eq!(
            again.partitions().collect::<Vec<_>>(),
            partitions(&mut whole.clone())
        );
    }

    #[test]
    fn no_content_panics(
        bytes in prop::collection::vec(any::<u8>(), 512..8192),
        block_size in prop::sample::select(vec![0u32, 1, 512, 513, 4096, 1 << 31]),
    ) {
        let mut disk = MemoryDisk::from_bytes(block_size, bytes);
        prop_assert!(Gpt::read(&mut disk).is_err());
    }

    /// Damage that keeps its CRCs reaches every later check; whatever is accepted
    /// must be sound, and what is written from it must read back.
    #[test]
    fn no_resealed_content_panics_or_breaks_the_rules(
        patches in prop::collection::vec((0usize..512, any::<u8>(), any::<bool>()), 0..6),
        words in prop::collection::vec(
            (prop::sample::select(vec![24usize, 32, 40, 48, 72, 80, 84]),
             prop::sample::select(vec![0u64, 1, 2, 33, 34, 64, 128, 478, 479, 511, 512,
                 u64::MAX, u64::MAX - 1, 1 << 31, 1 << 32]), any::<bool>()),
            0..4),
    ) {
        let mut disk = disk();
        let places = |backup| if backup { (511 * BLOCK, 479 * BLOCK) } else { (BLOCK, 2 * BLOCK) };
        for (at, value, backup) in patches {
            disk.bytes_mut()[places(backup).1 + at] = value;
        }
        for (at, value, backup) in words {
            let length = if at >= 80 { 4 } else { 8 };
            let start = places(backup).0 + at;
            disk.bytes_mut()[start..start + length].copy_from_slice(&value.to_le_bytes()[..length]);
        }
        reseal(&mut disk);
        if let Ok(mut gpt) = Gpt::read(&mut disk) {
            let (first, last) = gpt.usable();
            let found: Vec<Partition> = gpt.partitions().collect();
            for (index, p) in found.iter().enumerate() {
                prop_assert!(first <= p.first_lba && p.first_lba <= p.last_lba);
                prop_assert!(p.last_lba <= last && last < 511);
                for q in &found[index + 1..] {
                    prop_assert!(q.last_lba < p.first_lba || p.last_lba < q.first_lba);
                }
            }
            if gpt.repair(&mut disk).is_ok() {
                let again = Gpt::read(&mut disk).unwrap();
                prop_assert_eq!(again.partitions().collect::<Vec<_>>(), found);
                prop_assert!(again.health().is_good(), "{:?}", again.health());
            }
        }
    }
}

/// A header made for a larger disk: its alternate lies beyond this one's end.
#[test]
fn the_last_block_is_never_usable() {
    let mut disk = disk();
    for (at, value) in [(32, 512u64), (48, 511)] {
        let start = BLOCK + at;
        disk.bytes_mut()[start..start + 8].copy_from_slice(&value.to_le_bytes());
    }
    reseal(&mut disk);
    let gpt = Gpt::read(&mut disk).unwrap();
    assert!(gpt.health().primary.is_some());
    assert!(gpt.usable().1 < 511);
}

#[test]
fn every_changed_byte_is_noticed_in_the_copy_that_has_it() {
    let whole = disk();
    let in_header = (0..92).map(|at| (1, 511, at));
    let in_entries = (0..128 * 128).step_by(61).map(|at| (2, 479, at));
    for (primary, backup, at) in in_header.chain(in_entries) {
        for (block, which) in [(primary, Which::Primary), (backup, Which::Backup)] {
            let mut disk = whole.clone();
            disk.bytes_mut()[block * BLOCK + at] ^= 0x10;
            let mut gpt = Gpt::read(&mut disk).unwrap();
            let wrong = (
                gpt.health().primary.is_some(),
                gpt.health().backup.is_some(),
            );
            let expected = (which == Which::Primary, which == Which::Backup);
            assert_eq!(wrong, expected, "byte {at} after block {block}");
            assert_eq!(gpt.repair(&mut disk).unwrap(), Some(which));
            assert!(
                disk.bytes() == whole.bytes(),
                "byte {at} after block {block}"
            );
        }
    }
}

/// Changes the primary header with `value` at `offset`, seals it, destroys the backup,
/// and returns why the primary is refused.
fn refused(offset: usize, value: &[u8]) -> CopyError {
    refused_in(BLOCK + offset, value)
}

fn refused_in(offset: usize, value: &[u8]) -> CopyError {
    let mut disk = disk();
    disk.bytes_mut()[offset..offset + value.len()].copy_from_slice(value);
    reseal(&mut disk);
    disk.bytes_mut()[511 * BLOCK..].fill(0);
    match Gpt::read(&mut disk) {
        Err(GptError::NoValidCopy { primary, .. }) => primary,
        other => panic!("offset {offset}: {other:?}"),
    }
}

#[test]
fn hostile_headers_are_refused_by_name() {
    let (u32s, u64s) = (u32::to_le_bytes, u64::to_le_bytes);
    assert!(matches!(
        refused(0, b"EFI PARU"),
        CopyError::Signature { lba: 1 }
    ));
    assert!(matches!(
        refused(8, &u32s(0x2_0000)),
        CopyError::Revision { .. }
    ));
    assert!(matches!(
        refused(24, &u64s(2)),
        CopyError::MyLba { lba: 1, found: 2 }
    ));
    for alternate in [0, 1, 34, 478] {
        let why = refused(32, &u64s(alternate));
        assert!(matches!(why, CopyError::Alternate { found } if found == alternate));
    }
    for (first, last) in [
        (0, 478),
        (1, 478),
        (479, 478),
        (34, 512),
        (34, u64::MAX),
        (600, 700),
    ] {
        let why = refused(40, &[u64s(first), u64s(last)].concat());
        assert!(
            matches!(why, CopyError::Usable { .. }),
            "{first} {last}: {why}"
        );
    }
    for array in [0, 1, 3, 34, 480, u64::MAX - 3] {
        let why = refused(72, &u64s(array));
        assert!(
            matches!(why, CopyError::EntriesPlace { .. }),
            "{array}: {why}"
        );
    }
    for size in [0, 1, 64, 127, 129, 192, 8192, 1 << 31, u32::MAX] {
        let why = refused(84, &u32s(size));
        assert!(matches!(why, CopyError::EntrySize { .. }), "{size}: {why}");
    }
    for count in [0, 8193, 1 << 25, u32::MAX] {
        let why = refused(80, &u32s(count));
        assert!(
            matches!(why, CopyError::EntryCount { .. }),
            "{count}: {why}"
        );
    }
    // Sane sizes that do not fit before the usable blocks.
    let why = refused(80, &u32s(129));
    assert!(matches!(why, CopyError::EntriesPlace { .. }), "{why}");
}

#[test]
fn impossible_header_sizes_are_refused() {
    for size in [0u32, 91, 513, u32::MAX] {
        let mut disk = disk();
        disk.bytes_mut()[BLOCK + 12..BLOCK + 16].copy_from_slice(&size.to_le_bytes());
        let why = Gpt::read(&mut disk)
            .unwrap()
            .health()
            .primary
            .as_ref()
            .unwrap()
            .to_string();
        assert!(why.starts_with("header size"), "{why}");
    }
}

#[test]
fn hostile_partitions_are_refused_by_name() {
    // The entries of partitions 2 and 5 in the primary copy.
    let (a, b) = (2 * BLOCK + 128, 2 * BLOCK + 4 * 128);
    let range = |first: u64, last: u64| [first.to_le_bytes(), last.to_le_bytes()].concat();
    for (first, last) in [(33, 40), (34, 479), (40, 39), (0, u64::MAX), (478, 500)] {
        let why = refused_in(a + 32, &range(first, last));
        assert!(
            matches!(why, CopyError::PartitionPlace { number: 2, .. }),
            "{why}"
        );
    }
    let why = refused_in(b + 32, &range(41, 41));
    assert!(
        matches!(
            why,
            CopyError::Overlap {
                first: 2,
                second: 5
            }
        ),
        "{why}"
    );
}

/// The slots' disk with entries of `size` bytes: boot-a is number 2, boot-b number 4,
/// and what no entry defines is 0xa5.
fn disk_with_entries_of(size: usize) -> MemoryDisk {
    const ARRAY: usize = 16384;
    let mut disk = disk();
    for (header, array) in [(1, 2), (511, 479)] {
        let bytes = disk.bytes_mut();
        let old = bytes[array * BLOCK..][..ARRAY].to_vec();
        for (index, entry) in bytes[array * BLOCK..][..ARRAY].chunks_mut(size).enumerate() {
            entry[..128].fill(0);
            entry[128..].fill(0xa5);
            // Entries 2 and 5 of 128 bytes become entries 2 and 4.
            if let Some(from) = [(1, 128), (3, 4 * 128)].iter().find(|(to, _)| *to == index) {
                entry[..128].copy_from_slice(&old[from.1..from.1 + 128]);
            }
        }
        let shape = [(ARRAY / size) as u32, size as u32].map(u32::to_le_bytes);
        bytes[header * BLOCK + 80..][..8].copy_from_slice(&shape.concat());
    }
    reseal(&mut disk);
    disk
}

#[test]
fn entries_of_other_sizes_are_read_and_kept() {
    for size in [256, 512, 1024, 4096] {
        let mut disk = disk_with_entries_of(size);
        let mut gpt = Gpt::read(&mut disk).unwrap();
        let mut slots = SlotTable::from_gpt(&gpt).unwrap();
        assert_eq!(
            (slots.get(Slot::A).number, slots.get(Slot::B).number),
            (2, 4)
        );
        slots.arm(Slot::B, 2);
        slots.store(&mut gpt).unwrap();
        gpt.commit(&mut disk).unwrap();
        let again = Gpt::read(&mut disk).unwrap();
        assert!(again.health().is_good());
        assert_eq!(SlotTable::from_gpt(&again).unwrap(), slots);
        // What an entry holds beyond 128 bytes is not ours.
        for array in [2, 479] {
            assert_eq!(disk.bytes()[array * BLOCK + size + 130], 0xa5);
        }
    }
}

#[test]
fn a_longer_header_keeps_its_tail() {
    let mut disk = disk();
    for header in [1, 511] {
        let at = header * BLOCK;
        disk.bytes_mut()[at + 12] = 100;
        disk.bytes_mut()[at + 92..at + 100].copy_from_slice(b"a tail!!");
    }
    reseal(&mut disk);
    let mut gpt = Gpt::read(&mut disk).unwrap();
    assert!(gpt.health().is_good());
    gpt.set_attributes(2, 7).unwrap();
    gpt.commit(&mut disk).unwrap();
    for header in [1, 511] {
        assert_eq!(&disk.bytes()[header * BLOCK + 92..][..8], b"a tail!!");
    }
    assert!(Gpt::read(&mut disk).unwrap().health().is_good());
}

#[test]
fn a_grown_disk_is_read_and_its_backup_moves_with_the_next_write() {
    for grown in [1, 20, 33, 100] {
        let mut bytes = disk().bytes().to_vec();
        bytes.resize(bytes.len() + grown * BLOCK, 0);
        let mut disk = MemoryDisk::from_bytes(512, bytes);
        let mut gpt = Gpt::read(&mut disk).unwrap();
        assert!(
            gpt.health().is_good(),
            "a backup in its old place is no damage"
        );
        assert_eq!(gpt.repair(&mut disk).unwrap(), None);
        gpt.set_attributes(2, 1 << 56).unwrap();
        gpt.commit(&mut disk).unwrap();
        assert_eq!(gpt.usable(), (34, 478 + grown as u64));
        disk.bytes_mut()[BLOCK..2 * BLOCK].fill(0);
        let from_backup = Gpt::read(&mut disk).unwrap();
        assert_eq!(from_backup.source(), Which::Backup);
        assert_eq!(from_backup.usable(), gpt.usable());
        assert_eq!(from_backup.partition(2).unwrap().attributes, 1 << 56);
    }
}

#[test]
fn the_blocks_that_a_disk_has_grown_by_may_be_used_with_one_write() {
    let mut bytes = disk().bytes().to_vec();
    bytes.resize(bytes.len() + 100 * BLOCK, 0);
    let mut disk = MemoryDisk::from_bytes(512, bytes);
    let mut gpt = Gpt::read(&mut disk).unwrap();
    let before = disk.clone();
    let mut last = gpt.partition(2).unwrap();
    (last.number, last.first_lba, last.last_lba) = (3, 480, 578);
    assert!(matches!(
        gpt.set_partition(&last),
        Err(EditError::Place { number: 3, .. })
    ));
    gpt.grow().unwrap();
    gpt.set_partition(&last).unwrap();
    assert!(disk.bytes() == before.bytes(), "growing is in memory only");
    gpt.commit(&mut disk).unwrap();
    let mut gpt = Gpt::read(&mut disk).unwrap();
    assert!(gpt.health().is_good());
    assert_eq!(gpt.usable(), (34, 578));
    assert_eq!(gpt.partition(3), Some(last));
    gpt.grow().unwrap();
    assert_eq!(gpt.usable(), (34, 578));
}

#[test]
fn a_disk_cut_short_is_read_but_not_written() {
    let bytes = disk().bytes()[..480 * BLOCK].to_vec();
    let mut disk = MemoryDisk::from_bytes(512, bytes);
    let mut gpt = Gpt::read(&mut disk).unwrap();
    assert!(matches!(
        gpt.health().backup,
        Some(CopyError::BeyondDisk { lba: 511 })
    ));
    let before = disk.clone();
    assert!(matches!(
        gpt.repair(&mut disk),
        Err(GptError::NoRoom { .. })
    ));
    assert!(matches!(
        gpt.commit(&mut disk),
        Err(GptError::NoRoom { .. })
    ));
    assert_eq!(disk.bytes(), before.bytes());
}

#[test]
fn a_backup_of_another_disk_is_not_believed() {
    let mut disk = disk();
    disk.bytes_mut()[511 * BLOCK + 56] ^= 1;
    reseal(&mut disk);
    let gpt = Gpt::read(&mut disk).unwrap();
    assert!(matches!(gpt.health().backup, Some(CopyError::OtherDisk)));
}

#[test]
fn tables_that_do_not_fit_are_not_made() {
    let new = |block_size, block_count, entries| {
        Gpt::new(
            Geometry {
                block_size,
                block_count,
            },
            DISK,
            entries,
        )
    };
    assert!(matches!(new(512, 67, 128), Err(GptError::NoRoom { .. })));
    assert!(new(512, 68, 128).is_ok());
    assert!(matches!(
        new(500, 1000, 128),
        Err(GptError::BlockSize { .. })
    ));
    assert!(matches!(new(512, 5, 1), Err(GptError::BlockCount { .. })));
    assert!(matches!(
        new(512, u64::MAX, 1),
        Err(GptError::BlockCount { .. })
    ));
    assert!(matches!(new(512, 1000, 0), Err(GptError::Shape(_))));
}

#[test]
fn edits_that_the_table_cannot_hold_are_refused() {
    let mut gpt = Gpt::read(&mut disk()).unwrap();
    let (number, count) = (3, 128);
    assert_eq!(
        gpt.set_attributes(3, 0),
        Err(EditError::NoEntry { number, count })
    );
    assert_eq!(
        gpt.set_guid(0, DISK),
        Err(EditError::NoEntry { number: 0, count })
    );
    let long = "x".repeat(37);
    assert_eq!(gpt.set_name(2, &long), Err(EditError::Name { number: 2 }));
    assert_eq!(gpt.set_name(2, "🦀"), Err(EditError::Name { number: 2 }));
    assert!(gpt.set_name(2, &long[1..]).is_ok());
    assert_eq!(gpt.partition(2).unwrap().name.len(), 36);
    let mut moved = gpt.partition(5).unwrap();
    moved.number = 3;
    let overlap = EditError::Overlap {
        number: 3,
        other: 5,
    };
    assert_eq!(gpt.set_partition(&moved), Err(overlap));
    moved.last_lba = 479;
    assert!(matches!(
        gpt.set_partition(&moved),
        Err(EditError::Place { .. })
    ));
}

#[test]
fn slots_that_are_missing_or_double_are_refused() {
    let mut gpt = Gpt::read(&mut disk()).unwrap();
    gpt.set_name(5, "boot-a").unwrap();
    let (slot, first, second) = (Slot::A, 2, 5);
    let double = SlotError::Duplicate {
        slot,
        first,
        second,
    };
    assert_eq!(SlotTable::from_gpt(&gpt), Err(double));
    gpt.set_name(5, "boot-c").unwrap();
    let missing = SlotTable::from_gpt(&gpt).unwrap_err();
    assert_eq!(missing, SlotError::Missing { slot: Slot::B });
    assert!(missing.to_string().ends_with("labelled boot-b"));
    // The label alone does not make a slot.
    let mut other = gpt.partition(5).unwrap();
    other.name = "boot-b".to_string();
    other.type_guid = DISK;
    gpt.set_partition(&other).unwrap();
    assert_eq!(SlotTable::from_gpt(&gpt), Err(missing));
    other.type_guid = BOOT_PARTITION;
    gpt.set_partition(&other).unwrap();
    assert!(SlotTable::from_gpt(&gpt).is_ok());
}

#[test]
fn a_removed_partition_leaves_its_blocks_and_the_others() {
    let mut disk = disk();
    let mut gpt = Gpt::read(&mut disk).unwrap();
    let before: Vec<Partition> = gpt.partitions().collect();
    let removed = before[1].clone();
    gpt.remove_partition(removed.number).unwrap();
    assert_eq!(
        gpt.remove_partition(removed.number),
        Err(EditError::NoEntry {
            number: removed.number,
            count: gpt.entry_count()
        })
    );
    gpt.commit(&mut disk).unwrap();
    let mut expected = before.clone();
    expected.remove(1);
    assert_eq!(partitions(&mut disk), expected);
    let mut gpt = Gpt::read(&mut disk).unwrap();
    gpt.set_partition(&removed).unwrap();
    gpt.commit(&mut disk).unwrap();
    assert_eq!(partitions(&mut disk), before);
}

#[test]
fn an_erased_disk_has_no_table_and_a_protected_one_has_its_mark() {
    let mut disk = disk();
    bootloader::gpt::protect(&mut disk).unwrap();
    assert_eq!(partitions(&mut disk).len(), 2);
    assert_eq!(disk.bytes()[450], 0xee);
    assert_eq!(disk.bytes()[510..512], [0x55, 0xaa]);
    // From block 1 to the end of 512 blocks.
    assert_eq!(disk.bytes()[454..462], [1, 0, 0, 0, 0xff, 1, 0, 0]);
    let old = Gpt::read(&mut disk).unwrap();
    bootloader::gpt::erase(&mut disk, Some(&old)).unwrap();
    assert!(matches!(
        Gpt::read(&mut disk),
        Err(GptError::NoValidCopy {
            primary: CopyError::Signature { .. },
            backup: CopyError::Signature { .. }
        })
    ));
    assert_eq!(disk.bytes()[510..512], [0, 0]);
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn an_erased_disk_has_nothing_left_where_a_table_would_be() {
    let mut disk = MemoryDisk::from_bytes(512, vec![7; 512 * 512]);
    bootloader::gpt::erase(&mut disk, None).unwrap();
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (start, end) = (34 * 512, (512 - 33) * 512);
    assert!(zeros(&disk.bytes()[..start]) && zeros(&disk.bytes()[end..]));
    assert!(disk.bytes()[start..end].iter().all(|byte| *byte == 7));
}

#[test]
fn the_protective_partition_grows_with_the_disk_and_boot_code_stays() {
    let mut small = disk();
    bootloader::gpt::protect(&mut small).unwrap();
    let mut bytes = small.bytes().to_vec();
    bytes[..440].fill(0x90);
    bytes.resize(2 * bytes.len(), 0);
    let mut grown = MemoryDisk::from_bytes(512, bytes.clone());
    bootloader::gpt::protect_all(&mut grown).unwrap();
    assert_eq!(grown.bytes()[454..462], [1, 0, 0, 0, 0xff, 3, 0, 0]);
    assert_eq!(grown.bytes()[..450], bytes[..450]);
    assert_eq!(grown.bytes()[462..], bytes[462..]);
    // Somebody keeps an MBR with partitions beside the table.
    bytes[466] = 0x83;
    let mut hybrid = MemoryDisk::from_bytes(512, bytes.clone());
    bootloader::gpt::protect_all(&mut hybrid).unwrap();
    assert_eq!(hybrid.bytes(), bytes);
}
