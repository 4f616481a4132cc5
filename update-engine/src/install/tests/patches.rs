//! Patches: a source of blocks like any other, and no more believed.

use bootloader::block::MemoryDisk;
use proptest::prelude::*;

use super::support::*;
use super::*;
use crate::patch::{Draft, Origin, PatchFault};
use crate::release::patch_target;

/// Bytes by which the new image is shifted against the old one: no block stays.
const SHIFT: usize = 100;

/// Two releases of which the second one's `/usr` is the first one's, shifted, with the
/// patch in frames that stand for `blocks` blocks.
struct Pair {
    old: Built,
    new: Built,
    /// The patch's file.
    patch: Vec<u8>,
}

impl Pair {
    fn new(blocks: usize) -> Self {
        let old = release("1.0.0", 0);
        let mut usr = [noise(555, SHIFT), old.usr.clone()].concat();
        usr.truncate(old.usr.len());
        let new = build("2.0.0", usr, old.boot.clone(), 4);
        let mut contents = Vec::new();
        for start in (0..new.usr.len()).step_by(blocks * BLOCK) {
            let part = &new.usr[start..new.usr.len().min(start + blocks * BLOCK)];
            let mut draft = Draft::default();
            draft.run(0..part.len() / BLOCK);
            let fresh = SHIFT.saturating_sub(start);
            draft.add(&part[..fresh], Origin::New, &[]);
            let from = start + fresh - SHIFT;
            let near = &old.usr[from..from + part.len() - fresh];
            draft.add(&part[fresh..], Origin::Old(from as u64), near);
            contents.push((part.len() / BLOCK, draft.finish()));
        }
        Self::of(old, new, &contents)
    }

    /// The second release with a patch of these frames: blocks and content.
    fn of(old: Built, mut new: Built, contents: &[(usize, Vec<u8>)]) -> Self {
        let (mut frames, mut patch) = (Vec::new(), Vec::new());
        for (blocks, content) in contents {
            let packed = zstd::bulk::compress(content, 1).unwrap();
            frames.push(Frame(*blocks as u32, packed.len() as u32));
            patch.extend(packed);
        }
        let mut descriptor = new.descriptor.clone().into_inner();
        descriptor.patches = vec![Patch {
            from: old.root(),
            from_version: old.descriptor.version.clone(),
            target: patch_target(&descriptor.version, &old.descriptor.version),
            memory: 1 << 20,
            frames,
        }];
        descriptor.check().unwrap();
        new.descriptor = Verified::new(descriptor);
        Self { old, new, patch }
    }

    fn target(&self) -> &str {
        &self.new.descriptor.patches[0].target
    }

    fn server(&self) -> Server {
        let mut server = Server::of(&self.new);
        server
            .files
            .insert(self.target().into(), self.patch.clone());
        server
    }

    fn disk(&self) -> MemoryDisk {
        disk_with(&self.old)
    }

    /// Installs, and checks that all is well in the end.
    fn install(&self, disk: MemoryDisk, server: &Server) -> Progress {
        let mut recorder = Recorder::new(disk);
        let report = run(&mut recorder, &self.old, &self.new, server).unwrap();
        assert_holds(&recorder.disk, Slot::B, &self.new);
        assert_holds(&recorder.disk, Slot::A, &self.old);
        assert_only_signed_writes(&recorder, &self.new);
        let progress = report.progress;
        assert_eq!(progress.in_place(), progress.total);
        assert_eq!(progress.received, server.sent());
        progress
    }
}

fn targets(server: &Server) -> Vec<String> {
    let mut targets: Vec<String> = server.asked().into_iter().map(|(name, _)| name).collect();
    targets.dedup();
    targets
}

/// Flips a bit in every answer from the patch.
fn damaged(pair: &Pair, at: impl Fn(usize) -> usize + Send + Sync + 'static) -> Server {
    let (mut server, patch) = (pair.server(), pair.target().to_string());
    server.lie = Some(Box::new(move |target, _, mut bytes| {
        if target == patch {
            let at = at(bytes.len());
            bytes[at] ^= 1;
        }
        bytes
    }));
    server
}

#[test]
fn what_the_running_release_nearly_has_comes_from_the_patch() {
    let pair = Pair::new(8);
    let server = pair.server();
    let progress = pair.install(pair.disk(), &server);
    assert_eq!(progress.patch, PatchUse::Applied);
    assert_eq!(targets(&server), [pair.target()], "all else is on the disk");
    assert_eq!(server.sent(), pair.patch.len() as u64);
    assert!(server.sent() * 20 < pair.new.usr_file.len() as u64);
    assert_eq!(progress.patched, progress.fetched);
    assert_eq!(progress.patch.trouble(), None);
    assert_eq!(progress.expected, progress.received);
}

#[test]
fn a_patch_from_another_release_or_for_larger_hosts_is_passed_over() {
    let mut pair = Pair::new(8);
    let good = pair.new.descriptor.clone().into_inner();
    for change in [
        |patch: &mut Patch| patch.from = Digest([9; 32]),
        |patch: &mut Patch| patch.memory = crate::patch::MAX_MEMORY + 1,
    ] {
        let mut descriptor = good.clone();
        change(&mut descriptor.patches[0]);
        pair.new.descriptor = Verified::new(descriptor);
        let server = pair.server();
        let progress = pair.install(pair.disk(), &server);
        assert_eq!(progress.patch, PatchUse::None);
        assert!(!targets(&server).iter().any(|name| name == pair.target()));
    }
}

