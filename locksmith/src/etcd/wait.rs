//! Waiting until it makes sense to ask again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::queue::KEEP;
use super::{Clock, EtcdLock, Fault, Revision, Store, StoreError};
use crate::lock::LockError;

/// The longest time until one asks again although nothing was heard of.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// How long a watch that failed is left alone, and up to as long again, so that hosts do
/// not come back all at once.
const REST: Duration = Duration::from_secs(2);

/// How often a watch may fail before the question itself is asked again, and with it
/// whether etcd is there.
const FAILURES: u32 = 2;

/// What a host waits for: a change of a key after a revision.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    key: String,
    after: Revision,
}

/// Why one stopped waiting for a while.
enum Woken {
    Changed,
    Failed(StoreError),
    Late,
}

impl<S: Store, C: Clock> EtcdLock<S, C> {
    pub(super) fn document_after(&self, after: Revision) -> Waits {
        self.key_after(self.keys.semaphore.clone(), after)
    }

    pub(super) fn key_after(&self, key: String, after: Revision) -> Waits {
        Waits { key, after }
    }

    pub(super) async fn wait_for_change(&mut self) -> Result<(), LockError> {
        let start = self.clock.monotonic();
        let mut failures = 0;
        loop {
            let Some(waits) = self.waits.clone() else {
                self.clock.sleep(self.rest()).await;
                return Ok(());
            };
            let now = self.clock.monotonic();
            let Some(pause) = self.until_due(start, now) else {
                return Ok(());
            };
            match self.watch(&waits, pause).await {
                Woken::Changed => return Ok(()),
                Woken::Failed(error) if error.fault == Fault::Denied => {
                    return Err(error.into());
                }
                Woken::Failed(_) => {
                    self.silent.lose_touch();
                    failures += 1;
                    self.clock.sleep(self.rest()).await;
                    if failures >= FAILURES {
                        return Ok(());
                    }
                }
                Woken::Late => {}
            }
            if !self.keep_if_due().await? {
                return Ok(());
            }
        }
    }

    /// How long from `now` one may wait without doing anything; none if one has waited
    /// long enough since `start`.
    fn until_due(&self, start: Duration, now: Duration) -> Option<Duration> {
        let left = (start + ASK_AGAIN)
            .checked_sub(now)
            .filter(|d| !d.is_zero())?;
        let lease = self.queued.as_ref();
        let lease = lease.map(|queued| (queued.kept + KEEP).saturating_sub(now));
        let long = self.expire_after.filter(|_| self.waits_for_document());
        let silent = long.and_then(|long| self.silent.next(long, now));
        // Who has been silent for long enough was told of before, and did not help.
        let silent = silent.filter(|d| !d.is_zero());
        let due = [Some(left), lease, silent].into_iter().flatten();
        due.min()
    }

    fn waits_for_document(&self) -> bool {
        let waits = self.waits.as_ref();
        waits.is_some_and(|waits| waits.key == self.keys.semaphore)
    }

    async fn watch(&self, waits: &Waits, pause: Duration) -> Woken {
        let watch = self.store.watch(&waits.key, waits.after);
        match select(watch, self.clock.sleep(pause)).await {
            Either::Left((Ok(()), _)) => Woken::Changed,
            Either::Left((Err(error), _)) => Woken::Failed(error),
            Either::Right(((), _)) => Woken::Late,
        }
    }

    /// Renews the lease if it is time for it. False if it makes sense to ask again now:
    /// the place is gone, or a holder may be.
    async fn keep_if_due(&mut self) -> Result<bool, LockError> {
        let now = self.clock.monotonic();
        let was_queued = self.queued.is_some();
        if self
            .queued
            .as_ref()
            .is_some_and(|queued| now >= queued.kept + KEEP)
        {
            self.keep().await?;
        }
        let lost = was_queued && self.queued.is_none();
        let long = self.expire_after.filter(|_| self.waits_for_document());
        let gone = long.is_some_and(|long| !self.silent.gone(long, now).is_empty());
        Ok(!lost && !gone)
    }

    /// A short time, another one for each host.
    fn rest(&self) -> Duration {
        let mut hasher = DefaultHasher::new();
        if let Some(queued) = &self.queued {
            (queued.id.as_str(), queued.kept).hash(&mut hasher);
        }
        REST + REST * u32::from(hasher.finish() as u8) / 255
    }
}
