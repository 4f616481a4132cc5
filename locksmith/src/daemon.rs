//! The daemon: one thread that decides. What takes time runs beside it, in tasks that
//! report back.

mod answers;
mod commands;
mod core;
mod locker;
mod rollbacks;
mod show;
mod steps;
mod trouble;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daemon::log;
use daemon::policy::Roots;
use daemon::policy::watch::Watch;
use semver::Version;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::host::Host;
use crate::lock::{ClassicFile, HolderId, Lock, LockError};
use crate::sessions::Session;
use crate::settings::Place;
use crate::state::Store;
use crate::view::View;

pub use self::answers::Done;
pub use self::core::Core;

/// How often files and clocks are looked at that tell nobody of their changes.
const TICK: Duration = Duration::from_secs(60);

/// What a daemon stands on.
pub struct Setup {
    /// Its files.
    pub store: Store,
    /// What this host is.
    pub host: Host,
    /// Reboots, and knows who is logged in.
    pub machine: Arc<dyn Machine>,
    /// Leads to locks.
    pub locks: Arc<dyn Locks>,
    /// Where the policy is.
    pub roots: Roots,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("host", &self.host).finish()
    }
}

/// What the daemon does to the machine.
#[async_trait]
pub trait Machine: Send + Sync {
    /// Asks for an orderly reboot, and returns.
    fn reboot(&self) -> std::io::Result<()>;

    /// Who is logged in.
    async fn sessions(&self) -> Result<Vec<Session>, String>;

    /// Tells them something.
    fn tell(&self, sessions: &[Session], message: &str);

    /// Runs the operator's programs to their end.
    async fn drain(&self) -> Result<(), String>;

    /// Ends those that run.
    async fn stop_drain(&self);
}

/// Leads to locks.
pub trait Locks: Send + Sync {
    /// The lock at `place`. Nothing is asked yet.
    fn open(&self, place: &Place) -> Result<Box<dyn Lock>, LockError>;
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Reboot when the policy lets this host, or at once.
    Reboot {
        /// Why.
        reason: String,
        /// At once, and nobody is asked.
        force: bool,
    },
    /// Hold the lock for this host, and do not reboot.
    Lock {
        /// Why.
        reason: String,
    },
    /// Give back what this host holds, or asked for.
    Unlock,
    /// What everybody may know of the group.
    Group,
    /// Something that is done to the group.
    Change(Verb),
}

/// What an operator does to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Let so many hosts hold the lock at once.
    SetMax(u32),
    /// Take the lock from a host that is gone.
    Unlock(HolderId),
    /// Let hosts have a release again.
    Lift(Version),
    /// Take over a classic semaphore.
    Migrate(Option<ClassicFile>),
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

/// Where the answer to a command goes: a sentence, or JSON for [`Command::Group`].
pub type Reply = oneshot::Sender<Result<String, CommandError>>;

/// A command, and where the answer goes.
pub type Request = (Command, Reply);

/// The daemon's ends of what connects it to D-Bus.
#[derive(Debug)]
pub struct Ends {
    /// Commands come from here.
    pub requests: mpsc::Receiver<Request>,
    /// What is shown goes here.
    pub view: watch::Sender<View>,
    /// What update-engine says comes from here.
    pub engine: watch::Receiver<Engine>,
}

/// Runs until nobody can send commands any more, or `stop` is ready. What was begun goes
/// on after the next start.
pub async fn run(setup: Setup, mut ends: Ends, stop: impl Future<Output = ()>) {
    let (done, mut work) = mpsc::unbounded_channel();
    let mut files = watch_policy(&setup.roots);
    let mut core = Core::new(setup, done);
    core.start();
    let mut stop = std::pin::pin!(stop);
    loop {
        core.drive();
        let view = core.view();
        ends.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
        tokio::select! {
            () = &mut stop => return,
            request = ends.requests.recv() => match request {
                Some((command, reply)) => core.command(command, reply),
                None => return,
            },
            Some(done) = work.recv() => core.done(done),
            engine = changed(&mut ends.engine) => core.hear(engine),
            () = read(&mut files) => core.reload(),
            () = tokio::time::sleep_until(core.due()) => {}
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

async fn read(watch: &mut Option<Watch>) {
    match watch {
        Some(files) => {
            if let Err(error) = files.changed().await {
                log::error(format!("watching the policy's directories: {error}"));
                *watch = None;
            }
        }
        None => pending().await,
    }
}

async fn changed(engine: &mut watch::Receiver<Engine>) -> Engine {
    match engine.changed().await {
        Ok(()) => engine.borrow_and_update().clone(),
        Err(_) => pending().await,
    }
}

/// The earlier one.
fn sooner(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.min(other))
}
