//! Updates that are stopped in the middle of the fetch: what comes after is counted to
//! the byte.

use std::collections::BTreeSet;
use std::ops::Range;

use bootloader::block::{BlockIo, MemoryDisk};

use super::support::*;
use super::*;

/// How much of what has to be fetched is there when it stops, in percent.
const SHARES: [u64; 3] = [30, 60, 90];

/// Room for a release of many frames.
const LARGE: Layout = Layout {
    boot: 40 * 8,
    tree: 8 * 8,
    usr: 640 * 8,
    entries: 128,
};

/// Lost at most in a power cut: a few frames of 8 blocks.
const FLUSH_EVERY: u64 = 128 << 10;

/// Half of the new release is new; no block is there twice.
fn releases() -> (Built, Built) {
    let old: Vec<u64> = (1..=600).collect();
    let new: Vec<u64> = (1..=600)
        .map(|i| if i / 20 % 2 == 0 { i } else { 1000 + i })
        .collect();
    let build = |version, usr: &[u64], seed| {
        let kernel = kernel(&noise(seed, 30 * BLOCK + 100));
        build(version, image(usr), kernel, 8)
    };
    (build("1.0.0", &old, 11), build("2.0.0", &new, 12))
}

fn go<D: Disk>(
    disk: &mut D,
    releases: [&Built; 2],
    server: &Server,
    watch: &Watch,
) -> Result<Report, InstallError> {
    let options = Options {
        flush_every: FLUSH_EVERY,
        ..options()
    };
    run_with(disk, releases, server, &options, watch)
}

/// An update that was stopped while it was fetched.
struct Stopped {
    old: Built,
    new: Built,
    before: MemoryDisk,
    recorder: Recorder,
    /// Bytes that the server had sent by then, and those that it sends if nothing stops.
    sent: u64,
    whole: u64,
}

impl Stopped {
    fn at(share: u64) -> Self {
        let (old, new) = releases();
        let before = disk_of(LARGE, &old);
        let server = Server::of(&new);
        let report = go(&mut before.clone(), [&old, &new], &server, &watch()).unwrap();
        let (fetched, whole) = (report.progress.fetched, server.sent());

        let mut recorder = Recorder::new(before.clone());
        let progress = tokio::sync::watch::Sender::new(Progress::default());
        let figures = progress.subscribe();
        recorder.killed = Some(Box::new(move || {
            figures.borrow().fetched * 100 >= fetched * share
        }));
        let cancel = tokio::sync::watch::Sender::new(false).subscribe();
        let watch = Watch::new(progress, cancel);
        let server = Server::of(&new);
        go(&mut recorder, [&old, &new], &server, &watch).unwrap_err();
        Self {
            old,
            new,
            before,
            recorder,
            sent: server.sent(),
            whole,
        }
    }

    /// The disk after a power cut that takes everything that was not flushed.
    fn durable(&self) -> MemoryDisk {
        let is_flush = |step: &Step| *step == Step::Flush;
        let flushed = self.recorder.steps.iter().rposition(is_flush).unwrap();
        let mut disk = self.before.clone();
        for step in &self.recorder.steps[..flushed] {
            if let Step::Write(lba, data) = step {
                disk.write(*lba, data).unwrap();
            }
        }
        disk
    }

    /// The update goes on with `disk`, and asks for exactly the frames of which a block
    /// is nowhere on it. Returns how many bytes these are.
    fn goes_on(&self, disk: MemoryDisk) -> u64 {
        let (server, mut recorder) = (Server::of(&self.new), Recorder::new(disk.clone()));
        let done = go(&mut recorder, [&self.old, &self.new], &server, &watch());
        let progress = done.unwrap().progress;
        assert_holds(&recorder.disk, Slot::B, &self.new);

        let mut expected = Vec::new();
        let mut missing = 0;
        for part in [Part::Usr, Part::Boot] {
            let blocks = self.missing(&disk, part);
            missing += blocks.len() * BLOCK;
            expected.extend(self.frames_with(part, &blocks));
            self.assert_rewrites_nothing(&recorder, &disk, part);
        }
        assert_eq!(bytes_asked(&server), expected);
        let bytes = expected.iter().map(|(_, range)| end(range) - start(range));
        let bytes: u64 = bytes.sum();
        assert_eq!(server.sent(), bytes);
        assert_eq!(progress.received, bytes);
        assert_eq!(progress.fetched, missing as u64);
        bytes
    }

    /// The blocks that are neither in their place in slot `b` nor in slot `a`.
    fn missing(&self, disk: &MemoryDisk, part: Part) -> BTreeSet<usize> {
        let wanted = padded(self.new.content(part));
        let active = padded(self.old.content(part));
        let there = content(disk, &gpt(disk), Slot::B, part, wanted.len());
        let active: BTreeSet<&[u8]> = active.chunks(BLOCK).collect();
        let pairs = there.chunks(BLOCK).zip(wanted.chunks(BLOCK)).enumerate();
        let missing =
            pairs.filter(|(_, (there, wanted))| there != wanted && !active.contains(wanted));
        missing.map(|(block, _)| block).collect()
    }

    /// Frames that hold one of `blocks`, as bytes of their file.
    fn frames_with(&self, part: Part, blocks: &BTreeSet<usize>) -> Vec<Asked> {
        let (file, frames) = match part {
            Part::Boot => (release::BOOT_FRAMES, &self.new.descriptor.boot.frames),
            _ => (release::USR_FRAMES, &self.new.descriptor.usr.frames),
        };
        let target = release::target_name(&self.new.descriptor.version, file);
        let table = FrameTable::new(frames);
        let frames: BTreeSet<usize> = blocks.iter().map(|b| table.holding(*b)).collect();
        let asked = |frame| (target.clone(), Some(table.bytes(frame..frame + 1)));
        joined(frames.into_iter().map(asked).collect())
    }

