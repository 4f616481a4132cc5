//! The order of what is written, flushed and read back.

use std::ops::Range;

use super::support::*;
use super::*;

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    Content,
    Flush,
    Reread,
}

/// The sectors of all partitions; the table is around them.
fn inside(gpt: &bootloader::Gpt) -> Range<u64> {
    let first = gpt.partitions().map(|p| p.first_lba).min();
    let last = gpt.partitions().map(|p| p.last_lba).max();
    first.unwrap()..last.unwrap() + 1
}

fn kinds(steps: &[Step], partitions: &Range<u64>) -> Vec<Kind> {
    let kind = |step: &Step| match step {
        Step::Write(lba, _) if partitions.contains(lba) => Kind::Content,
        Step::Write(..) => Kind::Table,
        Step::Flush => Kind::Flush,
        Step::Reread(..) => Kind::Reread,
    };
    let mut kinds: Vec<Kind> = steps.iter().map(kind).collect();
    kinds.dedup();
    kinds
}

/// The sectors that were read past every cache.
fn reread(steps: &[Step]) -> Vec<u64> {
    let sectors = steps.iter().filter_map(|step| match step {
        Step::Reread(lba, count) => Some(*lba..lba + count),
        _ => None,
    });
    let mut sectors: Vec<u64> = sectors.flatten().collect();
    sectors.sort_unstable();
    sectors.dedup();
    sectors
}

#[test]
fn the_table_is_written_before_and_after_everything_else_and_all_of_it_is_read_back_between() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut recorder = Recorder::new(disk_with(&old));
    run(&mut recorder, &old, &new, &Server::of(&new)).unwrap();
    let table = gpt(&recorder.disk);
    let partitions = inside(&table);
    let steps = &recorder.steps;
    let is_content = |step: &Step| matches!(step, Step::Write(lba, _) if partitions.contains(lba));
    let first = steps.iter().position(is_content).unwrap();
    let last = steps.iter().rposition(is_content).unwrap();

    // A copy of the table, flushed; the other one, flushed: disarmed, and armed.
    let commit = [Kind::Table, Kind::Flush, Kind::Table, Kind::Flush];
    assert_eq!(kinds(&steps[..first], &partitions), commit);
    let written = kinds(&steps[first..=last], &partitions);
    let of_content = |kind: &Kind| matches!(kind, Kind::Content | Kind::Flush);
    assert!(written.iter().all(of_content), "{written:?}");
    let checked = [Kind::Flush, Kind::Reread];
    let after = [checked.as_slice(), commit.as_slice()].concat();
    assert_eq!(kinds(&steps[last + 1..], &partitions), after);

    let all = Part::ALL.map(|part| {
        let first = find(&table, Slot::B, part).first_lba;
        let blocks = new.content(part).len().div_ceil(BLOCK);
        first..first + (blocks * BLOCK / SECTOR) as u64
    });
    let all: Vec<u64> = all.into_iter().flatten().collect();
    assert_eq!(reread(steps), all);
}

#[test]
fn a_disarmed_slot_has_no_name_of_a_release_and_cannot_be_chosen() {
    let (old, new, other) = (
        release("1.0.0", 0),
        release("2.0.0", 1),
        release("1.5.0", 2),
    );
    let mut disk = disk_with(&old);
    let armed = bootloader::slot::SlotBits {
        priority: 2,
        tries: 1,
        successful: false,
    };
    put(&mut disk, Slot::B, &other, armed);
    let mut server = Server::of(&new);
    server.files.clear();
    run(&mut disk, &old, &new, &server).unwrap_err();
    assert_eq!(bits(&disk, Slot::B), Default::default());
    let found = names(&gpt(&disk), Slot::B);
    for of in [old.names(), new.names(), other.names()] {
        assert!(found.boot != of.boot && found.tree != of.tree && found.usr != of.usr);
    }
    assert_eq!(chosen(&disk), Slot::A);
}
