//! The lock in etcd.
//!
//! A group has one document, changed only by compare-and-swap ([`crate::semaphore`]), and
//! a key for each host that waits, in the order in which these came to be. A waiting host
//! watches the one before it, so that a lock that becomes free wakes one host and not
//! all; the first in the queue watches the document. Keys of the queue are bound to
//! leases: who is gone leaves it by itself. The document is not: who holds the lock may
//! be rebooting.
//!
//! What a request did whose answer did not come is not guessed: the document is read
//! again. Requests that are still on their way then fail by their condition, since every
//! answer given here rests on a write of its own.

mod client;
mod error;
mod keys;
mod operator;
mod queue;
mod silent;
mod store;
mod wait;

use std::time::Duration;

use async_trait::async_trait;
use semver::Version;

use crate::lock::{
    Answer, Brake, Claim, Grant, GroupName, HolderId, Lock, LockError, Operator, Released, Report,
    SHOWN, Standing, View, Wait, Waiter,
};
use crate::record::{Document, Holder};
use crate::semaphore::{self, Asked, Place, Verdict};

pub use client::{Client, Options};
pub use keys::{Keys, PREFIX};
pub use queue::TTL;
pub use silent::TOUCH;
pub use store::{
    Clock, Committed, Compare, Entry, Fault, HostClock, Kept, Lease, Listing, Op, Query, Read,
    Revision, Store, StoreError, Txn,
};

use error::{check, damaged, twin};
use queue::Queued;
use silent::Silent;
use wait::Waits;

/// The shortest silence after which a holder can be taken for gone. A host that was told
/// that it holds the lock begins its reboot long before that.
pub const MIN_EXPIRE_AFTER: Duration = Duration::from_secs(600);

/// How often a change is tried again that others came before. Each time at least one of
/// them got on.
const ATTEMPTS: u32 = 16;

/// How often an answer that did not come is looked for.
const LOST_ANSWERS: u32 = 3;

/// What the host's policy says about its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The hosts it shares the lock with.
    pub group: GroupName,
    /// How many hosts have to report a release before this one is kept from it.
    pub brake_threshold: u32,
    /// After which silence a holder is taken for gone, at least [`MIN_EXPIRE_AFTER`].
    /// Never, if none.
    pub expire_after: Option<Duration>,
}

/// The lock of a group in etcd, as one host uses it.
pub struct EtcdLock<S = Client, C = HostClock> {
    store: S,
    clock: C,
    keys: Keys,
    brake_threshold: u32,
    expire_after: Option<Duration>,
    place: Duration,
    queued: Option<Queued>,
    waits: Option<Waits>,
    listed: Option<(Duration, Listing)>,
    silent: Silent,
}

impl EtcdLock {
    /// The lock at these servers. Nothing is asked and no file is read yet.
    pub fn open(options: Options, terms: Terms) -> Result<Self, LockError> {
        Ok(Self::new(
            Client::new(options)?,
            HostClock::default(),
            terms,
        ))
    }
}

/// A document, and what it takes to replace it.
struct Current {
    document: Document,
    modified: Revision,
    revision: Revision,
}

/// What is done with a document that was read.
enum Change<T> {
    /// It is replaced; if that works, this is the answer.
    Write(Document, T),
    /// It stays.
    Leave(T),
}

impl<S: Store, C: Clock> EtcdLock<S, C> {
    /// The lock that `store` keeps.
    pub fn new(store: S, clock: C, terms: Terms) -> Self {
        Self {
            store,
            clock,
            keys: Keys::new(terms.group),
            brake_threshold: terms.brake_threshold,
            expire_after: terms.expire_after.map(|long| long.max(MIN_EXPIRE_AFTER)),
            place: TTL,
            queued: None,
            waits: None,
            listed: None,
            silent: Silent::default(),
        }
    }

    /// A lock for hosts that are not connected while they wait: a place in the queue is kept
    /// for `long` after the host has asked.
    #[must_use]
    pub fn keeping_places_for(self, long: Duration) -> Self {
        Self {
            place: long,
            ..self
        }
    }

