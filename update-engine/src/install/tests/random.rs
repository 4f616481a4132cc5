//! Random releases, and engines that are killed.

use bootloader::block::MemoryDisk;
use proptest::prelude::*;

use super::support::*;
use super::*;

/// What a random release is made of.
#[derive(Debug, Clone)]
struct Recipe {
    usr: Vec<u64>,
    boot: Vec<u64>,
    tail: usize,
    cut: usize,
}

impl Recipe {
    fn build(&self, version: &str) -> Built {
        let mut payload = image(&self.boot);
        payload.extend(noise(61, self.tail));
        build(version, image(&self.usr), kernel(&payload), self.cut)
    }
}

/// Releases that have much in common with each other.
fn recipes() -> impl Strategy<Value = Recipe> {
    let usr = prop::collection::vec(0_u64..40, 2..60);
    let boot = prop::collection::vec(50_u64..60, 0..10);
    (usr, boot, 0..BLOCK, 1_usize..7).prop_map(|(usr, boot, tail, cut)| Recipe {
        usr,
        boot,
        tail,
        cut,
    })
}

/// The release that runs, the new one, and what may be in the passive slot.
fn pairs() -> impl Strategy<Value = (Recipe, Recipe, Option<Recipe>)> {
    let other = prop::option::of(recipes());
    (recipes(), recipes(), other).prop_filter("equal releases", |r| r.0.usr != r.1.usr)
}

fn before(old: &Built, other: Option<Recipe>) -> MemoryDisk {
    let mut disk = disk_with(old);
    if let Some(other) = other {
        let bits = bootloader::slot::SlotBits {
            priority: 1,
            tries: 0,
            successful: true,
        };
        put(&mut disk, Slot::B, &other.build("1.5.0"), bits);
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_release_is_installed_over_any_other(
        (old, new, other) in pairs(),
        piece in 1_usize..10_000,
        ranges in any::<bool>(),
    ) {
        let (old, new) = (old.build("1.0.0"), new.build("2.0.0"));
        let disk = before(&old, other);
        let mut server = Server::of(&new);
        server.piece = piece;
        server.ranges = ranges;
        let mut recorder = Recorder::new(disk.clone());
        let report = run(&mut recorder, &old, &new, &server).unwrap();
        assert_holds(&recorder.disk, Slot::B, &new);
        assert_holds(&recorder.disk, Slot::A, &old);
        assert_only_signed_writes(&recorder, &new);
        let p = report.progress;
        prop_assert_eq!(p.kept + p.copied + p.fetched, p.total);
        prop_assert_eq!(p.received, server.sent());
        if ranges {
            assert_nothing_needless(&disk, &old, &new, &server);
        }
    }

    #[test]
    fn a_killed_engine_goes_on_where_it_was(
        (old, new, other) in pairs(),
        kills in prop::collection::vec(1_usize..30, 1..4),
    ) {
        let (old, new) = (old.build("1.0.0"), new.build("2.0.0"));
        let disk = before(&old, other);
        let whole = Server::of(&new);
        run(&mut disk.clone(), &old, &new, &whole).unwrap();

        let mut recorder = Recorder::new(disk);
        let server = Server::of(&new);
        let mut killed = 0;
        for writes in kills {
            recorder.writes_left = writes;
            killed += u64::from(run(&mut recorder, &old, &new, &server).is_err());
        }
        recorder.writes_left = usize::MAX;
        run(&mut recorder, &old, &new, &server).unwrap();
        assert_holds(&recorder.disk, Slot::B, &new);
        assert_only_signed_writes(&recorder, &new);
        // What was under way when it was killed comes twice: a frame of each request.
        let usr = &new.descriptor.usr.frames;
        let frames = usr.iter().chain(&new.descriptor.boot.frames);
        let largest = frames.map(|frame| u64::from(frame.1)).max().unwrap_or_default();
        let under_way = options().parallel as u64 * (largest + server.piece as u64);
        prop_assert!(server.sent() <= whole.sent() + killed * under_way);
    }

    #[test]
    fn lost_connections_cost_nothing_but_requests(
        (old, new, other) in pairs(),
        most in 700_usize..5_000,
    ) {
        let (old, new) = (old.build("1.0.0"), new.build("2.0.0"));
        let disk = before(&old, other);
        let whole = Server::of(&new);
        run(&mut disk.clone(), &old, &new, &whole).unwrap();
        let mut server = Server::of(&new);
        server.breaks_after = Some(most);
        let mut disk = disk;
        let done = run(&mut disk, &old, &new, &server);
        // A frame of 24 KiB needs more answers than patience has failures.
        if let Err(why) = done {
            let gave_up = matches!(why, InstallError::Fetch(FetchError::GaveUp { .. }));
            prop_assert!(gave_up && most < 6 * BLOCK / 5, "{why}");
            return Ok(());
        }
        assert_holds(&disk, Slot::B, &new);
        prop_assert_eq!(server.sent(), whole.sent());
    }
}

#[test]
fn where_the_server_has_no_ranges_the_whole_is_read_once() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.ranges = false;
    let mut disk = disk_with(&old);
    run(&mut disk, &old, &new, &server).unwrap();
    assert_holds(&disk, Slot::B, &new);
    let asked = server.asked();
    let refused = asked.iter().filter(|(_, range)| range.is_some()).count();
    assert!(refused <= options().parallel, "asked on: {asked:?}");
    let whole: Vec<&str> = asked
        .iter()
        .filter(|(_, range)| range.is_none())
        .map(|(target, _)| target.as_str())
        .collect();
    assert_eq!(whole, ["releases/2.0.0/usr.zst", "releases/2.0.0/boot.zst"]);
    assert!(server.sent() <= server.size_of(&new));
}

