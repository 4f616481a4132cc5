//! Power loss while the partition table is written: at every step, in the middle of
//! every write, and with the writes between two flushes in any order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bootloader::block::{BlockIo, MemoryDisk};
use bootloader::gpt::{Gpt, GptError};
use bootloader::slot::{Slot, SlotBits, SlotTable};
use support::{Fault, Faulty, Recorder, Step, slots_disk};

const BLOCK: usize = 512;

fn bits_of_b(gpt: &Gpt) -> SlotBits {
    SlotTable::from_gpt(gpt).unwrap().bits(Slot::B)
}

/// Repairs the disk, then takes one of slot b's tries or arms it: what a selector
/// and an update engine do.
fn change(disk: &mut impl BlockIo) -> Result<(), GptError> {
    let mut gpt = Gpt::read(disk)?;
    gpt.repair(disk)?;
    let mut slots = SlotTable::from_gpt(&gpt).unwrap();
    if !slots.take_try(Slot::B) {
        slots.arm(Slot::B, 1);
    }
    slots.store(&mut gpt).unwrap();
    gpt.commit(disk)
}

/// Writes one write of the recording, or only its first `bytes` bytes.
fn apply(disk: &mut MemoryDisk, step: &Step, bytes: usize) {
    if let Step::Write(lba, data) = step {
        let at = *lba as usize * BLOCK;
        let length = bytes.min(data.len());
        disk.bytes_mut()[at..at + length].copy_from_slice(&data[..length]);
    }
}

/// Every content that the disk can have when power fails somewhere in `steps`: what
/// was flushed is there, and of the writes after the last flush any subset, one of
/// them torn.
fn contents_after_a_cut(before: &MemoryDisk, steps: &[Step]) -> Vec<MemoryDisk> {
    let mut contents = Vec::new();
    let mut flushed = before.clone();
    for window in steps.split_inclusive(|step| matches!(step, Step::Flush)) {
        let writes: Vec<&Step> = window
            .iter()
            .filter(|s| matches!(s, Step::Write(..)))
            .collect();
        for subset in 0..1u32 << writes.len() {
            let chosen = |i: usize| subset >> i & 1 == 1;
            for torn in 0..writes.len() {
                let Step::Write(_, data) = writes[torn] else {
                    continue;
                };
                for cut in (0..=data.len()).step_by(BLOCK).chain([1, 17, 60, 100, 700]) {
                    let mut disk = flushed.clone();
                    for (i, write) in writes.iter().enumerate() {
                        let bytes = if i == torn { cut } else { usize::MAX };
                        if i == torn || chosen(i) {
                            apply(&mut disk, write, bytes);
                        }
                    }
                    contents.push(disk);
                }
            }
        }
        for write in writes {
            apply(&mut flushed, write, usize::MAX);
        }
    }
    contents.push(flushed);
    contents
}

/// Cuts power everywhere while the table of `before` is changed.
fn cut_everywhere(before: MemoryDisk) {
    let old = bits_of_b(&Gpt::read(&mut before.clone()).unwrap());
    let mut recorder = Recorder::new(before.clone());
    change(&mut recorder).unwrap();
    let new = bits_of_b(&Gpt::read(&mut recorder.disk).unwrap());
    assert_ne!(old, new);
    assert!(
        matches!(recorder.steps.last(), Some(Step::Flush)),
        "not durable"
    );

    let contents = contents_after_a_cut(&before, &recorder.steps);
    assert!(contents.len() > 200, "only {} cuts", contents.len());
    let (mut olds, mut news) = (0, 0);
    for mut disk in contents {
        let mut gpt = Gpt::read(&mut disk).expect("no readable table after a power cut");
        let found = bits_of_b(&gpt);
        assert!(
            found == old || found == new,
            "{found:?} is neither old nor new"
        );
        *(if found == old { &mut olds } else { &mut news }) += 1;

        // The next boot repairs, and sees the same again.
        gpt.repair(&mut disk).unwrap();
        let again = Gpt::read(&mut disk).unwrap();
        assert!(again.health().is_good(), "{:?}", again.health());
        assert_eq!(bits_of_b(&again), found);
    }
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
}

