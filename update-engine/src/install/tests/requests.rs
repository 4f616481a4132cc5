//! What servers are asked for, and what is told about it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::*;
use super::*;

/// Two releases; `/usr` of the second one has other blocks in these places, from the first
/// to before the last.
fn releases(changed: &[(u64, u64)]) -> (Built, Built) {
    let old: Vec<u64> = (1..=60).collect();
    let is_new = |i: &u64| changed.iter().any(|(start, end)| (start..end).contains(&i));
    let new: Vec<u64> = old
        .iter()
        .map(|i| i + u64::from(is_new(i)) * 1000)
        .collect();
    let build = |version, usr: &[u64]| build(version, image(usr), kernel(b"k"), 4);
    (build("1.0.0", &old), build("2.0.0", &new))
}

/// The first frame of every request, and the one after its last.
fn asked(limits: Limits, changed: &[(u64, u64)]) -> Vec<(usize, usize)> {
    let (old, new) = releases(changed);
    let server = Server::of(&new);
    let options = Options {
        limits,
        ..options()
    };
    let mut disk = disk_with(&old);
    let done = run_with(&mut disk, [&old, &new], &server, &options, &watch());
    assert_eq!(done.unwrap().progress.received, server.sent());
    assert_holds(&disk, Slot::B, &new);
    let table = FrameTable::new(&new.descriptor.usr.frames);
    let frame = |byte| (0..table.count()).find(|f| table.bytes(*f..f + 1).contains(&byte));
    let frames = server.asked().into_iter().map(|(target, range)| {
        assert_eq!(target, "releases/2.0.0/usr.zst");
        let range = range.expect("a range");
        (
            frame(range.start).unwrap(),
            frame(range.end - 1).unwrap() + 1,
        )
    });
    frames.collect()
}

#[test]
fn frames_next_to_each_other_are_one_request() {
    let whole = Limits {
        gap: 0,
        request: u64::MAX,
    };
    assert_eq!(asked(whole, &[(9, 13)]), [(2, 3)]);
    assert_eq!(asked(whole, &[(9, 30)]), [(2, 8)]);
    assert_eq!(asked(whole, &[(9, 30), (37, 38)]), [(2, 8), (9, 10)]);
    assert_eq!(asked(whole, &[(1, 61)]), [(0, 15)]);
    // A frame takes 16 KiB: two of them reach the limit.
    let short = Limits {
        gap: 0,
        request: 20_000,
    };
    assert_eq!(asked(short, &[(1, 21)]), [(0, 2), (2, 4), (4, 5)]);
    let gap = Limits {
        gap: 20_000,
        request: u64::MAX,
    };
    assert_eq!(
        asked(gap, &[(9, 30), (37, 38), (53, 54)]),
        [(2, 10), (13, 14)]
    );
}

#[test]
fn several_requests_are_under_way_and_no_more_than_allowed() {
    for parallel in [1, 2, 4] {
        let (old, new) = releases(&[(1, 61)]);
        let mut server = Server::of(&new);
        server.waits_for = parallel;
        let options = Options {
            parallel,
            ..options()
        };
        let mut disk = disk_with(&old);
        let done = run_with(&mut disk, [&old, &new], &server, &options, &watch());
        assert_eq!(done.unwrap().progress.requests, 15);
        assert_eq!(server.most_open(), parallel);
    }
}

#[test]
fn a_target_that_is_not_there_is_asked_for_once() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.files.clear();
    let options = Options {
        parallel: 1,
        ..options()
    };
    let mut disk = disk_with(&old);
    let done = run_with(&mut disk, [&old, &new], &server, &options, &watch());
    let why = done.unwrap_err();
    assert!(
        matches!(why, InstallError::Fetch(FetchError::Refused(_))),
        "{why}"
    );
    assert_eq!(server.asked().len(), 1);
}

/// What was told whenever the server was asked for something.
fn figures_while(mut server: Server, [old, new]: [&Built; 2]) -> (Vec<Progress>, Report) {
    let progress = tokio::sync::watch::Sender::new(Progress::default());
    let (figures, seen) = (progress.subscribe(), Arc::<Mutex<Vec<_>>>::default());
    let told = Arc::clone(&seen);
    server.lie = Some(Box::new(move |_, _, bytes| {
        told.lock().unwrap().push(*figures.borrow());
        bytes
    }));
    let cancel = tokio::sync::watch::Sender::new(false).subscribe();
    let watch = Watch::new(progress, cancel);
    let mut disk = disk_with(old);
    let report = run_with(&mut disk, [old, new], &server, &options(), &watch).unwrap();
    assert_eq!(report.progress.received, server.sent());
    let seen = seen.lock().unwrap().clone();
    (seen, report)
}

#[test]
fn progress_tells_from_the_first_request_on_what_is_still_to_come() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let (seen, report) = figures_while(Server::of(&new), [&old, &new]);
    let last = report.progress;
    assert_eq!(last.received, last.expected);
    for (before, after) in seen.iter().zip(&seen[1..]) {
        assert!(before.received <= after.received && before.fetched <= after.fetched);
    }
    for told in &seen {
        assert_eq!(told.phase, Phase::Fetching);
        assert_eq!(told.expected, last.expected);
        assert_eq!((told.kept, told.copied), (last.kept, last.copied));
        assert_eq!(told.total, last.total);
        assert!(told.in_place() < told.total);
    }
    assert_eq!(seen.first().map(|told| told.received), Some(0));
    assert_eq!(last.in_place(), last.total);
    let reused = (last.kept + last.copied) * 100 / last.total;
    assert_eq!(last.reused_percent(), reused);
    assert!((1..100).contains(&reused), "{reused}");
}

#[test]
fn progress_knows_that_a_server_without_ranges_sends_the_whole() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut server = Server::of(&new);
    server.ranges = false;
    // What is behind the last wanted frame is not read.
    server.piece = 1;
    let (seen, report) = figures_while(server, [&old, &new]);
    let last = report.progress;
    assert_eq!(last.received, last.expected);
    for told in seen {
        assert_eq!(told.expected, last.expected);
    }
    let (_, by_ranges) = figures_while(Server::of(&new), [&old, &new]);
    assert!(by_ranges.progress.expected < last.expected);
}

#[test]
fn pauses_double_and_end_at_a_minute() {
    let patience = Patience {
        failures: 6,
        pause: Duration::from_secs(1),
    };
    let pauses = [1, 2, 3, 6, 7, 40, u32::MAX].map(|n| patience.pause(n).as_secs());
    assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
}
