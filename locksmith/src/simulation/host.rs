//! What a host does: wants to reboot, gets the lock, reboots, releases it when it is well.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use semver::Version;

use super::defect::Sabotaged;
use super::operator;
use super::port::{Port, SimulatedClock};
use super::world::Disk;
use super::{Shared, lock};
use crate::etcd::{Clock as _, EtcdLock, Terms};
use crate::lock::{Answer, Claim, Lock as _, LockError, Report, Standing, Text};
use crate::record::HolderId;

/// The lock as hosts of the simulation have it.
pub type SimulatedLock = EtcdLock<Sabotaged, SimulatedClock>;

/// A host, running or not.
pub struct Host {
    world: Shared,
    number: usize,
    /// What it is doing, while it is up.
    doing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Host {
    pub fn new(world: &Shared, number: usize) -> Self {
        Self {
            world: world.clone(),
            number,
            doing: None,
        }
    }

    /// Goes on until it waits for something. Starts, if it is down.
    pub fn go_on(&mut self) {
        {
            let world = lock(&self.world);
            let is_dead = world.dead == Some(self.number);
            if is_dead || world.hosts[self.number].up_at.is_some() {
                return;
            }
        }
        let doing = self.doing.get_or_insert_with(|| {
            let actor = Actor::new(&self.world, self.number);
            let is_operator = self.number >= lock(&self.world).setup.hosts;
            match is_operator {
                true => Box::pin(operator::live(actor)),
                false => Box::pin(actor.live()),
            }
        });
        let mut context = Context::from_waker(Waker::noop());
        let _ = doing.as_mut().poll(&mut context);
        // It went down with the lock.
        if lock(&self.world).hosts[self.number].reboots {
            self.doing = None;
        }
    }

    /// Loses its memory; what it has sent is on its way.
    pub fn crash(&mut self) {
        self.doing = None;
        lock(&self.world).crashed(self.number);
    }
}

/// A host from inside.
pub struct Actor {
    pub world: Shared,
    pub number: usize,
    pub lock: SimulatedLock,
    pub clock: SimulatedClock,
    pub id: HolderId,
}

const SECOND: Duration = Duration::from_secs(1);

impl Actor {
    fn new(world: &Shared, number: usize) -> Self {
        let (setup, id, group) = {
            let world = lock(world);
            let id = world.hosts[number].id.clone();
            (world.setup, id, world.keys.group.clone())
        };
        let clock = SimulatedClock::new(world, number);
        let port = Port::new(world, number);
        let store = Sabotaged::new(port, id.as_str(), setup.defect, clock.clone());
        let terms = Terms {
            group,
            brake_threshold: 1,
            expire_after: setup.expire_after,
        };
        Self {
            world: world.clone(),
            number,
            lock: EtcdLock::new(store, clock.clone(), terms),
            clock,
            id,
        }
    }

    /// From when it comes up until it goes down.
    async fn live(mut self) {
        loop {
            let disk = lock(&self.world).hosts[self.number].disk;
            let done = match disk {
                Disk::Idle => self.idle().await,
                Disk::Wanting => self.want().await,
                Disk::Held => self.drain().await,
                Disk::Booted => self.settle().await,
            };
            if done.is_err() {
                self.pause(1, 20).await;
            }
        }
    }

    pub async fn pause(&self, least: u32, most: u32) {
        let pause = lock(&self.world).random.time(SECOND * least, SECOND * most);
        self.clock.sleep(pause).await;
    }

    fn becomes(&self, disk: Disk) {
        lock(&self.world).hosts[self.number].disk = disk;
    }

    async fn idle(&mut self) -> Result<(), LockError> {
        self.pause(1, 200).await;
        self.becomes(Disk::Wanting);
        Ok(())
    }

    fn claim(&self) -> Claim {
        let world = lock(&self.world);
        let boot = world.hosts[self.number].boot;
        Claim {
            id: self.id.clone(),
            host: Text::clip(self.id.as_str()),
            boot_id: Text::clip(&boot.to_string()),
            reason: Text::clip("update"),
            from: Some(Version::new(1, 0, 0)),
            to: Some(Version::new(1, world.target, 0)),
        }
    }

    async fn want(&mut self) -> Result<(), LockError> {
        // A window may close while one waits.
        if lock(&self.world).random.one_in(30) {
            return self.give_back().await;
        }
        let claim = self.claim();
        lock(&self.world).ledger.is_free.remove(&self.number);
        match self.lock.acquire(&claim).await? {
            Answer::Granted(_) => {
                lock(&self.world).told_held(self.number);
                self.becomes(Disk::Held);
                Ok(())
            }
            Answer::Waiting(_) => self.lock.changed().await,
            Answer::Braked(_) => {
                lock(&self.world).outcome.braked += 1;
                self.give_back().await
            }
        }
    }

    /// Grace for logins and hooks, with signs of life; the last one right before it goes
    /// down.
    async fn drain(&mut self) -> Result<(), LockError> {
        let signs = lock(&self.world).random.below(3);
        for _ in 0..signs {
            self.pause(1, 90).await;
            if !self.is_held().await? {
                return Ok(());
            }
        }
        // The window closes meanwhile.
        if lock(&self.world).random.one_in(4) {
            self.becomes(Disk::Wanting);
            return self.give_back().await;
        }
        if self.is_held().await? {
            self.reboot();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn reboot(&self) {
        let mut world = lock(&self.world);
        world.goes_down(self.number);
        // Some do not come back for hours.
        let is_long = world.setup.expire_after.is_some() && world.random.one_in(6);
        let most = if is_long { 7200 } else { 240 };
        let pause = world.random.time(SECOND * 20, SECOND * most);
        let up_at = world.now + pause;
        let host = &mut world.hosts[self.number];
        (host.up_at, host.reboots) = (Some(up_at), true);
        host.boot += 1;
    }

    async fn is_held(&mut self) -> Result<bool, LockError> {
        match self.lock.alive(&self.id).await? {
            Standing::Held => return Ok(true),
            Standing::Braked(_) => self.give_back().await?,
            Standing::Lost => {
                lock(&self.world).ledger.believes.remove(&self.number);
                self.becomes(Disk::Wanting);
            }
        }
        Ok(false)
    }

    /// After the reboot: it is blessed, or rolls back.
    async fn settle(&mut self) -> Result<(), LockError> {
        self.pause(1, 60).await;
        let rolls_back = {
            let mut world = lock(&self.world);
            world.setup.operator && !world.fair && world.random.one_in(8)
        };
        if rolls_back {
            let claim = self.claim();
            let report = Report {
                id: self.id.clone(),
                host: claim.host,
                reason: Text::clip("did not come up"),
                at: self.clock.wall(),
            };
            let version = claim.to.unwrap_or(Version::new(1, 0, 0));
            self.lock.report_rollback(&report, &version).await?;
        }
        self.give_back().await
    }

    async fn give_back(&mut self) -> Result<(), LockError> {
        lock(&self.world).ledger.believes.remove(&self.number);
        self.lock.release(&self.id).await?;
        lock(&self.world).told_free(self.number);
        self.becomes(Disk::Idle);
        Ok(())
    }
}
