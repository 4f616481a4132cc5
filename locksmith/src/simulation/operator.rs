//! Somebody who changes things while hosts contend, and puts them right in the end.

use super::host::Actor;
use super::lock;
use crate::lock::{Lock as _, LockError, Operator as _};

/// From when its host comes up until it goes down.
pub async fn live(mut actor: Actor) {
    loop {
        let fair = lock(&actor.world).fair;
        let done = match fair {
            true => put_right(&mut actor).await,
            false => meddle(&mut actor).await,
        };
        // Who cannot reach etcd tries again later.
        let most = if done.is_ok() { 400 } else { 20 };
        actor.pause(1, most).await;
    }
}

async fn meddle(actor: &mut Actor) -> Result<(), LockError> {
    let (has_say, max, lifts) = {
        let mut world = lock(&actor.world);
        let hosts = world.setup.hosts as u64;
        let max = world.random.below(hosts.min(4)) as u32;
        (world.setup.operator, max, world.random.one_in(2))
    };
    if !has_say {
        return Ok(());
    }
    match lifts {
        true => lift_all(actor).await,
        false => actor.lock.set_max(max).await.map(drop),
    }
}

async fn lift_all(actor: &mut Actor) -> Result<(), LockError> {
    let view = actor.lock.view().await?;
    for brake in view.into_iter().flat_map(|view| view.brakes) {
        actor.lock.lift(&brake.version).await?;
    }
    Ok(())
}

async fn put_right(actor: &mut Actor) -> Result<(), LockError> {
    let (max, dead) = {
        let world = lock(&actor.world);
        let dead = world.dead.map(|host| world.hosts[host].id.clone());
        (world.setup.max, dead)
    };
    actor.lock.set_max(max).await?;
    lift_all(actor).await?;
    // With more than one place, the others do without the one that is blocked.
    match dead.filter(|_| max == 1) {
        Some(dead) => actor.lock.unlock(&dead).await.map(drop),
        None => Ok(()),
    }
}
