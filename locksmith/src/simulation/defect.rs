//! Deliberate defects of the lock's code, as far as they show in what it asks etcd. A
//! simulation that does not notice them is worth nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::port::{Port, SimulatedClock};
use crate::etcd::{
    Clock as _, Committed, Fault, Kept, Lease, Listing, Op, Query, Read, Revision, Store,
    StoreError, Txn,
};
use crate::record::{Document, Expired, Holder, MAX_EXPIRED};
use async_trait::async_trait;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The document is written without looking whether it still is the one that was read.
    NoCompare,
    /// One more than `max` may hold the lock.
    OneTooMany,
    /// An answer that did not come is taken for success.
    SilenceIsSuccess,
    /// A holder is told that it holds the lock by a read: a release of its own that is
    /// still on its way comes after that.
    HolderIsNotWritten,
    /// Who does not hold the lock releases it by a read: a grant that is still on its way
    /// comes after that.
    ReleaseIsNotWritten,
    /// The key in the queue is not removed with the grant.
    KeyStays,
    /// What happened between a read and the watch is missed.
    WatchFromNow,
    /// The document is bound to the lease of whoever writes it.
    DocumentOnLease,
    /// A holder is taken for gone by the times of day of two hosts.
    ExpiryByTimeOfDay,
    /// Nobody looks at brakes.
    NoBrake,
}

/// All of them.
const ALL: [Defect; 10] = [
    Defect::NoCompare,
    Defect::OneTooMany,
    Defect::SilenceIsSuccess,
    Defect::HolderIsNotWritten,
    Defect::ReleaseIsNotWritten,
    Defect::KeyStays,
    Defect::WatchFromNow,
    Defect::DocumentOnLease,
    Defect::ExpiryByTimeOfDay,
    Defect::NoBrake,
];

impl Defect {
    /// All of them.
    pub fn all() -> [Self; ALL.len()] {
        ALL
    }
}

/// etcd, asked by code with a defect.
pub struct Sabotaged {
    port: Port,
    own: String,
    defect: Option<Defect>,
    clock: SimulatedClock,
    seen: Mutex<Seen>,
}

/// What was read and granted last.
#[derive(Default)]
struct Seen {
    document: Option<Document>,
    lease: Option<Lease>,
}

impl Sabotaged {
    pub fn new(port: Port, own: &str, defect: Option<Defect>, clock: SimulatedClock) -> Self {
        Self {
            port,
            own: own.to_owned(),
            defect,
            clock,
            seen: Mutex::default(),
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host believes it has read.
    fn misread(&self, mut document: Document) -> Document {
        self.seen().document = Some(document.clone());
        match self.defect {
            Some(Defect::OneTooMany) => document.max += 1,
            Some(Defect::NoBrake) => document.brakes.clear(),
            Some(Defect::ExpiryByTimeOfDay) => self.expire(&mut document),
            _ => {}
        }
        document
    }

    /// Removes who has not been seen for long, by the clocks of two hosts.
    fn expire(&self, document: &mut Document) {
        let Some(long) = self.clock.expire_after() else {
            return;
        };
        let now = self.clock.wall();
        let is_gone = |holder: &Holder| {
            holder.claim.id.as_str() != self.own
                && now.duration_since(holder.seen).as_secs() >= long.as_secs() as i64
        };
        let gone = document.holders.iter().filter(|holder| is_gone(holder));
        let expired = gone.map(|holder| Expired {
            id: holder.claim.id.clone(),
            host: holder.claim.host.clone(),
            by: holder.claim.id.clone(),
            at: now,
        });
        document.expired = expired.take(MAX_EXPIRED).collect();
        document.holders.retain(|holder| !is_gone(holder));
    }

    /// What the host writes. None if it does not.
    fn mistaken(&self, txn: &Txn) -> Option<Txn> {
        let mut txn = txn.clone();
        let is_document =
            |op: &Op| matches!(op, Op::Put { key, .. } if key.ends_with("/semaphore"));
        let Some(at) = txn.then.iter().position(is_document) else {
            return Some(txn);
        };
        if let Op::Put { value, lease, .. } = &mut txn.then[at]
            && let Ok(document) = Document::parse(value)
        {
            let written = self.miswritten(document)?;
            *value = written.print().unwrap_or_default();
            if self.has(Defect::DocumentOnLease) {
                *lease = self.seen().lease;
            }
        }
        match self.defect {
            Some(Defect::NoCompare) => txn.compare.clear(),
            Some(Defect::KeyStays) => txn.then.retain(|op| !matches!(op, Op::Delete { .. })),
            _ => {}
        }
        Some(txn)
    }

    fn miswritten(&self, mut document: Document) -> Option<Document> {
        let seen = self.seen().document.clone();
        let Some(seen) = seen else {
            return Some(document);
        };
        let holds = holders(&document).contains(&self.own);
        let is_same = holders(&document) == holders(&seen) && document.brakes == seen.brakes;
        match self.defect {
            Some(Defect::HolderIsNotWritten) if holds && is_same => return None,
            Some(Defect::ReleaseIsNotWritten) if document == seen => return None,
            Some(Defect::OneTooMany) => document.max = document.max.saturating_sub(1),
            Some(Defect::NoBrake) if document.brakes.is_empty() => document.brakes = seen.brakes,
            _ => {}
        }
        Some(document)
    }
}

fn holders(document: &Document) -> BTreeSet<String> {
    let ids = document.holders.iter().map(|h| h.claim.id.to_string());
    ids.collect()
}

#[async_trait]
impl Store for Sabotaged {
    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        let mut read = self.port.get(key).await?;
        if key.ends_with("/semaphore")
            && let Some(entry) = &mut read.entry
            && let Ok(document) = Document::parse(&entry.value)
        {
            entry.value = self.misread(document).print().unwrap_or_default();
        }
        Ok(read)
    }

    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError> {
        self.port.list(prefix, query).await
    }

    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError> {
        let Some(txn) = self.mistaken(txn) else {
            return Ok(Committed::Yes(0));
        };
        match self.port.commit(&txn).await {
            Err(error)
                if error.fault == Fault::Unreachable && self.has(Defect::SilenceIsSuccess) =>
            {
                Ok(Committed::Yes(0))
            }
            other => other,
        }
    }

    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        match self.has(Defect::WatchFromNow) {
            true => self.port.watch_from_now(key).await,
            false => self.port.watch(key, after).await,
        }
    }

    async fn lease(&self, ttl: Duration) -> Result<Lease, StoreError> {
        let lease = self.port.lease(ttl).await?;
        self.seen().lease = Some(lease);
        Ok(lease)
    }

    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError> {
        self.port.keep(lease).await
    }
}
