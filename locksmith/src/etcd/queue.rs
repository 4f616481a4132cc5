//! A host's place in the queue.

use std::time::Duration;

use super::wait::Waits;
use super::{
    Clock, Committed, Compare, Current, EtcdLock, Kept, Lease, Listing, Op, Query, Revision, Store,
    Tries, Txn,
};
use crate::lock::{Claim, HolderId, LockError, SHOWN, Waiter};
use crate::semaphore::{Place, Verdict};

/// How long a host that is gone keeps its place, and may hold up those behind it.
pub const TTL: Duration = Duration::from_secs(180);

/// How long what was read of the queue is recent.
const RECENT: Duration = Duration::from_secs(30);

/// How often the lease is renewed.
pub(super) const KEEP: Duration = Duration::from_secs(60);

/// A place.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) id: HolderId,
    pub(super) lease: Lease,
    /// When the key came to be: who came before this is before this host.
    created: Revision,
    /// How many there were soon after the host had entered.
    entered: Option<u32>,
    /// Nobody is before it. Later nobody is either: who comes later is behind.
    is_first: bool,
    /// When the lease was last renewed, by the monotonic clock.
    pub(super) kept: Duration,
}

impl<S: Store, C: Clock> EtcdLock<S, C> {
    /// Takes the host's key out of the queue.
    pub(super) fn leave(&self, id: &HolderId) -> Txn {
        let key = self.keys.waiter(id);
        Txn {
            compare: Vec::new(),
            then: vec![Op::Delete { key }],
        }
    }

    /// Decides about the claim, entering the queue where that is needed; and what there
    /// is to wait for if the lock is not granted.
    pub(super) async fn turn(
        &mut self,
        current: &Current,
        claim: &Claim,
        tries: &Tries,
    ) -> Result<(Verdict, Waits), LockError> {
        let document = self.document_after(current.revision);
        let first = self.verdict(current, claim, Place::Behind);
        if first != Verdict::Wait {
            return Ok((first, document));
        }
        let front = self.verdict(current, claim, Place::Front);
        // Who was beaten once goes the way of the queue: of many that come at once, all but
        // one would be beaten again and again.
        let is_free = front != Verdict::Wait && self.queued.is_none() && tries.beaten == 0;
        if is_free && self.is_queue_empty().await? {
            return Ok((front, document));
        }
        let queued = self.queued(claim).await?;
        if queued.is_first {
            return Ok((front, document));
        }
        let query = Query::LastBefore(queued.created);
        let before = self.store.list(&self.keys.queue, query).await;
        let before = self.heard(before)?;
        let revision = before.revision;
        if let Some((key, _)) = before.entries.into_iter().next() {
            return Ok((Verdict::Wait, self.key_after(key, revision)));
        }
        if let Some(queued) = &mut self.queued {
            queued.is_first = true;
        }
        Ok((front, document))
    }

    async fn is_queue_empty(&mut self) -> Result<bool, LockError> {
        let count = self.store.list(&self.keys.queue, Query::Count).await;
        Ok(self.heard(count)?.count == 0)
    }

    /// The host's place, a new one if it has none any more.
    async fn queued(&mut self, claim: &Claim) -> Result<Queued, LockError> {
        if let Some(queued) = self.queued.take().filter(|queued| queued.id == claim.id) {
            let due = queued.kept + KEEP;
            self.queued = Some(queued);
            if self.clock.monotonic() >= due {
                self.keep().await?;
            }
        }
        match &self.queued {
            Some(queued) => Ok(queued.clone()),
            None => self.enter(claim).await,
        }
    }

    /// Renews the lease. If it is gone, so is the place.
    pub(super) async fn keep(&mut self) -> Result<(), LockError> {
        let Some(lease) = self.queued.as_ref().map(|queued| queued.lease) else {
            return Ok(());
        };
        let now = self.clock.monotonic();
        let kept = self.store.keep(lease).await;
        match (self.heard(kept)?, &mut self.queued) {
            (Kept::Yes, Some(queued)) => queued.kept = now,
            _ => self.queued = None,
        }
        Ok(())
    }

    async fn enter(&mut self, claim: &Claim) -> Result<Queued, LockError> {
        let kept = self.clock.monotonic();
        let lease = self.store.lease(self.place).await;
        let lease = self.heard(lease)?;
        let created = self.put_waiter(claim, lease).await?;
        let queued = Queued {
            id: claim.id.clone(),
            lease,
            created,
            entered: None,
            is_first: false,
            kept,
        };
        self.queued = Some(queued.clone());
        Ok(queued)
    }

    /// Makes the host's key. One that an earlier run of this host has left keeps its
    /// place, and is bound to the new lease.
    async fn put_waiter(&mut self, claim: &Claim, lease: Lease) -> Result<Revision, LockError> {
        let key = self.keys.waiter(&claim.id);
        let mut waiter = Waiter {
            claim: claim.clone(),
            since: self.clock.wall(),
        };
        let new = put(&key, 0, &waiter, lease)?;
        let made = self.store.commit(&new).await;
        if let Committed::Yes(revision) = self.heard(made)? {
            return Ok(revision);
        }
        let read = self.store.get(&key).await;
        if let Some(entry) = self.heard(read)?.entry {
            if let Ok(known) = Waiter::parse(&entry.value) {
                waiter.since = known.since;
            }
            let bind = put(&key, entry.created, &waiter, lease)?;
            let bound = self.store.commit(&bind).await;
            if self.heard(bound)? != Committed::No {
                return Ok(entry.created);
            }
        }
        Err(LockError::Failed {
            server: key,
            source: "the place in the queue went as soon as it was found".into(),
        })
    }

    /// Those who wait, as they were some time ago at most: the host that is first looks
    /// at the document each time it changes, and the queue is for people.
    pub(super) async fn recent_queue(&mut self) -> Result<Listing, LockError> {
        let now = self.clock.monotonic();
        let recent = self.listed.take();
        let recent = recent.filter(|(at, _)| now.saturating_sub(*at) < RECENT);
        let (at, queue) = match recent {
            Some(recent) => recent,
            None => (now, self.queue().await?),
        };
        self.listed = Some((at, queue.clone()));
        Ok(queue)
    }

    /// The host's place among those who wait.
    pub(super) fn position(&mut self, id: &HolderId, queue: &Listing) -> u32 {
        let key = self.keys.waiter(id);
        let shown = queue.entries.iter().zip(1..).find(|((k, _), _)| *k == key);
        let queued = self.queued.as_mut();
        let is_first = queued.as_ref().is_some_and(|queued| queued.is_first);
        let entered = queued.map(|queued| *queued.entered.get_or_insert(queue.count));
        match (shown, entered) {
            _ if is_first => 1,
            (Some((_, position)), _) => position,
            // Those who came later do not count, and are not told apart here.
            (None, entered) => entered
                .unwrap_or(queue.count)
                .min(queue.count)
                .max(SHOWN + 1),
        }
    }
}

/// Writes a host's key if it came to be at `created`.
fn put(key: &str, created: Revision, waiter: &Waiter, lease: Lease) -> Result<Txn, LockError> {
    let value = waiter
        .print()
        .map_err(|source| super::damaged(key, source))?;
    let key = key.to_owned();
    Ok(Txn {
        compare: vec![Compare::Created(key.clone(), created)],
        then: vec![Op::Put {
            key,
            value,
            lease: Some(lease),
        }],
    })
}
