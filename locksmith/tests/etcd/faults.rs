//! Hosts contend while members are killed, stopped and cut off.

use std::fs::File;
use std::rc::Rc;
use std::time::{Duration, Instant};

use locksmith::etcd::Options;
use locksmith::lock::{Answer, Lock as _, Operator as _, Standing};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use crate::cluster::{Cluster, MEMBERS};
use crate::history::{Event, History};
use crate::{claim, lock, until};

const HOSTS: usize = 12;
const MAX: u32 = 2;

/// How long things go wrong for.
const STORM: Duration = Duration::from_secs(60);

/// How long everybody has to get the lock after that.
const CALM: Duration = Duration::from_secs(90);

#[test]
fn the_lock_outlives_every_member() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path());
    // Sockets belong to the namespace of the thread that makes them.
    let hub = File::open(format!("/run/netns/{}", cluster.network.hub())).unwrap();
    setns(hub, CloneFlags::CLONE_NEWNET).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let first = cluster.options(0);
        until(Duration::from_secs(60), async || {
            lock(&first, "g").set_max(MAX).await
        })
        .await;
        let history = Rc::new(History::new());
        for host in 0..HOSTS {
            let options = cluster.options(host);
            tokio::task::spawn_local(contend(host, options, history.clone()));
        }
        storm(&mut cluster).await;
        let calm = Instant::now();
        while history.served(calm).len() < HOSTS {
            let served = history.served(calm);
            assert!(calm.elapsed() < CALM, "only {served:?} got the lock");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        history.check(MAX as usize);
        let grants = history.grants();
        println!(
            "{grants} grants, everybody served {:?} after the last fault",
            calm.elapsed()
        );
        assert!(grants > 5 * HOSTS, "{grants} grants");
    });
}

/// One fault after the other, each for longer than a request takes, and for longer than
/// the members take to elect another leader.
async fn storm(cluster: &mut Cluster) {
    let end = Instant::now() + STORM;
    for turn in 0.. {
        if Instant::now() > end {
            return;
        }
        let (member, other) = (turn % MEMBERS, (turn + 1) % MEMBERS);
        let pause = Duration::from_secs(4 + turn as u64 % 3 * 2);
        match turn % 5 {
            0 => {
                cluster.members[member].kill();
                tokio::time::sleep(pause).await;
                cluster.members[member].run();
            }
            1 => {
                cluster.members[member].signal(Signal::SIGSTOP);
                tokio::time::sleep(pause).await;
                cluster.members[member].signal(Signal::SIGCONT);
            }
            2 => {
                cluster.network.cut(member);
                tokio::time::sleep(pause).await;
                cluster.network.heal(member);
            }
            // No majority.
            3 => {
                cluster.network.cut(member);
                cluster.members[other].signal(Signal::SIGSTOP);
                tokio::time::sleep(pause).await;
                cluster.members[other].signal(Signal::SIGCONT);
                cluster.network.heal(member);
            }
            _ => {
                for one in &mut cluster.members {
                    one.kill();
                }
                for one in &mut cluster.members {
                    one.run();
                }
                tokio::time::sleep(pause).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// A host: gets the lock, holds it for a while, gives it back, for ever. Now and then its
/// daemon starts anew and knows nothing.
async fn contend(host: usize, options: Options, history: Rc<History>) {
    let claim = claim(&format!("host-{host}"));
    let pause = Duration::from_millis(20 + 7 * host as u64);
    for turn in 0_usize.. {
        let mut own = lock(&options, "g");
        // Waits for as long as it takes.
        loop {
            match own.acquire(&claim).await {
                Ok(Answer::Granted(_)) => break,
                Ok(_) => drop(own.changed().await),
                Err(_) => tokio::time::sleep(pause * 10).await,
            }
        }
        history.note(host, Event::Granted);
        tokio::time::sleep(pause).await;
        if (turn + host).is_multiple_of(4) {
            own = lock(&options, "g");
        }
        let standing = until(STORM * 2, async || own.alive(&claim.id).await).await;
        if standing != Standing::Held {
            history.note(host, Event::Lost);
        }
        tokio::time::sleep(pause).await;
        history.note(host, Event::GivesBack);
        until(STORM * 2, async || own.release(&claim.id).await).await;
        tokio::time::sleep(pause).await;
    }
}