    /// A block that was right before is not written again.
    fn assert_rewrites_nothing(&self, recorder: &Recorder, before: &MemoryDisk, part: Part) {
        let table = gpt(before);
        let partition = find(&table, Slot::B, part);
        let wanted = padded(self.new.content(part));
        let there = content(before, &table, Slot::B, part, wanted.len());
        for step in &recorder.steps {
            let Step::Write(lba, data) = step else {
                continue;
            };
            if !(partition.first_lba..=partition.last_lba).contains(lba) {
                continue;
            }
            let at = (lba - partition.first_lba) as usize * SECTOR;
            for at in (at..at + data.len()).step_by(BLOCK) {
                let block = at..at + BLOCK;
                assert!(there[block.clone()] != wanted[block], "{part:?} at {at}");
            }
        }
    }
}

/// What was asked for, in the order of the files, and what is next to each other as one;
/// fails if a byte was asked for twice.
fn bytes_asked(server: &Server) -> Vec<Asked> {
    let mut asked = server.asked();
    // `usr.zst` comes before `boot.zst`, here as in the installation.
    asked.sort_by_key(|(target, range)| (target.ends_with("boot.zst"), start(range)));
    let overlap = |pair: &&[Asked]| pair[0].0 == pair[1].0 && start(&pair[1].1) < end(&pair[0].1);
    assert_eq!(asked.windows(2).find(overlap), None, "asked for twice");
    joined(asked)
}

fn joined(asked: Vec<Asked>) -> Vec<Asked> {
    let mut joined: Vec<Asked> = Vec::new();
    for (target, range) in asked {
        match joined.last_mut() {
            Some((last, before)) if *last == target && end(before) == start(&range) => {
                *before = Some(start(before)..end(&range));
            }
            _ => joined.push((target, range)),
        }
    }
    joined
}

fn start(range: &Option<Range<u64>>) -> u64 {
    range.as_ref().unwrap().start
}

fn end(range: &Option<Range<u64>>) -> u64 {
    range.as_ref().unwrap().end
}

/// Bytes of the largest frame, once for every request that is under way and once for the
/// one that is being written.
fn under_way(new: &Built) -> u64 {
    let frames = new.descriptor.usr.frames.iter();
    let largest = frames.map(|frame| u64::from(frame.1)).max().unwrap();
    (options().parallel as u64 + 1) * (largest + 1000)
}

#[test]
fn an_engine_killed_at_30_60_and_90_percent_of_a_fetch_fetches_only_what_is_missing() {
    for share in SHARES {
        let stopped = Stopped::at(share);
        // What was written is in the cache of the kernel, flushed or not.
        let rest = stopped.goes_on(stopped.recorder.disk.clone());
        let most = stopped.whole * (100 - share) / 100 + under_way(&stopped.new);
        assert!(rest <= most, "{share} %: {rest} of {} bytes", stopped.whole);
        let twice = stopped.sent + rest - stopped.whole;
        assert!(twice <= under_way(&stopped.new), "{share} %: {twice} bytes");
    }
}

#[test]
fn a_power_cut_at_30_60_and_90_percent_of_a_fetch_costs_at_most_what_was_not_flushed() {
    for share in SHARES {
        let stopped = Stopped::at(share);
        let rest = stopped.goes_on(stopped.durable());
        // Frames of noise are as long as their content, and lost whole.
        let lost = FLUSH_EVERY * 11 / 10 + under_way(&stopped.new);
        let twice = stopped.sent + rest - stopped.whole;
        assert!(
            twice <= lost + under_way(&stopped.new),
            "{share} %: {twice} bytes"
        );
    }
}

#[test]
fn the_tree_of_a_release_is_fetched_once() {
    let stopped = Stopped::at(30);
    let running = stopped.old.running(Slot::A);
    let kept =
        |disk: &mut MemoryDisk, built: &Built| kept_tree(disk, running, &built.descriptor).unwrap();
    assert_eq!(kept(&mut stopped.before.clone(), &stopped.new), None);
    let mut disk = stopped.durable();
    assert!(kept(&mut disk, &stopped.new) == Some(stopped.new.tree.clone()));
    assert_eq!(kept(&mut disk, &release("3.0.0", 5)), None);
    let tree = find(&gpt(&disk), Slot::B, Part::Tree).first_lba as usize * SECTOR;
    disk.bytes_mut()[tree + 2 * BLOCK + 9] ^= 1;
    assert_eq!(kept(&mut disk, &stopped.new), None);
}

#[test]
fn an_engine_stopped_again_and_again_gets_there() {
    let (old, new) = releases();
    let mut recorder = Recorder::new(disk_of(LARGE, &old));
    let whole = Server::of(&new);
    go(&mut recorder.disk.clone(), [&old, &new], &whole, &watch()).unwrap();
    let (server, mut kills) = (Server::of(&new), 0);
    // Four of ten writes disarm the slot, four arm it.
    let mut stopped = || {
        recorder.writes_left = 10;
        go(&mut recorder, [&old, &new], &server, &watch()).is_err()
    };
    while stopped() {
        kills += 1;
        assert!(kills < 100, "it does not get there");
    }
    assert!(kills > 5, "{kills}");
    assert_holds(&recorder.disk, Slot::B, &new);
    assert!(server.sent() <= whole.sent() + kills * under_way(&new));
}
