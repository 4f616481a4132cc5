//! The daemon on D-Bus: `org.ballast.Locksmith1`.
//!
//! Anyone may read. What changes something needs the caller to be root: the bus says who
//! the caller is. What the policy of the bus (`dist/`) forbids besides does not weaken that
//! check.

use ::daemon::bus::{Caller, UnknownCaller};
use ::daemon::log;
use semver::Version;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use zbus::message::Header;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, interface};

use crate::daemon::{Command, CommandError, Request, Verb};
use crate::lock::{ClassicFile, HolderId};
use crate::view::View;

pub use ::daemon::bus::Access;

/// Name on the bus.
pub const NAME: &str = "org.ballast.Locksmith1";

/// Path of the one object.
pub const PATH: &str = "/org/ballast/Locksmith1";

/// Longest semaphore that is taken from a file, in bytes.
const MAX_SEMAPHORE: usize = 1024 * 1024;

/// An answer other than the one that was wanted.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.ballast.Locksmith1.Error")]
pub enum BusError {
    /// What D-Bus itself has to say.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The caller may not.
    AccessDenied(String),
    /// Not in this state, or not with these arguments.
    Refused(String),
    /// It was tried, and failed.
    Failed(String),
}

impl From<UnknownCaller> for BusError {
    fn from(error: UnknownCaller) -> Self {
        Self::AccessDenied(error.to_string())
    }
}

impl From<CommandError> for BusError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(why) => Self::Refused(why),
            CommandError::Failed(why) => Self::Failed(why),
        }
    }
}

/// The object.
#[derive(Debug)]
pub struct Locksmith1 {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    access: Access,
    /// One question about the group at a time: anyone may ask it.
    asking: Mutex<()>,
}

impl Locksmith1 {
    /// Sends what it is asked to `requests` and shows `view`.
    pub fn new(
        requests: mpsc::Sender<Request>,
        view: watch::Receiver<View>,
        access: Access,
    ) -> Self {
        Self {
            requests,
            view,
            access,
            asking: Mutex::new(()),
        }
    }

    async fn ask(&self, command: Command) -> Result<String, BusError> {
        let gone = || BusError::Failed("the daemon is ending".into());
        let (reply, wait) = oneshot::channel();
        let sent = self.requests.send((command, reply)).await;
        sent.map_err(|_| gone())?;
        Ok(wait.await.map_err(|_| gone())??)
    }

    /// As root only.
    async fn change(&self, caller: Caller<'_>, command: Command) -> Result<String, BusError> {
        let uid = caller.uid().await?;
        if uid == self.access.uid {
            return self.ask(command).await;
        }
        Err(BusError::AccessDenied(format!(
            "user {uid} may look, but only root may change when hosts reboot"
        )))
    }

    fn show<T>(&self, part: impl FnOnce(&View) -> T) -> T {
        part(&self.view.borrow())
    }
}

fn holder(text: &str) -> Result<HolderId, BusError> {
    HolderId::new(text).map_err(|error| BusError::Refused(format!("{text:?} is no ID: {error}")))
}

#[interface(name = "org.ballast.Locksmith1", introspection_docs = false)]
impl Locksmith1 {
    /// Reboots when the policy lets this host, or at once if `force`. Answers what comes
    /// of it, for people, as all of these do.
    async fn reboot(
        &self,
        reason: String,
        force: bool,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        let command = Command::Reboot { reason, force };
        self.change(Caller::new(connection, header), command).await
    }

    /// Holds the lock for this host, without a reboot.
    async fn lock(
        &self,
        reason: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        let command = Command::Lock { reason };
        self.change(Caller::new(connection, header), command).await
    }

    /// Gives back what the host `id` holds or asked for; this host, if that is empty.
    async fn unlock(
        &self,
        id: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        let command = match id {
            "" => Command::Unlock,
            id => Command::Change(Verb::Unlock(holder(id)?)),
        };
        self.change(Caller::new(connection, header), command).await
    }

    /// Lets `max` hosts of the group hold the lock at once.
    async fn set_max(
        &self,
        max: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        let command = Command::Change(Verb::SetMax(max));
        self.change(Caller::new(connection, header), command).await
    }

    /// Lets hosts of the group reboot into `version` again.
    async fn lift(
        &self,
        version: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        let parsed: Result<Version, _> = version.parse();
        let version = parsed
            .map_err(|error| BusError::Refused(format!("{version:?} is no version: {error}")))?;
        let command = Command::Change(Verb::Lift(version));
        self.change(Caller::new(connection, header), command).await
    }