#[test]
fn a_cut_leaves_the_old_or_the_new_table() {
    cut_everywhere(slots_disk(512, 512, 128));
}

#[test]
fn a_cut_with_more_entries_leaves_the_old_or_the_new_table() {
    cut_everywhere(slots_disk(512, 512, 300));
}

#[test]
fn a_cut_on_a_grown_disk_leaves_the_old_or_the_new_table() {
    for grown in [1, 10, 32, 33, 34, 200] {
        let mut bytes = slots_disk(512, 512, 128).bytes().to_vec();
        bytes.resize(bytes.len() + grown * BLOCK, 0);
        cut_everywhere(MemoryDisk::from_bytes(512, bytes));
    }
}

#[test]
fn a_cut_while_one_copy_is_broken_leaves_the_old_or_the_new_table() {
    // Primary header, primary entries, backup header, backup entries.
    for broken in [1, 3, 511, 479] {
        let mut disk = slots_disk(512, 512, 128);
        disk.bytes_mut()[broken * BLOCK + 20] ^= 0xff;
        cut_everywhere(disk);
    }
}

#[test]
fn a_cut_on_a_grown_disk_with_broken_entries_leaves_the_old_or_the_new_table() {
    for grown in [1, 40] {
        for broken in [2, 511, 479] {
            let mut bytes = slots_disk(512, 512, 128).bytes().to_vec();
            bytes.resize(bytes.len() + grown * BLOCK, 0);
            bytes[broken * BLOCK + 20] ^= 0xff;
            cut_everywhere(MemoryDisk::from_bytes(512, bytes));
        }
    }
}

#[test]
fn a_second_cut_during_the_repair_loses_nothing() {
    let before = slots_disk(512, 512, 128);
    let mut first = Recorder::new(before.clone());
    change(&mut first).unwrap();
    for disk in contents_after_a_cut(&before, &first.steps)
        .into_iter()
        .step_by(7)
    {
        let seen = bits_of_b(&Gpt::read(&mut disk.clone()).unwrap());
        let mut second = Recorder::new(disk.clone());
        let mut gpt = Gpt::read(&mut second).unwrap();
        gpt.repair(&mut second).unwrap();
        for mut cut in contents_after_a_cut(&disk, &second.steps)
            .into_iter()
            .step_by(3)
        {
            assert_eq!(bits_of_b(&Gpt::read(&mut cut).unwrap()), seen);
        }
    }
}

#[test]
fn the_backup_is_durable_before_the_primary_is_touched() {
    let mut recorder = Recorder::new(slots_disk(512, 512, 128));
    change(&mut recorder).unwrap();
    let places: Vec<Option<u64>> = recorder
        .steps
        .iter()
        .map(|step| match step {
            Step::Write(lba, _) => Some(*lba),
            Step::Flush => None,
        })
        .collect();
    let expected = [Some(479), Some(511), None, Some(2), Some(1), None];
    assert_eq!(places, expected);
}

#[test]
fn nothing_is_written_from_a_broken_primary_before_its_repair() {
    let mut disk = slots_disk(512, 512, 128);
    disk.bytes_mut()[BLOCK] = 0;
    let mut recorder = Recorder::new(disk);
    let mut gpt = Gpt::read(&mut recorder).unwrap();
    assert!(matches!(
        gpt.commit(&mut recorder),
        Err(GptError::NeedsRepair)
    ));
    assert!(recorder.steps.is_empty());
}

#[test]
fn a_disk_that_does_not_write_is_found_out() {
    let disk = slots_disk(512, 512, 128);
    let refused = change(&mut Faulty(disk.clone(), Fault::Refuses)).unwrap_err();
    assert!(matches!(refused, GptError::Write { .. }), "{refused}");
    let forgot = change(&mut Faulty(disk, Fault::Forgets)).unwrap_err();
    assert!(matches!(forgot, GptError::NotKept { .. }), "{forgot}");
}
