//! Disks that are refused, and releases that are.

use bootloader::slot::SlotBits;

use super::support::*;
use super::*;

/// The error, and that nothing was written.
fn refused(disk: bootloader::block::MemoryDisk, running: Running, new: &Built) -> String {
    let mut recorder = Recorder::new(disk);
    let (options, watch, server) = (options(), watch(), Server::of(new));
    let done = install(
        &mut recorder,
        running,
        new.release(),
        &server,
        &options,
        &watch,
    );
    let why = block_on(done).unwrap_err();
    assert!(recorder.steps.is_empty(), "it wrote to the disk");
    assert!(server.asked().is_empty(), "it asked the server");
    match std::error::Error::source(&why) {
        Some(source) => format!("{why}: {source}"),
        None => why.to_string(),
    }
}

fn change(disk: &mut bootloader::block::MemoryDisk, change: impl FnOnce(&mut bootloader::Gpt)) {
    let mut gpt = gpt(disk);
    change(&mut gpt);
    gpt.commit(disk).unwrap();
}

#[test]
fn a_running_slot_on_trial_is_not_given_its_way_back_away() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut disk = disk_with(&old);
    let trial = SlotBits {
        priority: 1,
        tries: 0,
        successful: false,
    };
    put(&mut disk, Slot::A, &old, trial);
    let why = refused(disk, old.running(Slot::A), &new);
    assert!(why.contains("slot a runs on trial"), "{why}");
}

#[test]
fn slots_that_are_too_small_are_named_with_both_sizes() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let small = Layout {
        usr: 512,
        ..Layout::SMALL
    };
    let large: Vec<u64> = (1..66).collect();
    let large = build("2.0.0", image(&large), kernel(b"k"), 4);
    let why = refused(disk_of(small, &old), old.running(Slot::A), &large);
    let expected = "usr-b is too small: the release needs 266240 bytes, it has 262144";
    assert!(why.contains(expected), "{why}");

    let kernel = kernel(&noise(1, 100_000));
    let heavy = build("2.0.0", new.usr, kernel, 4);
    let why = refused(disk_with(&old), old.running(Slot::A), &heavy);
    assert!(why.contains("boot-b is too small"), "{why}");
}

#[test]
fn a_disk_that_is_not_ours_is_refused() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    for number in 2..=7 {
        let mut disk = disk_with(&old);
        change(&mut disk, |gpt| gpt.set_name(number, "data").unwrap());
        let why = refused(disk, old.running(Slot::A), &new);
        assert!(
            why.contains("not a disk that Ballast was installed on"),
            "{why}"
        );
    }
    let mut disk = disk_with(&old);
    change(&mut disk, |gpt| {
        let mut usr = gpt.partition(4).unwrap();
        usr.type_guid = crate::slots::TREE_PARTITION;
        gpt.set_partition(&usr).unwrap();
    });
    let why = refused(disk, old.running(Slot::A), &new);
    assert!(why.contains("is labelled usr-a"), "{why}");

    let nothing = bootloader::block::MemoryDisk::new(512, 100);
    let why = refused(nothing, old.running(Slot::A), &new);
    assert!(why.contains("partition table"), "{why}");
}

#[test]
fn two_partitions_of_one_label_are_refused() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut disk = disk_with(&old);
    change(&mut disk, |gpt| {
        let mut root = gpt.partition(8).unwrap();
        root.type_guid = crate::slots::USR_PARTITION;
        root.name = "usr-b".into();
        gpt.set_partition(&root).unwrap();
    });
    let why = refused(disk, old.running(Slot::A), &new);
    assert!(
        why.contains("partitions 7 and 8 are both labelled usr-b"),
        "{why}"
    );
}

#[test]
fn another_disk_or_slot_than_the_one_that_runs_is_refused() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let disk = disk_with(&old);
    let why = refused(disk.clone(), new.running(Slot::A), &new);
    assert!(
        why.contains("slot a of this disk is not what runs"),
        "{why}"
    );
    let why = refused(disk, old.running(Slot::B), &new);
    assert!(
        why.contains("slot b of this disk is not what runs"),
        "{why}"
    );
}

#[test]
fn the_release_that_runs_is_not_installed_again() {
    let old = release("1.0.0", 0);
    let why = refused(disk_with(&old), old.running(Slot::A), &old);
    assert_eq!(why, "release 1.0.0 is what slot a runs already");
}
