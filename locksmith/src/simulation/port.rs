//! How a host of the simulation reaches etcd and its clocks.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::network::{Answer, Reply, Request};
use super::{Shared, lock};
use crate::etcd::{
    Clock, Committed, Fault, Kept, Lease, Listing, Query, Read, Revision, Store, StoreError, Txn,
};

/// etcd, as one host sees it.
#[derive(Clone)]
pub struct Port {
    world: Shared,
    host: usize,
}

impl Port {
    pub fn new(world: &Shared, host: usize) -> Self {
        Self {
            world: world.clone(),
            host,
        }
    }

    async fn ask<T>(
        &self,
        request: Request,
        expected: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, StoreError> {
        let id = lock(&self.world).send(self.host, request);
        let call = Call {
            world: self.world.clone(),
            id,
        };
        let reply = call.await.map_err(error)?;
        expected(reply).ok_or_else(|| error(Fault::Failed))
    }

    /// Watches from whatever is there when etcd hears of it.
    pub async fn watch_from_now(&self, key: &str) -> Result<(), StoreError> {
        let request = Request::Watch(key.to_owned(), None);
        self.ask(request, |reply| {
            matches!(reply, Reply::Changed).then_some(())
        })
        .await
    }
}

fn error(fault: Fault) -> StoreError {
    StoreError {
        fault,
        server: "the simulated etcd".to_owned(),
        source: "as simulated".into(),
    }
}

/// Waits for an answer; if it is dropped, nobody does.
struct Call {
    world: Shared,
    id: u64,
}

impl Future for Call {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        match lock(&self.world).answers.remove(&self.id) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.world).forget(self.id);
    }
}

#[async_trait]
impl Store for Port {
    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        let request = Request::Get(key.to_owned());
        self.ask(request, |reply| match reply {
            Reply::Read(read) => Some(read),
            _ => None,
        })
        .await
    }

    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError> {
        let request = Request::List(prefix.to_owned(), query);
        self.ask(request, |reply| match reply {
            Reply::Listing(listing) => Some(listing),
            _ => None,
        })
        .await
    }

    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError> {
        let request = Request::Commit(txn.clone());
        self.ask(request, |reply| match reply {
            Reply::Committed(committed) => Some(committed),
            _ => None,
        })
        .await
    }

    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        let request = Request::Watch(key.to_owned(), Some(after));
        self.ask(request, |reply| {
            matches!(reply, Reply::Changed).then_some(())
        })
        .await
    }

    async fn lease(&self, ttl: Duration) -> Result<Lease, StoreError> {
        self.ask(Request::Lease(ttl), |reply| match reply {
            Reply::Lease(lease) => Some(lease),
            _ => None,
        })
        .await
    }

    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError> {
        self.ask(Request::Keep(lease), |reply| match reply {
            Reply::Kept(kept) => Some(kept),
            _ => None,
        })
        .await
    }
}

/// The clocks of one host.
#[derive(Clone)]
pub struct SimulatedClock {
    world: Shared,
    host: usize,
}

impl SimulatedClock {
    pub fn new(world: &Shared, host: usize) -> Self {
        Self {
            world: world.clone(),
            host,
        }
    }

    /// What the policy of this host says of silent holders.
    pub fn expire_after(&self) -> Option<Duration> {
        lock(&self.world).setup.expire_after
    }
}

/// The day on which simulations begin.
const EPOCH: i64 = 1_800_000_000;

#[async_trait]
impl Clock for SimulatedClock {
    fn monotonic(&self) -> Duration {
        let world = lock(&self.world);
        world.now + world.hosts[self.host].since
    }

    fn wall(&self) -> Timestamp {
        let world = lock(&self.world);
        let seconds = EPOCH + world.now.as_secs() as i64 + world.hosts[self.host].wrong;
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        let timer = {
            let mut world = lock(&self.world);
            let (id, due) = (world.number(), world.now + duration);
            world.timers.insert(id, (self.host, due));
            Timer {
                world: self.world.clone(),
                id,
                due,
            }
        };
        timer.await;
    }
}

struct Timer {
    world: Shared,
    id: u64,
    due: Duration,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match lock(&self.world).now >= self.due {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        lock(&self.world).timers.remove(&self.id);
    }
}
