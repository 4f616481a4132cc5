//! The daemon: one thread that decides, and one for an attempt while there is one.

mod commands;
mod core;
mod show;
mod task;
mod work;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use daemon::log;
use daemon::policy::Roots;
use daemon::policy::watch::Watch;
use semver::Version;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::host::Host;
use crate::state::{Record, Store};
use crate::updater::Updater;
use crate::view::{Finished, View};

pub use self::core::Core;
pub use self::work::Done;

/// How often figures are brought up to date while an installation runs.
const TICK: Duration = Duration::from_millis(500);

/// What a daemon stands on.
pub struct Setup {
    /// Its files.
    pub store: Store,
    /// What runs, or why that is not known; then no slot is touched.
    pub host: Result<Host, String>,
    /// Asks servers and writes slots.
    pub updater: Option<Arc<dyn Updater>>,
    /// Reboots.
    pub machine: Box<dyn Machine>,
    /// Where the policy is.
    pub roots: Roots,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("host", &self.host).finish()
    }
}

/// What the daemon does to the machine besides its slots.
pub trait Machine: Send {
    /// Asks for an orderly reboot, and returns.
    fn reboot(&self) -> std::io::Result<()>;
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask the server what it offers.
    Check,
    /// Take a release now.
    Apply {
        /// Which one; the channel's, if none is named.
        version: Option<Version>,
        /// Also if it is older than what runs.
        downgrade: bool,
    },
    /// Go back to the other slot.
    RollBack {
        /// At once.
        reboot: bool,
    },
    /// The running release is healthy.
    Bless,
    /// Take no release by policy.
    Hold {
        /// Why.
        reason: String,
    },
    /// Take releases by policy again.
    Unhold,
    /// Take a denied version again.
    Allow(Version),
    /// Follow another channel.
    SetChannel(String),
    /// Stop what is going on, or take an armed release back.
    Cancel,
    /// Every attempt.
    History,
}

/// What a command gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It is begun, under this number.
    Job(u32),
    /// Every attempt, oldest first.
    History(Vec<Record>),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not in this state, or not with these arguments.
    #[error("{0}")]
    Refused(String),
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
}

/// A command, and where the answer goes.
pub type Request = (Command, oneshot::Sender<Result<Answer, CommandError>>);

/// The daemon's ends of what connects it to D-Bus.
#[derive(Debug)]
pub struct Ends {
    /// Commands come from here.
    pub requests: mpsc::Receiver<Request>,
    /// What is shown goes here.
    pub view: watch::Sender<View>,
    /// Jobs that ended go here.
    pub finished: mpsc::UnboundedSender<Finished>,
}

/// Runs until nobody can send commands any more, or `stop` is ready. What was begun is
/// cut off then, and goes on after the next start.
pub async fn run(setup: Setup, mut ends: Ends, stop: impl Future<Output = ()>) {
    let (done, mut work) = mpsc::unbounded_channel();
    let mut files = watch_policy(&setup.roots);
    let mut core = Core::new(setup, done, ends.finished.clone());
    core.start();
    let mut stop = std::pin::pin!(stop);
    loop {
        let view = core.view();
        ends.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
        tokio::select! {
            () = &mut stop => return,
            request = ends.requests.recv() => match request {
                Some((command, answer)) => {
                    // Who asked may be gone.
                    let _ = answer.send(core.command(command));
                }
                None => return,
            },
            Some(done) = work.recv() => core.done(done),
            () = changed(&mut files) => core.reload(),
            () = until(core.due()) => core.look_by_policy(),
            () = tokio::time::sleep(TICK), if core.is_installing() => core.measure(),
        }
    }
}

/// Without a watch the policy still counts, as it was at the start.
fn watch_policy(roots: &Roots) -> Option<Watch> {
    match Watch::new(roots.clone()) {
        Ok(watch) => Some(watch),
        Err(error) => {
            log::error(format!(
                "the policy's directories cannot be watched, changes count after a \
                 restart: {error}"
            ));
            None
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(files) => {
            if let Err(error) = files.changed().await {
                log::error(format!("watching the policy's directories: {error}"));
                *watch = None;
            }
        }
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
