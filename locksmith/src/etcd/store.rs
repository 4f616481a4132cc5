//! What the lock needs of etcd, and no more: whatever offers it can keep the lock.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A point in etcd's history. Each change of anything has one, and later ones are higher.
pub type Revision = i64;

/// The ID of a lease: keys that are bound to it go with it.
pub type Lease = i64;

/// What is kept at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// When the key came to be.
    pub created: Revision,
    /// When it was last written.
    pub modified: Revision,
}

/// Answer to [`Store::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The history that was seen.
    pub revision: Revision,
    /// What is at the key, if it is there.
    pub entry: Option<Entry>,
}

/// What is asked about keys with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The first ones that came to be, in order.
    First {
        /// How many at most.
        limit: u32,
    },
    /// Of those that came to be before this, the last; its value is not told.
    LastBefore(Revision),
    /// Only how many there are.
    Count,
}

/// Answer to [`Store::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The history that was seen.
    pub revision: Revision,
    /// Keys and what is there.
    pub entries: Vec<(String, Entry)>,
    /// How many keys there are with the prefix, in the answer or not.
    pub count: u32,
}

/// A condition of a [`Txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written then; never, if 0.
    Modified(String, Revision),
    /// The key came to be then; it is not there, if 0.
    Created(String, Revision),
}

/// A change in a [`Txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// What is to be there.
        value: Vec<u8>,
        /// The lease it is bound to from now on, instead of an earlier one.
        lease: Option<Lease>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

/// Changes that happen all at once, or not at all where a condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// The changes.
    pub then: Vec<Op>,
}

/// Answer to [`Store::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It happened, and made this revision.
    Yes(Revision),
    /// A condition did not hold.
    No,
}

/// Answer to [`Store::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The lease is good for its whole time again.
    Yes,
    /// There is no such lease any more.
    Gone,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer in time. What was asked for may have happened, or happen yet.
    Unreachable,
    /// There is no leader.
    NoLeader,
    /// This host is refused.
    Denied,
    /// The lease is not there.
    NoLease,
    /// It answers that it cannot.
    Failed,
}

/// Why etcd did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("asking {server}")]
pub struct StoreError {
    /// The kind.
    pub fault: Fault,
    /// Who was asked.
    pub server: String,
    /// What went wrong.
    pub source: Box<dyn StdError + Send + Sync>,
}

/// etcd, or what stands for it. Every call but [`Store::watch`] ends within a bounded
/// time.
#[async_trait]
pub trait Store: Send + Sync {
    /// What is at `key`, as the majority of members has it.
    async fn get(&self, key: &str) -> Result<Read, StoreError>;

    /// What there is of keys that begin with `prefix`.
    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError>;

    /// Makes the changes. May be tried more than once by this call: conditions tell the
    /// second time from the first.
    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError>;

    /// Returns once `key` was changed after `after`, which may have been already.
    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError>;

    /// A new lease.
    async fn lease(&self, ttl: Duration) -> Result<Lease, StoreError>;

    /// Renews a lease.
    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError>;
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        (**self).get(key).await
    }

    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError> {
        (**self).list(prefix, query).await
    }

    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError> {
        (**self).commit(txn).await
    }

    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        (**self).watch(key, after).await
    }

    async fn lease(&self, ttl: Duration) -> Result<Lease, StoreError> {
        (**self).lease(ttl).await
    }

    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError> {
        (**self).keep(lease).await
    }
}

/// The clocks of a host.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Time since some point in the past; never goes back, never jumps.
    fn monotonic(&self) -> Duration;

    /// What the host takes for the time of day. For people only.
    fn wall(&self) -> Timestamp;

    /// Returns after this long.
    async fn sleep(&self, duration: Duration);
}

/// The clocks of this host.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    start: std::time::Instant,
}

impl Default for HostClock {
    fn default() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for HostClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
