//! Power cuts at every point of an update, with what was not flushed written, lost, torn
//! at a sector, or written in another order.
//!
//! After each of them the selector's own library starts a slot from the disk; everything
//! in that slot is right; and the engine, started on that disk, ends well without
//! fetching anything that was durable.

use std::sync::atomic::{AtomicUsize, Ordering};

use bootloader::attempt::{self, Machine, Problem, Start};
use bootloader::block::{BlockIo, MemoryDisk};
use bootloader::gpt::Gpt;
use bootloader::slot::{BootPartition, SlotBits, SlotTable};
use bootloader::uki::Uki;

use super::support::*;
use super::*;

/// A sector as a disk writes it, whole or not at all.
type Sector<'a> = (u64, &'a [u8]);

/// Random choices that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

fn sectors<'a>(writes: &[&'a (u64, Vec<u8>)]) -> Vec<Sector<'a>> {
    let sectors = writes
        .iter()
        .flat_map(|(lba, data)| (*lba..).zip(data.chunks(SECTOR)));
    sectors.collect()
}

/// What of the writes between two flushes may be on the disk after a cut among them:
/// `random` subsets of their sectors, and every prefix, in order and in the opposite
/// order, cut at every sector, and all without one of them.
fn cuts<'a>(writes: &'a [(u64, Vec<u8>)], random: usize, dice: &mut Dice) -> Vec<Vec<Sector<'a>>> {
    let in_order: Vec<&(u64, Vec<u8>)> = writes.iter().collect();
    let backwards: Vec<&(u64, Vec<u8>)> = writes.iter().rev().collect();
    let mut cuts = Vec::new();
    for order in [in_order, backwards] {
        let all = sectors(&order);
        cuts.extend((0..all.len()).map(|end| all[..end].to_vec()));
    }
    for lost in 0..writes.len() {
        let mut others: Vec<&(u64, Vec<u8>)> = writes.iter().collect();
        others.remove(lost);
        cuts.push(sectors(&others));
    }
    let all = sectors(&writes.iter().collect::<Vec<_>>());
    for _ in 0..random {
        let one_in = 1 + dice.throw() % 8;
        let mut some = all.clone();
        some.retain(|_| dice.throw() % 8 >= one_in);
        cuts.push(some);
    }
    cuts
}

/// The steps of a recording as writes between flushes.
fn windows(steps: Vec<Step>) -> Vec<Vec<(u64, Vec<u8>)>> {
    let mut windows = vec![Vec::new()];
    for step in steps {
        match (step, windows.last_mut()) {
            (Step::Write(lba, data), Some(window)) => window.push((lba, data)),
            (Step::Reread(..), _) => {}
            _ => windows.push(Vec::new()),
        }
    }
    assert_eq!(windows.pop(), Some(Vec::new()), "the last write is durable");
    windows
}

/// The selector, up to the first image that it starts.
struct Firmware {
    disk: MemoryDisk,
    gpt: Gpt,
    started: Option<Slot>,
}

impl Machine for Firmware {
    type Image = ();
    type Error = String;

    fn save(&mut self, table: &SlotTable) -> Result<(), String> {
        if self.started.is_none() {
            table.store(&mut self.gpt).unwrap();
            self.gpt.commit(&mut self.disk).unwrap();
        }
        Ok(())
    }

    fn load(&mut self, boot: &BootPartition) -> Result<(), String> {
        let mut image = vec![0; boot.block_count as usize * SECTOR];
        self.disk.read(boot.first_lba, &mut image).unwrap();
        let room = image.len() as u64;
        let check = || {
            let size = uki::total_size(&image, room)?;
            let uki = Uki::parse(&image[..size as usize])?;
            uki.check_whole(boot.guid)?;
            uki.check_kernel()
        };
        check().map_err(|why| why.to_string())
    }

    fn start(&mut self, (): (), start: Start) -> String {
        self.started.get_or_insert(start.candidate.slot);
        "the test goes no further".into()
    }

    fn report(&mut self, _: Problem<String>) {}
}

