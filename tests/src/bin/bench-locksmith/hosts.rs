//! What hosts do.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use locksmith::etcd::EtcdLock;
use locksmith::lock::{Answer, Claim, HolderId, Lock as _, Operator as _, Text};
use semver::Version;
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use crate::cluster::Cluster;

/// Hosts that wait while they are watched, and that have nothing to do.
const WAITING: u32 = 50;
const IDLE: u32 = 50;

const GROUP: &str = "bench";

/// All hosts wanted the lock at once, and had it in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drained {
    /// How many.
    pub hosts: u32,
    /// From when they began to when the last had given it back.
    pub time: Duration,
    /// How many requests etcd had meanwhile, of each kind.
    pub requests: BTreeMap<String, u64>,
}

/// Hosts that only wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waited {
    /// How long.
    pub time: Duration,
    /// Requests of one that waits for the lock, for an hour.
    pub waiting: f64,
    /// Requests of one that has nothing to do, for an hour.
    pub idle: f64,
}

fn claim(host: u32) -> Result<Claim> {
    Ok(Claim {
        id: HolderId::new(format!("{host:032x}")).context("naming a host")?,
        host: Text::clip(&format!("node-{host}.example.org")),
        boot_id: Text::clip("0b7dd7a0-8a3c-4b4e-9f0f-6b0b1c3f5a11"),
        reason: Text::clip("update to 1.1.0"),
        from: Some(Version::new(1, 0, 0)),
        to: Some(Version::new(1, 1, 0)),
    })
}

async fn total(cluster: &Cluster) -> Result<u64> {
    Ok(cluster.requests().await?.values().sum())
}

/// Measures how long it takes until each of `hosts` had the lock once. A host gives it
/// back at once: what is measured is the lock and not a reboot.
pub async fn drain(cluster: &Cluster, hosts: u32, max: u32) -> Result<Drained> {
    cluster.lock(0, GROUP)?.set_max(max).await?;
    let before = cluster.requests().await?;
    let start = Rc::new(Barrier::new(hosts as usize));
    let began = Instant::now();
    let local = LocalSet::new();
    let tasks = (0..hosts).map(|host| {
        let lock = cluster.lock(host, GROUP)?;
        Ok(local.spawn_local(have_it_once(lock, claim(host)?, start.clone())))
    });
    let tasks = tasks.collect::<Result<Vec<_>>>()?;
    local
        .run_until(async {
            for task in tasks {
                task.await.context("running a host")??;
            }
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    let time = began.elapsed();
    let mut requests = cluster.requests().await?;
    for (kind, number) in &mut requests {
        *number -= before.get(kind).copied().unwrap_or(0);
    }
    Ok(Drained {
        hosts,
        time,
        requests,
    })
}

async fn have_it_once(mut lock: EtcdLock, claim: Claim, start: Rc<Barrier>) -> Result<()> {
    start.wait().await;
    loop {
        match lock.acquire(&claim).await {
            Ok(Answer::Granted(_)) => break,
            Ok(Answer::Waiting(_)) => lock.changed().await?,
            Ok(Answer::Braked(brake)) => anyhow::bail!("{} is under a brake", brake.version),
            // As a daemon does, which would wait for longer.
            Err(error) if error.is_outage() => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => return Err(error.into()),
        }
    }
    while let Err(error) = lock.release(&claim.id).await {
        ensure!(error.is_outage(), error);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Counts requests of hosts that wait for a lock which does not become free, and of hosts
/// that want nothing.
pub async fn wait(cluster: &Cluster, watch: Duration) -> Result<Waited> {
    let mut holder = cluster.lock(0, GROUP)?;
    holder.acquire(&claim(0)?).await?;
    let idle = (0..IDLE).map(|host| cluster.lock(host, "idle"));
    let mut idle = idle.collect::<Result<Vec<_>>>()?;
    // They are connected: each was asked something once.
    for lock in &mut idle {
        lock.view().await?;
    }
    let before = total(cluster).await?;
    tokio::time::sleep(watch).await;
    let by_idle = total(cluster).await? - before;
    let mut waiting = Vec::new();
    for host in 1..=WAITING {
        let mut lock = cluster.lock(host, GROUP)?;
        lock.acquire(&claim(host)?).await?;
        waiting.push(lock);
    }
    let local = LocalSet::new();
    for mut lock in waiting {
        local.spawn_local(async move { while lock.changed().await.is_ok() {} });
    }
    let by_waiting = local
        .run_until(async {
            // Their watches are open.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = total(cluster).await?;
            tokio::time::sleep(watch).await;
            Ok::<_, anyhow::Error>(total(cluster).await? - before)
        })
        .await?;
    let hourly = |requests: u64, hosts: u32| {
        requests as f64 / f64::from(hosts) * 3600.0 / watch.as_secs_f64()
    };
    Ok(Waited {
        time: watch,
        waiting: hourly(by_waiting, WAITING),
        idle: hourly(by_idle, IDLE),
    })
}
