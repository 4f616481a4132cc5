//! The model of etcd without anything in between, for tests that need an etcd and are not
//! about one. Leases last for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::model::Model;
use crate::etcd::{
    Committed, Fault, Kept, Lease, Listing, Query, Read, Revision, Store, StoreError, Txn,
};

/// An etcd in this process.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    model: Arc<Mutex<Model>>,
    changed: Arc<Notify>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Memory {
    /// From now on it answers with this, if it is not none.
    pub fn fail(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.changed.notify_waiters();
    }

    fn model(&self) -> Result<MutexGuard<'_, Model>, StoreError> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => Err(error(fault)),
            None => Ok(self.model.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

fn error(fault: Fault) -> StoreError {
    StoreError {
        fault,
        server: "an etcd in memory".to_owned(),
        source: "it was told to".into(),
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        Ok(self.model()?.get(key))
    }

    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError> {
        Ok(self.model()?.list(prefix, &query))
    }

    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError> {
        let committed = self.model()?.commit(txn);
        self.changed.notify_waiters();
        committed.ok_or_else(|| error(Fault::NoLease))
    }

    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        loop {
            let changed = self.changed.notified();
            if self.model()?.changed_since(key, after) {
                return Ok(());
            }
            changed.await;
        }
    }

    async fn lease(&self, _: Duration) -> Result<Lease, StoreError> {
        Ok(self.model()?.lease(Duration::MAX / 2, Duration::ZERO))
    }

    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError> {
        Ok(self.model()?.keep(lease, Duration::ZERO))
    }
}
