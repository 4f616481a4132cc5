//! What operators do to a group.

use async_trait::async_trait;
use semver::Version;

use super::{Change, Clock, Compare, EtcdLock, Store, Txn};
use crate::classic::{self, Classic};
use crate::lock::{Brake, ClassicFile, Holder, HolderId, LockError, Migration, Operator};
use crate::record::{Document, MAX_HOLDERS};
use crate::semaphore;

/// A classic semaphore, where it was, and what must still be true of it.
struct Found {
    from: String,
    content: Vec<u8>,
    unchanged: Option<Compare>,
}

impl<S: Store, C: Clock> EtcdLock<S, C> {
    /// Takes `id` out of the document and the queue.
    pub(super) async fn take_out(&mut self, id: &HolderId) -> Result<Option<Holder>, LockError> {
        // If an answer is lost, the next look does not find it any more.
        let mut known = None;
        let leave = self.leave(id);
        self.change(&leave, |document| {
            let (document, holder) = semaphore::release(document, id);
            known = holder.or(known.take());
            Ok(Change::Write(document, known.clone()))
        })
        .await
    }

    async fn find_classic(&mut self) -> Result<Found, LockError> {
        let keys = classic::keys(&self.keys.group);
        for key in &keys {
            let read = self.store.get(key).await;
            if let Some(entry) = self.heard(read)?.entry {
                return Ok(Found {
                    from: key.clone(),
                    content: entry.value,
                    unchanged: Some(Compare::Modified(key.clone(), entry.modified)),
                });
            }
        }
        Err(LockError::Asked(format!(
            "etcd has no classic semaphore of group {}: none of {} is there; a cluster whose v2 \
             data was not migrated has it as a file only",
            self.keys.group,
            keys.join(", ")
        )))
    }
}

#[async_trait]
impl<S: Store, C: Clock> Operator for EtcdLock<S, C> {
    async fn set_max(&mut self, max: u32) -> Result<u32, LockError> {
        if max > MAX_HOLDERS {
            let why = format!("{max} hosts at once are too many; the most is {MAX_HOLDERS}");
            return Err(LockError::Asked(why));
        }
        self.change(&Txn::default(), |document| {
            let after = semaphore::set_max(document, max);
            Ok(match document.max == max {
                true => Change::Leave(max),
                false => Change::Write(after, document.max),
            })
        })
        .await
    }

    async fn unlock(&mut self, id: &HolderId) -> Result<Option<Holder>, LockError> {
        self.take_out(id).await
    }

    async fn lift(&mut self, version: &Version) -> Result<Option<Brake>, LockError> {
        let threshold = self.brake_threshold;
        self.change(&Txn::default(), |document| {
            let brake = semaphore::brake(document, version, threshold);
            Ok(match semaphore::lift(document, version) {
                Some((after, _)) => Change::Write(after, brake),
                None => Change::Leave(None),
            })
        })
        .await
    }

    async fn migrate(&mut self, source: Option<ClassicFile>) -> Result<Migration, LockError> {
        let found = match source {
            Some(file) => Found {
                from: file.name,
                content: file.content,
                unchanged: None,
            },
            None => self.find_classic().await?,
        };
        let classic = Classic::parse(&found.content).map_err(|source| LockError::Content {
            key: found.from.clone(),
            advice: "nothing was taken over",
            source: source.into(),
        })?;
        let now = self.clock.wall();
        let unchanged = Txn {
            compare: found.unchanged.into_iter().collect(),
            then: Vec::new(),
        };
        let mut tried: Option<(Document, Migration)> = None;
        self.change(&unchanged, |document| {
            // It was done, and only the answer was lost.
            if let Some((_, migration)) = tried.take_if(|(after, _)| after == document) {
                return Ok(Change::Leave(migration));
            }
            let (after, holders) = semaphore::migrate(document, &classic, &found.from, now)
                .map_err(|why| LockError::Asked(why.to_string()))?;
            let migration = Migration {
                from: found.from.clone(),
                max: after.max,
                holders,
            };
            tried = Some((after.clone(), migration.clone()));
            Ok(Change::Write(after, migration))
        })
        .await
    }
}
