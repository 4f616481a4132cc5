//! Upstream's patience: what failed for now is tried again, with pauses from
//! 0.1 to 5 seconds, until the time is up.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::log;

use super::{FetchError, Fetcher};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How one attempt failed.
pub enum Failed {
    /// Trying again may help.
    ForNow(String),
    /// It will not.
    ForGood(FetchError),
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::ForGood(error)
    }
}

/// Tells attempts that nobody waits for them any more.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends the pause of every attempt that waits; none follows.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for `pause`. Whether to go on.
    pub fn pause(&self, pause: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(stopped, pause, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*stopped
    }
}

/// Runs `attempt`, which gets the instant when the time is up, until it
/// succeeds or fails for good, or there is no time for another one.
pub fn patiently<T>(
    name: &str,
    fetcher: &Fetcher,
    mut attempt: impl FnMut(Option<Instant>) -> Result<T, Failed>,
) -> Result<T, FetchError> {
    let started = Instant::now();
    let deadline = fetcher.deadline();
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        attempts += 1;
        log::info(&format!("fetching {name} (attempt {attempts})"));
        let last = match attempt(deadline) {
            Ok(done) => return Ok(done),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow(message)) => message,
        };
        let in_time = deadline.is_none_or(|deadline| Instant::now() + pause < deadline);
        if in_time {
            log::warn(&format!(
                "fetching {name} failed (attempt {attempts}): {last}; next attempt in {} ms",
                pause.as_millis()
            ));
        }
        if !in_time || !fetcher.stop.pause(pause) {
            return Err(FetchError::GaveUp {
                name: name.to_owned(),
                attempts,
                seconds: started.elapsed().as_secs(),
                last,
            });
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