    async fn read(&mut self) -> Result<Current, LockError> {
        let read = self.store.get(&self.keys.semaphore).await;
        let read = self.heard(read)?;
        let document = match &read.entry {
            Some(entry) => Document::parse(&entry.value)
                .map_err(|source| damaged(&self.keys.semaphore, source))?,
            None => Document::default(),
        };
        self.silent.look(&document, self.clock.monotonic());
        Ok(Current {
            document,
            modified: read.entry.map_or(0, |entry| entry.modified),
            revision: read.revision,
        })
    }

    /// Whatever etcd says or does not say is noted for whose silence counts.
    fn heard<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, LockError> {
        match &answer {
            Ok(_) => self.silent.touch(self.clock.monotonic()),
            Err(_) => self.silent.lose_touch(),
        }
        answer.map_err(LockError::from)
    }

    /// Replaces the document if it still is the one that was read, and does `more` with it.
    async fn write(
        &self,
        current: &Current,
        document: &Document,
        more: Txn,
    ) -> Result<Committed, StoreError> {
        let value = document.print().map_err(|source| StoreError {
            fault: Fault::Failed,
            server: self.keys.semaphore.clone(),
            source: source.into(),
        })?;
        let semaphore = self.keys.semaphore.clone();
        let put = Op::Put {
            key: semaphore.clone(),
            value,
            lease: None,
        };
        let Txn {
            mut compare,
            mut then,
        } = more;
        compare.push(Compare::Modified(semaphore, current.modified));
        then.push(put);
        self.store.commit(&Txn { compare, then }).await
    }

    /// Reads, decides and writes until nobody came in between.
    async fn change<T>(
        &mut self,
        more: &Txn,
        mut decide: impl FnMut(&Document) -> Result<Change<T>, LockError> + Send,
    ) -> Result<T, LockError>
    where
        T: Send,
    {
        let mut tries = Tries::default();
        loop {
            let current = self.read().await?;
            let (document, answer) = match decide(&current.document)? {
                Change::Write(document, answer) => (document, answer),
                Change::Leave(answer) => return Ok(answer),
            };
            let written = self.write(&current, &document, more.clone()).await;
            if self.settled(written, &mut tries)? {
                return Ok(answer);
            }
        }
    }

