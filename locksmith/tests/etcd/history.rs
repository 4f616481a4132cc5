//! What hosts were told, in the order in which they were.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Something a host was told, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The lock is its own.
    Granted,
    /// It is about to give it back.
    GivesBack,
    /// It was told that it is not its own any more.
    Lost,
}

/// All events of a run. One clock, one order: the hosts share a process.
pub struct History {
    start: Instant,
    events: Mutex<Vec<(Duration, usize, Event)>>,
}

impl History {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            events: Mutex::default(),
        }
    }

    pub fn note(&self, host: usize, event: Event) {
        let mut events = self.events.lock().unwrap();
        events.push((self.start.elapsed(), host, event));
    }

    pub fn grants(&self) -> usize {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|(_, _, e)| *e == Event::Granted)
            .count()
    }

    /// Fails if more than `max` relied on the lock at any time. A host relies on it from
    /// when it was told until it begins to give it back.
    pub fn check(&self, max: usize) {
        let mut holders = BTreeSet::new();
        for (at, host, event) in self.events.lock().unwrap().iter() {
            match event {
                Event::Granted => holders.insert(*host),
                Event::GivesBack => holders.remove(host),
                Event::Lost => panic!("{at:?}: host {host} lost the lock"),
            };
            assert!(
                holders.len() <= max,
                "{at:?}: {holders:?} hold the lock at once"
            );
        }
    }

    /// Who was granted the lock after `since`.
    pub fn served(&self, since: Instant) -> BTreeSet<usize> {
        let since = since - self.start;
        let events = self.events.lock().unwrap();
        let later = events
            .iter()
            .filter(|(at, _, e)| *at >= since && *e == Event::Granted);
        later.map(|(_, host, _)| *host).collect()
    }
}

#[test]
fn the_check_notices_two_at_once() {
    let history = History::new();
    history.note(0, Event::Granted);
    history.note(0, Event::GivesBack);
    history.note(1, Event::Granted);
    history.note(1, Event::Granted);
    history.check(1);
    history.note(0, Event::Granted);
    history.check(2);
    assert!(std::panic::catch_unwind(|| history.check(1)).is_err());
}
