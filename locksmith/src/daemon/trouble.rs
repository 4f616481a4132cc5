//! What is wrong with the lock: told once, and once more when it is over.

use std::time::Duration;

use daemon::client::seconds;
use daemon::log;
use daemon::pause::{backoff, jittered, random};
use tokio::time::Instant;

use crate::lock::LockError;

/// First pause after a failure; it doubles with every further one.
const FIRST: Duration = Duration::from_secs(5);

/// The longest.
const MOST: Duration = Duration::from_secs(300);

/// How much longer or shorter a pause is: hosts that lost the same server at once do not
/// come back at once.
const SPREAD: f64 = 0.5;

/// Trouble with a lock, while there is some.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    now: Option<Now>,
}

#[derive(Debug)]
struct Now {
    since: Instant,
    failures: u32,
    again: Instant,
    is_outage: bool,
    why: String,
}

impl Trouble {
    /// Something failed.
    pub(super) fn failed(&mut self, error: &LockError) {
        let why = log::chain(error);
        let is_outage = error.is_outage();
        let known = self.now.take();
        // Another kind of trouble is told, too: a server that is back, and refuses.
        if known.as_ref().is_none_or(|now| now.is_outage != is_outage) {
            log::error(format!(
                "lock: {why}; there is no reboot without it, it is tried again and again"
            ));
        }
        let failures = known
            .as_ref()
            .map_or(1, |now| now.failures.saturating_add(1));
        let pause = jittered(backoff(FIRST, MOST, failures), SPREAD, random());
        self.now = Some(Now {
            since: known.map_or_else(Instant::now, |now| now.since),
            failures,
            again: Instant::now() + pause,
            is_outage,
            why,
        });
    }

    /// Something worked.
    pub(super) fn over(&mut self) {
        if let Some(now) = self.now.take() {
            let lasted = seconds(now.since.elapsed().as_secs());
            log::info(format!("lock: it answers again, after {lasted}"));
        }
    }

    /// Nobody is asked any more.
    pub(super) fn forget(&mut self) {
        self.now = None;
    }

    /// When it is tried again, if it has to wait.
    pub(super) fn again(&self) -> Option<Instant> {
        let again = self.now.as_ref().map(|now| now.again);
        again.filter(|again| *again > Instant::now())
    }

    /// What is wrong.
    pub(super) fn why(&self) -> Option<&str> {
        self.now.as_ref().map(|now| now.why.as_str())
    }
}
