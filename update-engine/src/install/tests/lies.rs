//! Servers, and disks, that give other bytes than they should. Nothing wrong is ever
//! written, the slot is not armed, and the error says what to look at.

use std::error::Error;
use std::ops::Range;

use super::support::*;
use super::*;

/// The whole chain of an error, as a program prints it.
fn text(error: &InstallError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(why) = source {
        text += &format!(": {why}");
        source = why.source();
    }
    text
}

/// What a server that lies like this leads to; and that it leads to nothing else.
fn refused(lie: impl Fn(&str, Range<u64>, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> String {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.lie = Some(Box::new(lie));
    let mut recorder = Recorder::new(disk_with(&old));
    let why = run(&mut recorder, &old, &new, &server).unwrap_err();
    assert_only_signed_writes(&recorder, &new);
    assert_eq!(bits(&recorder.disk, Slot::B), Default::default());
    assert_eq!(chosen(&recorder.disk), Slot::A);

    // An honest server is all it takes afterwards.
    run(&mut recorder, &old, &new, &Server::of(&new)).unwrap();
    assert_holds(&recorder.disk, Slot::B, &new);
    text(&why)
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

/// What every wrong file is met with.
const ADVICE: &str = "compare the server's file with the published one";

#[test]
fn a_changed_byte_is_refused() {
    let error = refused(|_, _, mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
    assert_says(&error, &["releases/2.0.0/usr.zst: bytes ", ADVICE]);
}

#[test]
fn a_range_that_answers_another_files_bytes_is_refused() {
    let other = release("3.0.0", 5);
    let error = refused(move |_, range, _| {
        other.usr_file[range.start as usize..range.end as usize].to_vec()
    });
    assert_says(&error, &["releases/2.0.0/usr.zst: bytes ", ADVICE]);
}

#[test]
fn a_frame_that_is_well_formed_and_holds_other_content_is_refused() {
    // The same frames in the same places, of blocks that were changed before.
    let mut usr = release("2.0.0", 1).usr;
    for block in usr.chunks_mut(BLOCK).take(32) {
        block[100] ^= 1;
    }
    let other = build("2.0.0", usr, kernel(b"k"), 4);
    assert_eq!(
        other.descriptor.usr.frames,
        release("2.0.0", 1).descriptor.usr.frames
    );
    let error = refused(move |target, range, bytes| match target {
        "releases/2.0.0/usr.zst" => {
            other.usr_file[range.start as usize..range.end as usize].to_vec()
        }
        _ => bytes,
    });
    assert_says(&error, &["is not the one that was signed", ADVICE]);
}

#[test]
fn a_frame_that_decompresses_to_too_much_is_refused() {
    let error = refused(|_, _, bytes| {
        let mut bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() + 8 < bytes.len(), "{}", bomb.len());
        // A frame to be skipped fills up what is left.
        let rest = (bytes.len() - bomb.len() - 8) as u32;
        bomb.extend(0x184d_2a50_u32.to_le_bytes());
        bomb.extend(rest.to_le_bytes());
        bomb.resize(bytes.len(), 0);
        bomb
    });
    assert_says(&error, &["does not decompress to at most", ADVICE]);
}

#[test]
fn a_frame_that_decompresses_to_too_little_is_refused() {
    let error = refused(|_, _, bytes| {
        let mut short = zstd::bulk::compress(b"short", 1).unwrap();
        let rest = (bytes.len() - short.len() - 8) as u32;
        short.extend(0x184d_2a50_u32.to_le_bytes());
        short.extend(rest.to_le_bytes());
        short.resize(bytes.len(), 0);
        short
    });
    assert_says(&error, &["a frame decompresses to 5 bytes, not", ADVICE]);
}

#[test]
fn answers_that_end_early_or_are_empty_are_given_up() {
    let patience = ["did not come, gave up after 6 failures", "check the server"];
    let error = refused(|_, _, _| Vec::new());
    assert_says(&error, &patience);
    assert_says(&error, &["releases/2.0.0/usr.zst: bytes "]);
    let error = refused(|target, _, mut bytes| {
        if target.ends_with("boot.zst") {
            bytes.clear();
        }
        bytes
    });
    assert_says(&error, &patience);
    assert_says(&error, &["releases/2.0.0/boot.zst: bytes "]);
}

#[test]
fn nothing_is_read_beyond_what_was_asked_for() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.lie = Some(Box::new(|_, _, mut bytes| {
        bytes.resize(bytes.len() + (1 << 20), 0);
        bytes
    }));
    let mut disk = disk_with(&old);
    let report = run(&mut disk, &old, &new, &server).unwrap();
    let surplus = report.progress.requests * server.piece as u64;
    assert!(server.sent() <= server.size_of(&new) + surplus);
    assert_holds(&disk, Slot::B, &new);
}

#[test]
fn a_tree_that_is_not_the_signed_one_is_refused_before_anything_is_written() {
    let (old, mut new) = (release("1.0.0", 0), release("2.0.0", 1));
    new.tree[BLOCK] ^= 1;
    let mut recorder = Recorder::new(disk_with(&old));
    let why = run(&mut recorder, &old, &new, &Server::of(&new)).unwrap_err();
    assert_says(&text(&why), &["verity tree of release 2.0.0", ADVICE]);
    assert!(recorder.steps.is_empty());
}

#[test]
fn a_kernel_image_that_the_selector_would_not_start_is_not_armed() {
    let usr = release("2.0.0", 1).usr;
    let old = release("1.0.0", 0);
    let longer = [kernel(b"k"), vec![0; 100]].concat();
    let no_kernel = noise(3, 5000);
    for (boot, says) in [(longer, "ends after"), (no_kernel, "not a PE image")] {
        let new = build("2.0.0", usr.clone(), boot, 4);
        let mut disk = disk_with(&old);
        let why = run(&mut disk, &old, &new, &Server::of(&new)).unwrap_err();
        assert_says(&text(&why), &["2.0.0 contradicts itself", says]);
        assert_eq!(bits(&disk, Slot::B), Default::default());
    }
}

#[test]
fn a_list_of_blocks_of_another_kernel_image_is_not_armed() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut descriptor = new.descriptor.clone().into_inner();
    descriptor.boot.sha256 = Digest([1; 32]);
    let new = Built {
        descriptor: Verified::new(descriptor),
        ..new
    };
    let mut disk = disk_with(&old);
    let why = run(&mut disk, &old, &new, &Server::of(&new)).unwrap_err();
    assert_says(
        &text(&why),
        &["2.0.0 contradicts itself", "published again"],
    );
    assert_eq!(bits(&disk, Slot::B), Default::default());
}

#[test]
fn a_disk_that_forgets_a_write_is_found_out() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let disk = disk_with(&old);
    let table = gpt(&disk);
    for (part, block) in [(Part::Tree, 1), (Part::Usr, 25), (Part::Boot, 5)] {
        let mut recorder = Recorder::new(disk.clone());
        let first = find(&table, Slot::B, part).first_lba;
        recorder.forgets = Some(first + block * (BLOCK / SECTOR) as u64);
        let why = run(&mut recorder, &old, &new, &Server::of(&new)).unwrap_err();
        let says = format!("of partition {} reads back different", part.label(Slot::B));
        assert_says(&text(&why), &[&says, "check the disk's health"]);
        assert_eq!(bits(&recorder.disk, Slot::B), Default::default());
        assert_only_signed_writes(&recorder, &new);
    }
}