/// Starts the machine: which slot runs, if one does, and on which disk.
fn start(mut disk: MemoryDisk) -> (Option<Slot>, MemoryDisk) {
    let mut gpt = Gpt::read(&mut disk).expect("no readable partition table");
    let mut table = SlotTable::from_gpt(&gpt).expect("no slots");
    gpt.repair(&mut disk).unwrap();
    let mut firmware = Firmware {
        disk,
        gpt,
        started: None,
    };
    attempt::run(&mut firmware, &mut table);
    (firmware.started, firmware.disk)
}

/// An update that is cut off everywhere.
struct Case {
    old: Built,
    new: Built,
    /// What may be in slot `b` before.
    other: Built,
    cuts: AtomicUsize,
    /// Cuts after which something had still to be fetched.
    fetching: AtomicUsize,
}

impl Case {
    fn new() -> Self {
        let built = [
            release("1.0.0", 0),
            release("2.0.0", 1),
            release("1.5.0", 2),
        ];
        // What is compared byte by byte below was verified once, here.
        for built in &built {
            let usr = &built.descriptor.usr;
            let tree = Tree::verify(built.tree.clone(), usr).unwrap();
            let mut blocks = built.usr.chunks(BLOCK).enumerate();
            assert!(blocks.all(|(i, block)| tree.leaves().matches(i, block)));
        }
        let [old, new, other] = built;
        let (cuts, fetching) = Default::default();
        Self {
            old,
            new,
            other,
            cuts,
            fetching,
        }
    }

    /// Cuts the update of `before` off everywhere. Returns some of the disks.
    fn cut_everywhere(&self, before: MemoryDisk, random: usize) -> Vec<MemoryDisk> {
        let mut recorder = Recorder::new(before.clone());
        run(&mut recorder, &self.old, &self.new, &Server::of(&self.new)).unwrap();
        let mut flushed = before;
        let (mut dice, mut some) = (Dice(0x5eed), Vec::new());
        for window in windows(recorder.steps) {
            assert_flushed_in_time(&window);
            for cut in cuts(&window, random, &mut dice) {
                let mut disk = flushed.clone();
                for (lba, data) in cut {
                    disk.write(lba, data).unwrap();
                }
                if dice.throw() % 500 == 0 {
                    some.push(disk.clone());
                }
                self.after_a_cut(disk);
            }
            for (lba, data) in &window {
                flushed.write(*lba, data).unwrap();
            }
        }
        assert_eq!(start(flushed.clone()).0, Some(Slot::B));
        self.after_a_cut(flushed);
        some
    }

    fn after_a_cut(&self, disk: MemoryDisk) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
        self.assert_named_truly(&disk);
        let (slot, mut disk) = start(disk);
        assert_eq!(bits(&disk, Slot::A), BLESSED, "the way back");
        match slot.expect("no slot starts") {
            Slot::A => {
                assert_holds(&disk, Slot::A, &self.old);
                self.go_on(disk);
            }
            Slot::B => {
                let built = match boot_name(&disk) == self.new.names().boot {
                    true => &self.new,
                    false => &self.other,
                };
                assert_holds(&disk, Slot::B, built);
                assert_holds(&disk, Slot::A, &self.old);
                assert_on_trial(&mut disk, built, &self.new);
            }
        }
    }

    /// A slot with a single partition that is named after a release is that release,
    /// armed or not: the initrd finds `/usr` by its name alone, and the selector starts
    /// any kernel image that has its own name when nothing else is left.
    fn assert_named_truly(&self, disk: &MemoryDisk) {
        let found = names(&gpt(disk), Slot::B);
        for built in [&self.old, &self.new, &self.other] {
            let of = built.names();
            if found.boot == of.boot || found.tree == of.tree || found.usr == of.usr {
                assert_holds(disk, Slot::B, built);
            }
        }
    }

    /// The old release runs: the update is completed.
    fn go_on(&self, mut disk: MemoryDisk) {
        let (before, server) = (disk.clone(), Server::of(&self.new));
        run(&mut disk, &self.old, &self.new, &server).unwrap();
        assert_holds(&disk, Slot::B, &self.new);
        assert_holds(&disk, Slot::A, &self.old);
        assert_nothing_needless(&before, &self.old, &self.new, &server);
        if !server.asked().is_empty() {
            self.fetching.fetch_add(1, Ordering::Relaxed);
        }
        let (slot, disk) = start(disk);
        assert_eq!(slot, Some(Slot::B));
        // The only try is taken: if it does not come up, the old one is next.
        assert_eq!(start(disk).0, Some(Slot::A));
    }
}

