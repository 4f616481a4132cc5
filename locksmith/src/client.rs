//! `locksmithctl`: a client of the daemon on D-Bus, without a private path. What it does to
//! the group goes through the daemon of this host, too.

mod args;
mod blocks;
mod proxy;
mod status;
mod unlock;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use ::daemon::client::{Service, generate};
use ::daemon::log::chain;
use jiff::Timestamp;
use serde_json::json;
use zbus::Connection;

pub use ::daemon::client::Output;
pub use args::{Args, Brake, Unlock, Verb};
pub use blocks::{Block, blocks};
pub use proxy::Locksmith1Proxy;
pub use status::render;

use crate::view::{Group, View};

/// How often it is looked whether a lock was granted.
const TICK: Duration = Duration::from_millis(500);

/// Longest semaphore that is read, in bytes.
const MAX_SEMAPHORE: u64 = 1024 * 1024;

/// The daemon that this is the client of.
#[derive(Debug)]
pub enum Locksmith {}

impl Service for Locksmith {
    const INTERFACE: &'static str = "org.ballast.Locksmith1";
    const UNIT: &'static str = "locksmithd";
}

/// Why a verb came to nothing.
pub type ClientError = ::daemon::client::ClientError<Locksmith>;

/// Asks whoever sits at the terminal; nobody answers where there is none.
pub type Confirm<'a> = &'a mut dyn FnMut(&str) -> Option<bool>;

/// Runs a verb that needs no daemon; `None` for all others.
pub fn run_offline(verb: &Verb) -> Option<Result<(), ClientError>> {
    match verb {
        Verb::Generate { dir } => Some(generate::<Args>(dir).map_err(ClientError::Output)),
        _ => None,
    }
}

/// Runs a verb that the daemon at the other end of `connection` carries out.
pub async fn run(
    verb: &Verb,
    connection: &Connection,
    output: &mut Output<'_>,
    confirm: Confirm<'_>,
) -> Result<(), ClientError> {
    let daemon = Locksmith1Proxy::builder(connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    match verb {
        Verb::Lock { no_wait, reason } => lock(&daemon, &reason.join(" "), *no_wait, output).await,
        Verb::Unlock(unlock) => unlock::run(&daemon, unlock, output, confirm).await,
        Verb::Status | Verb::WhoBlocks | Verb::Brake { verb: None } => {
            show(&daemon, verb, output).await
        }
        verb => {
            let message = change(&daemon, verb).await?;
            output.done(&message)
        }
    }
}

/// What only looks.
async fn show(
    daemon: &Locksmith1Proxy<'_>,
    verb: &Verb,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    if let Verb::Brake { .. } = verb {
        let group = ask_group(daemon).await?;
        return output.print(&group.brakes, || status::brakes(&group));
    }
    let (view, group) = look(daemon).await?;
    let now = Timestamp::now();
    if let Verb::WhoBlocks = verb {
        let found = blocks(&view, &group, now);
        let value = json!({ "blocked": !found.is_empty(), "by": found });
        return output.print(&value, || blocks::render(&view, &found));
    }
    let (shown, error) = parts(&group);
    let value = json!({ "host": view, "group": shown, "group_error": error });
    output.print(&value, || render(&view, &group, now))
}

/// What changes something at once. Answers what came of it.
async fn change(daemon: &Locksmith1Proxy<'_>, verb: &Verb) -> Result<String, ClientError> {
    Ok(match verb {
        Verb::Reboot { force, reason } => daemon.reboot(&reason.join(" "), *force).await?,
        Verb::SetMax { max } => daemon.set_max(*max).await?,
        Verb::Brake {
            verb: Some(Brake::Lift { version }),
        } => daemon.lift(&version.to_string()).await?,
        Verb::Migrate { file: None } => daemon.migrate("", &[]).await?,
        Verb::Migrate { file: Some(path) } => {
            let content = read(path)?;
            daemon
                .migrate(&path.display().to_string(), &content)
                .await?
        }
        _ => String::new(),
    })
}
/// What is known of a group, or why nothing is; nothing if there is none.
pub type GroupView = Option<Result<Group, String>>;

async fn look(daemon: &Locksmith1Proxy<'_>) -> Result<(View, GroupView), ClientError> {
    let view: View = parse(&daemon.describe().await?)?;
    if view.lock.group.is_none() {
        return Ok((view, None));
    }
    let group = match ask_group(daemon).await {
        Ok(group) => Ok(group),
        Err(ClientError::Failed(why) | ClientError::Refused(why)) => Err(why),
        Err(error) => return Err(error),
    };
    Ok((view, Some(group)))
}

fn parts(group: &GroupView) -> (Option<&Group>, Option<&String>) {
    match group {
        None => (None, None),
        Some(Ok(group)) => (Some(group), None),
        Some(Err(error)) => (None, Some(error)),
    }
}

async fn ask_group(daemon: &Locksmith1Proxy<'_>) -> Result<Group, ClientError> {
    parse(&daemon.group().await?)
}

/// Asks for the lock, and waits until it is held.
async fn lock(
    daemon: &Locksmith1Proxy<'_>,
    reason: &str,
    no_wait: bool,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let message = daemon.lock(reason).await?;
    if no_wait {
        return output.done(&message);
    }
    let mut told = None;
    loop {
        let view: View = parse(&daemon.describe().await?)?;
        if view.plan.state == "kept" {
            return output.done("the lock is held here until locksmithctl unlock");
        }
        if view.keep.is_none() {
            let why = "somebody gave it back meanwhile".into();
            return Err(ClientError::Refused(why));
        }
        let waits = status::waits(&view);
        if told.as_ref() != Some(&waits) {
            // A terminal that is gone stops nothing.
            let _ = writeln!(output.talk, "{waits}");
            told = Some(waits);
        }
        tokio::time::sleep(TICK).await;
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |error: std::io::Error| {
        ClientError::Failed(format!("reading {}: {}", path.display(), chain(&error)))
    };
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(MAX_SEMAPHORE + 1);
    file.read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_SEMAPHORE {
        let why = format!("{} is longer than {MAX_SEMAPHORE} bytes", path.display());
        return Err(ClientError::Refused(why));
    }
    Ok(content)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ClientError> {
    serde_json::from_str(text)
        .map_err(|error| ClientError::Failed(format!("the daemon's answer: {error}")))
}