#[test]
fn a_whole_file_whose_connection_is_lost_goes_on_where_it_was() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.ranges = false;
    server.breaks_after = Some(100_000);
    let mut disk = disk_with(&old);
    // It breaks at the same byte every time: what is behind never comes.
    let why = run(&mut disk, &old, &new, &server).unwrap_err();
    assert!(
        matches!(why, InstallError::Fetch(FetchError::GaveUp { .. })),
        "{why}"
    );
    let mut server = Server::of(&new);
    server.ranges = false;
    let report = run(&mut disk, &old, &new, &server).unwrap();
    assert!(report.progress.kept > 80_000, "{report:?}");
    assert_holds(&disk, Slot::B, &new);
}

#[test]
fn a_cancelled_installation_stops_and_is_taken_up_again() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let progress = tokio::sync::watch::Sender::new(Progress::default());
    let cancel = tokio::sync::watch::Sender::new(false);
    let watch = Watch::new(progress.clone(), cancel.subscribe());
    let (mut disk, mut server, options) = (disk_with(&old), Server::of(&new), options());
    server.lie = Some(Box::new(move |_, _, bytes| {
        if progress.borrow().fetched > 0 {
            cancel.send(true).unwrap();
        }
        bytes
    }));
    let running = old.running(Slot::A);
    let installing = install(&mut disk, running, new.release(), &server, &options, &watch);
    let stopped = block_on(installing);
    assert!(
        matches!(stopped, Err(InstallError::Cancelled)),
        "{stopped:?}"
    );
    assert_eq!(bits(&disk, Slot::B), Default::default());
    let report = run(&mut disk, &old, &new, &Server::of(&new)).unwrap();
    assert!(report.progress.kept > 0);
    assert_holds(&disk, Slot::B, &new);
}

#[test]
fn a_disk_in_a_file_is_written_like_one_in_memory() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), disk_with(&old).bytes()).unwrap();
    let mut disk = crate::slots::HostDisk::open(file.path()).unwrap();
    run(&mut disk, &old, &new, &Server::of(&new)).unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let disk = MemoryDisk::from_bytes(512, bytes);
    assert_holds(&disk, Slot::B, &new);
    assert_eq!(chosen(&disk), Slot::B);
}