    /// Takes over a classic semaphore: the `content` of the file `name`, or the one of the
    /// group in the same etcd, if that is empty.
    async fn migrate(
        &self,
        name: String,
        content: Vec<u8>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, BusError> {
        if content.len() > MAX_SEMAPHORE {
            let length = content.len();
            let why = format!("{name} has {length} bytes, at most {MAX_SEMAPHORE} are taken");
            return Err(BusError::Refused(why));
        }
        let file = (!name.is_empty()).then_some(ClassicFile { name, content });
        let command = Command::Change(Verb::Migrate(file));
        self.change(Caller::new(connection, header), command).await
    }

    /// What everybody may know of the group, as JSON, see `docs/reboots.md`.
    async fn group(&self) -> Result<String, BusError> {
        let _one = self.asking.lock().await;
        self.ask(Command::Group).await
    }

    /// This host, as JSON, see `docs/reboots.md`.
    async fn describe(&self) -> Result<String, BusError> {
        self.show(serde_json::to_string)
            .map_err(|error| BusError::Failed(error.to_string()))
    }

    /// How far a reboot has come: `resting`, `asking`, `kept`, `grace`, `draining`,
    /// `rebooting`, `settling` or `releasing`.
    #[zbus(property)]
    fn state(&self) -> String {
        self.show(|view| view.plan.state.clone())
    }

    /// Why this host is to reboot; empty if it is not.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.show(reason)
    }

    /// The release that runs after the reboot; empty if it is the same.
    #[zbus(property)]
    fn target(&self) -> String {
        self.show(target)
    }

    /// Whom this host asks: `reboot`, `etcd-lock`, `fleet-lock` or `off`.
    #[zbus(property)]
    fn strategy(&self) -> String {
        self.show(|view| view.lock.strategy.clone())
    }

    /// Whom it shares the lock with; empty if there is none.
    #[zbus(property)]
    fn lock_group(&self) -> String {
        self.show(|view| view.lock.group.clone().unwrap_or_default())
    }

    /// Its place in the queue; 1 is next, 0 is none.
    #[zbus(property)]
    fn position(&self) -> u32 {
        self.show(|view| view.lock.position.unwrap_or_default())
    }

    /// A window is open.
    #[zbus(property)]
    fn window_open(&self) -> bool {
        self.show(|view| view.window.open)
    }

    /// When that changes, in seconds since 1970; 0 for never.
    #[zbus(property)]
    fn window_changes(&self) -> i64 {
        self.show(|view| view.window.until.map_or(0, |time| time.as_second()))
    }

    /// What is wrong with the lock; empty if nothing is.
    #[zbus(property)]
    fn last_error(&self) -> String {
        self.show(|view| view.lock.error.clone().unwrap_or_default())
    }

    /// What is wrong with the policy's files.
    #[zbus(property)]
    fn policy_problems(&self) -> Vec<String> {
        self.show(|view| view.problems.clone())
    }
}

fn reason(view: &View) -> String {
    let need = view.need.as_ref();
    need.map_or_else(String::new, |need| need.reason.clone())
}

fn target(view: &View) -> String {
    let need = view.need.as_ref();
    need.and_then(|need| need.to.clone()).unwrap_or_default()
}

/// Sends a signal for every change of a property. Ends when the daemon does.
pub async fn signals(object: InterfaceRef<Locksmith1>, mut view: watch::Receiver<View>) {
    let mut old = view.borrow_and_update().clone();
    while view.changed().await.is_ok() {
        let new = view.borrow_and_update().clone();
        if let Err(error) = changes(&object, &old, &new).await {
            log::warn(format!("sending a signal on D-Bus: {error}"));
        }
        old = new;
    }
}

async fn changes(object: &InterfaceRef<Locksmith1>, old: &View, new: &View) -> zbus::Result<()> {
    let emitter = object.signal_emitter();
    let object = object.get().await;
    if old.plan.state != new.plan.state {
        object.state_changed(emitter).await?;
    }
    if reason(old) != reason(new) {
        object.reason_changed(emitter).await?;
    }
    if target(old) != target(new) {
        object.target_changed(emitter).await?;
    }
    if old.lock.strategy != new.lock.strategy {
        object.strategy_changed(emitter).await?;
    }
    if old.lock.group != new.lock.group {
        object.lock_group_changed(emitter).await?;
    }
    if old.lock.position != new.lock.position {
        object.position_changed(emitter).await?;
    }
    if old.window.open != new.window.open {
        object.window_open_changed(emitter).await?;
    }
    if old.window.until != new.window.until {
        object.window_changes_changed(emitter).await?;
    }
    if old.lock.error != new.lock.error {
        object.last_error_changed(emitter).await?;
    }
    if old.problems != new.problems {
        object.policy_problems_changed(emitter).await?;
    }
    Ok(())
}