#[test]
fn a_patch_that_is_longer_than_the_frames_is_not_fetched() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut draft = Draft::default();
    let blocks = new.usr.len() / BLOCK;
    draft.run(0..blocks);
    draft.add(&new.usr, Origin::New, &[]);
    let pair = Pair::of(old, new, &[(blocks, draft.finish())]);
    let server = pair.server();
    assert_eq!(pair.install(pair.disk(), &server).patch, PatchUse::None);
    assert!(!targets(&server).iter().any(|name| name == pair.target()));
}

#[test]
fn a_damaged_patch_costs_what_was_fetched_of_it() {
    let pair = Pair::new(8);
    let server = damaged(&pair, |length| length / 2);
    let progress = pair.install(pair.disk(), &server);
    assert!(
        matches!(progress.patch, PatchUse::Wrong(_) | PatchUse::OtherBlocks),
        "{progress:?}"
    );
    let whole = Server::of(&pair.new);
    let none = pair.install(pair.disk(), &whole);
    assert_eq!(none.patch, PatchUse::NotServed);
    let most = whole.sent() + pair.patch.len() as u64;
    assert!(server.sent() <= most, "{} > {most}", server.sent());
}

#[test]
fn what_a_patch_made_before_it_failed_is_not_fetched_again() {
    let pair = Pair::new(8);
    // The third frame is no zstd any more.
    let table = FrameTable::new(&pair.new.descriptor.patches[0].frames);
    let at = table.bytes(2..3).start;
    let (mut server, patch) = (pair.server(), pair.target().to_string());
    server.lie = Some(Box::new(move |target, range, mut bytes| {
        if target == patch && range.contains(&at) {
            bytes[(at - range.start) as usize] ^= 1;
        }
        bytes
    }));
    let progress = pair.install(pair.disk(), &server);
    assert_eq!(progress.patch, PatchUse::Wrong(PatchFault::Compressed));
    assert!(progress.patched >= 16 * BLOCK as u64, "{progress:?}");
    let usr = "releases/2.0.0/usr.zst";
    let asked = frames_asked(&server, usr, &pair.new.descriptor.usr.frames);
    assert!(
        !asked.is_empty() && asked.iter().all(|frame| *frame >= 4),
        "{asked:?}"
    );
}

#[test]
fn a_patch_that_makes_other_blocks_is_given_up() {
    let pair = Pair::new(8);
    let mut draft = Draft::default();
    let blocks = pair.new.usr.len() / BLOCK;
    draft.run(0..blocks);
    draft.add(&pair.old.usr, Origin::Old(0), &pair.old.usr);
    let contents = [(blocks, draft.finish())];
    let pair = Pair::of(pair.old, pair.new, &contents);
    let progress = pair.install(pair.disk(), &pair.server());
    assert_eq!(progress.patch, PatchUse::OtherBlocks);
    assert_eq!(progress.patched, 0);
    let trouble = progress.patch.trouble().unwrap();
    assert!(trouble.contains("other blocks"), "{trouble}");
}

#[test]
fn a_patch_that_is_not_served_is_done_without() {
    let pair = Pair::new(8);
    let server = Server::of(&pair.new);
    let progress = pair.install(pair.disk(), &server);
    assert_eq!(progress.patch, PatchUse::NotServed);
}

#[test]
fn where_the_server_has_no_ranges_the_whole_patch_is_read_once() {
    let pair = Pair::new(8);
    let mut server = pair.server();
    server.ranges = false;
    let progress = pair.install(pair.disk(), &server);
    assert_eq!(progress.patch, PatchUse::Applied);
    assert_eq!(server.sent(), pair.patch.len() as u64);
}

#[test]
fn what_rotted_in_the_running_release_is_fetched_and_nothing_else() {
    let pair = Pair::new(8);
    let mut disk = pair.disk();
    let usr = find(&gpt(&disk), Slot::A, Part::Usr).first_lba as usize * SECTOR;
    disk.bytes_mut()[usr + 20 * BLOCK + 77] ^= 1;
    let server = pair.server();
    let mut recorder = Recorder::new(disk);
    let report = run(&mut recorder, &pair.old, &pair.new, &server).unwrap();
    assert_holds(&recorder.disk, Slot::B, &pair.new);
    assert_only_signed_writes(&recorder, &pair.new);
    assert_eq!(report.progress.patch, PatchUse::OtherBlocks);
    let usr = "releases/2.0.0/usr.zst";
    let asked = frames_asked(&server, usr, &pair.new.descriptor.usr.frames);
    assert_eq!(
        asked,
        [5],
        "the frame of the block made from the rotten one"
    );
}

#[test]
fn a_patch_is_taken_up_where_it_was() {
    let pair = Pair::new(4);
    let mut recorder = Recorder::new(pair.disk());
    recorder.writes_left = 12;
    let server = pair.server();
    run(&mut recorder, &pair.old, &pair.new, &server).unwrap_err();
    let first = server.sent();
    assert!(first > 0);
    let server = pair.server();
    let progress = pair.install(recorder.disk, &server);
    assert!(progress.kept > 0);
    assert_eq!(progress.patch, PatchUse::Applied);
    let frames = &pair.new.descriptor.patches[0].frames;
    let asked = frames_asked(&server, pair.target(), frames);
    assert!(asked.len() < frames.len(), "{asked:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_patch_holds_the_release_is_installed(
        mut contents in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..60),
            2..6,
        ),
    ) {
        let pair = Pair::new(16);
        let blocks = pair.new.usr.len() / BLOCK;
        // One as if it were well formed: a run without a step.
        contents[0] = vec![2, 0, 0, 0, 0, 1];
        let each = blocks / contents.len();
        let mut frames: Vec<_> = contents.into_iter().map(|content| (each, content)).collect();
        frames[0].0 += blocks - each * frames.len();
        let pair = Pair::of(pair.old, pair.new, &frames);
        pair.install(pair.disk(), &pair.server());
    }
}