/// No more is lost than was agreed on, but for the write that reaches it.
fn assert_flushed_in_time(window: &[(u64, Vec<u8>)]) {
    let before_last = window.split_last().map_or(&[][..], |(_, before)| before);
    let bytes: usize = before_last.iter().map(|(_, data)| data.len()).sum();
    assert!((bytes as u64) < options().flush_every, "{bytes} at risk");
}

fn boot_name(disk: &MemoryDisk) -> bootloader::gpt::Guid {
    table(disk).get(Slot::B).guid
}

/// Slot `b` runs on trial: nothing is written until it is blessed.
fn assert_on_trial(disk: &mut MemoryDisk, built: &Built, new: &Built) {
    let before = disk.clone();
    let (options, watch, server) = (options(), watch(), Server::of(new));
    let running = built.running(Slot::B);
    let refused = block_on(install(
        disk,
        running,
        new.release(),
        &server,
        &options,
        &watch,
    ));
    assert!(matches!(
        refused,
        Err(InstallError::Slots(SlotsError::NotBlessed {
            slot: Slot::B
        }))
    ));
    assert!(before.bytes() == disk.bytes());
}

const BLESSED: SlotBits = SlotBits {
    priority: 1,
    tries: 0,
    successful: true,
};

const ARMED: SlotBits = SlotBits {
    priority: 2,
    tries: 1,
    successful: false,
};

/// A disk small enough to be copied ten thousand times, and read as often.
const TINY: Layout = Layout {
    boot: 11 * 8,
    tree: 3 * 8,
    usr: 40 * 8,
    entries: 16,
};

#[test]
fn after_ten_thousand_power_cuts_a_whole_release_starts_and_the_update_goes_on() {
    let case = Case::new();
    let empty = disk_of(TINY, &case.old);
    let mut older = empty.clone();
    put(&mut older, Slot::B, &case.other, BLESSED);
    let mut armed = disk_with(&case.old);
    put(&mut armed, Slot::B, &case.other, ARMED);
    let in_pieces = || {
        let mut disks = case.cut_everywhere(older, 300);
        let mut disk = disks.swap_remove(disks.len() / 2);
        // And the primary partition table is broken: repair comes first.
        disk.bytes_mut()[SECTOR + 20] ^= 0xff;
        disk
    };
    std::thread::scope(|scope| {
        scope.spawn(|| case.cut_everywhere(empty, 300));
        scope.spawn(|| case.cut_everywhere(armed, 100));
        scope.spawn(|| case.cut_everywhere(in_pieces(), 300));
    });
    let (cuts, fetching) = (case.cuts.into_inner(), case.fetching.into_inner());
    assert!(cuts >= 10_000, "{cuts} cuts");
    assert!(fetching >= 2_000, "only {fetching} had to fetch");
}

#[test]
fn a_slot_in_pieces_is_not_started_even_as_the_last_resort() {
    let case = Case::new();
    let mut disk = disk_with(&case.old);
    put(&mut disk, Slot::B, &case.other, BLESSED);
    let kernel = find(&gpt(&disk), Slot::A, Part::Boot).first_lba as usize * SECTOR;
    let (mut begun, mut complete) = (Recorder::new(disk.clone()), disk);
    // The table, the tree, and some of `/usr`: the old kernel image is still there.
    begun.writes_left = 6;
    run(&mut begun, &case.old, &case.new, &Server::of(&case.new)).unwrap_err();
    for disk in [&mut begun.disk, &mut complete] {
        disk.bytes_mut()[kernel + 5 * BLOCK] ^= 1;
    }
    assert_eq!(start(begun.disk).0, None);
    assert_eq!(start(complete).0, Some(Slot::B));
}
