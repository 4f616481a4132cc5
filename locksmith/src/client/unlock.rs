//! `locksmithctl unlock`: for another host, only after it was said what that means.

use ::daemon::client::{Output, ago};
use jiff::Timestamp;

use super::args::Unlock;
use super::proxy::Locksmith1Proxy;
use super::status::errand;
use super::{ClientError, Confirm, ask_group, parse};
use crate::lock::Holder;
use crate::view::{Group, View};

/// Gives back this host's lock, or takes another's.
pub async fn run(
    daemon: &Locksmith1Proxy<'_>,
    unlock: &Unlock,
    output: &mut Output<'_>,
    confirm: Confirm<'_>,
) -> Result<(), ClientError> {
    let Some(name) = &unlock.id else {
        let message = daemon.unlock("").await?;
        return output.done(&message);
    };
    let view: View = parse(&daemon.describe().await?)?;
    let group = ask_group(daemon).await?;
    let id = find(&group, name)?;
    if id != view.host.id && !unlock.yes {
        let _ = write!(output.talk, "{}", explain(&group, &id, Timestamp::now()));
        match confirm(&format!("Take it from {name}? [y/N] ")) {
            Some(true) => {}
            Some(false) => return Err(ClientError::Refused("nothing was changed".into())),
            None => {
                let why = format!("nothing was changed; to do it: locksmithctl unlock {id} --yes");
                return Err(ClientError::Refused(why));
            }
        }
    }
    let message = daemon.unlock(&id).await?;
    output.done(&message)
}

/// The ID of the host that is called `name`, by its ID or its name.
fn find(group: &Group, name: &str) -> Result<String, ClientError> {
    let claims = group.holders.iter().map(|holder| &holder.claim);
    let claims = claims.chain(group.queue.iter().map(|waiter| &waiter.claim));
    let mut found: Vec<_> = claims
        .filter(|claim| claim.id.as_str() == name || &*claim.host == name)
        .map(|claim| claim.id.to_string())
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        // One that nobody knows is the daemon's to answer.
        [] => Ok(name.to_string()),
        [id] => Ok(id.clone()),
        some => Err(ClientError::Refused(format!(
            "several hosts are called {name}: {}; name one by its ID",
            some.join(", ")
        ))),
    }
}

/// What taking the lock from a host means.
fn explain(group: &Group, id: &str, now: Timestamp) -> String {
    let holder = |holder: &&Holder| holder.claim.id.as_str() == id;
    let Some(holder) = group.holders.iter().find(holder) else {
        return format!(
            "{id} does not hold the lock of group {}; it is removed from the queue if it \
             waits.\n",
            group.group
        );
    };
    let claim = &holder.claim;
    let free = match group.waiting {
        0 => "the next host that asks may reboot".to_string(),
        _ => match group.queue.first() {
            Some(next) => format!("{} reboots next", next.claim.host),
            None => "the next one in the queue reboots".to_string(),
        },
    };
    format!(
        "{} ({id}) holds the lock of group {} {}, for: {}.\n\
         It gave its last sign of life {}, by its own clock.\n\
         If it is gone for good, its place becomes free: {free}.\n\
         If it still runs, it may reboot at any moment, and one host more than {} is down.\n",
        claim.host,
        group.group,
        format_args!("since {}", ago(holder.since, now)),
        errand(claim),
        ago(holder.seen, now),
        group.max,
    )
}

#[cfg(test)]
mod tests;