    /// Whether a write was done. If not, or if nobody knows, it is to be tried again.
    fn settled(
        &mut self,
        written: Result<Committed, StoreError>,
        tries: &mut Tries,
    ) -> Result<bool, LockError> {
        let unknown = matches!(&written, Err(e) if e.fault != Fault::Denied);
        match self.heard(written) {
            Ok(Committed::Yes(_)) => Ok(true),
            Ok(Committed::No) if tries.beaten < ATTEMPTS => {
                tries.beaten += 1;
                Ok(false)
            }
            Ok(Committed::No) => Err(LockError::Failed {
                server: self.keys.semaphore.clone(),
                source: "others changed it each time".into(),
            }),
            Err(_) if unknown && tries.lost < LOST_ANSWERS => {
                tries.lost += 1;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Decides about a claim with the document as it is.
    fn verdict(&self, current: &Current, claim: &Claim, place: Place) -> Verdict {
        let now = self.clock.monotonic();
        let long = self.expire_after;
        let gone = long.map_or_else(Vec::new, |long| self.silent.gone(long, now));
        let asked = Asked {
            claim,
            place,
            now: self.clock.wall(),
            threshold: self.brake_threshold,
            gone: &gone,
        };
        semaphore::claim(&current.document, &asked)
    }

    fn view_of(&self, document: &Document, queue: &Listing) -> View {
        let known = |(_, entry): &(String, Entry)| Waiter::parse(&entry.value).ok();
        View {
            group: self.keys.group.clone(),
            max: document.max,
            holders: document.holders.clone(),
            queue: queue.entries.iter().filter_map(known).collect(),
            waiting: queue.count,
            brakes: semaphore::brakes(document, self.brake_threshold),
            expired: document.expired.clone(),
        }
    }

    async fn queue(&mut self) -> Result<Listing, LockError> {
        let query = Query::First { limit: SHOWN };
        let queue = self.store.list(&self.keys.queue, query).await;
        self.heard(queue)
    }

    /// The host does not get the lock now: what it is told, and what it waits for.
    async fn wait(
        &mut self,
        current: &Current,
        waits: Waits,
        id: &HolderId,
    ) -> Result<Answer, LockError> {
        self.waits = Some(waits);
        let queue = self.recent_queue().await?;
        let view = self.view_of(&current.document, &queue);
        let position = self.position(id, &queue);
        Ok(Answer::Waiting(Wait::Queued { position, view }))
    }

    /// The host must not have the release. It waits for a change of the document, which
    /// may lift the brake.
    async fn brake(&mut self, current: &Current, brake: Brake, id: &HolderId) -> Answer {
        self.waits = Some(self.document_after(current.revision));
        if self.queued.take().is_some() {
            // If it does not come through, the lease ends some minutes later.
            let left = self.store.commit(&self.leave(id)).await;
            let _ = self.heard(left);
        }
        Answer::Braked(brake)
    }
}

/// How often something was tried in vain.
#[derive(Debug, Default)]
struct Tries {
    beaten: u32,
    lost: u32,
}

#[async_trait]
impl<S: Store, C: Clock> Lock for EtcdLock<S, C> {
    async fn acquire(&mut self, claim: &Claim) -> Result<Answer, LockError> {
        check(claim)?;
        let mut tries = Tries::default();
        let mut gone: Vec<Holder> = Vec::new();
        self.waits = None;
        loop {
            let current = self.read().await?;
            let (verdict, waits) = self.turn(&current, claim, &tries).await?;
            match verdict {
                Verdict::Grant {
                    document,
                    holder,
                    expired,
                } => {
                    gone.extend(expired);
                    let leave = self.leave(&claim.id);
                    let written = self.write(&current, &document, leave).await;
                    if self.settled(written, &mut tries)? {
                        self.queued = None;
                        gone.retain(|holder| document.holder(&holder.claim.id).is_none());
                        let (holder, expired) = (*holder, gone);
                        return Ok(Answer::Granted(Grant { holder, expired }));
                    }
                }
                Verdict::Wait => return self.wait(&current, waits, &claim.id).await,
                Verdict::Braked(brake) => return Ok(self.brake(&current, brake, &claim.id).await),
                Verdict::Twin(holder) => return Err(twin(claim, &holder)),
            }
        }
    }

    async fn changed(&mut self) -> Result<(), LockError> {
        self.wait_for_change().await
    }

    async fn alive(&mut self, id: &HolderId) -> Result<Standing, LockError> {
        let now = self.clock.wall();
        let threshold = self.brake_threshold;
        self.change(&Txn::default(), |document| {
            Ok(match semaphore::alive(document, id, now, threshold) {
                Some((document, standing)) => Change::Write(document, standing),
                None => Change::Leave(Standing::Lost),
            })
        })
        .await
    }

    async fn release(&mut self, id: &HolderId) -> Result<Released, LockError> {
        let holder = self.take_out(id).await?;
        self.queued = None;
        self.waits = None;
        Ok(semaphore::released(holder.as_ref()))
    }

    async fn report_rollback(
        &mut self,
        report: &Report,
        version: &Version,
    ) -> Result<Option<Brake>, LockError> {
        let threshold = self.brake_threshold;
        self.change(&Txn::default(), |document| {
            let told = semaphore::report(document, report, version)
                .map_err(|why| LockError::Asked(format!("reporting {version}: {why}")))?;
            let brake = |document| semaphore::brake(document, version, threshold);
            Ok(match told {
                Some(after) => {
                    let brake = brake(&after);
                    Change::Write(after, brake)
                }
                None => Change::Leave(brake(document)),
            })
        })
        .await
    }

    async fn view(&mut self) -> Result<Option<View>, LockError> {
        let current = self.read().await?;
        let queue = self.queue().await?;
        Ok(Some(self.view_of(&current.document, &queue)))
    }

    fn operator(&mut self) -> Option<&mut dyn Operator> {
        Some(self)
    }
}