#[test]
fn a_block_that_rotted_in_the_running_slot_is_fetched() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut disk = disk_with(&old);
    let table = gpt(&disk);
    let places = [(Part::Usr, 10), (Part::Boot, 5)];
    for (part, block) in places {
        let first = find(&table, Slot::A, part).first_lba as usize * SECTOR;
        disk.bytes_mut()[first + block * BLOCK + 77] ^= 1;
    }
    let (mut healthy, server) = (disk_with(&old), Server::of(&new));
    let less = run(&mut healthy, &old, &new, &server).unwrap();
    let mut recorder = Recorder::new(disk);
    let more = run(&mut recorder, &old, &new, &Server::of(&new)).unwrap();
    assert_holds(&recorder.disk, Slot::B, &new);
    assert_only_signed_writes(&recorder, &new);
    assert!(more.progress.fetched > less.progress.fetched);
}

#[test]
fn a_rotten_tree_of_the_running_slot_is_no_source() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut disk = disk_with(&old);
    let tree = find(&gpt(&disk), Slot::A, Part::Tree).first_lba as usize * SECTOR;
    disk.bytes_mut()[tree + BLOCK + 5] ^= 1;
    run(&mut disk, &old, &new, &Server::of(&new)).unwrap();
    assert_holds(&disk, Slot::B, &new);
}
