//! The daemon on D-Bus: `org.ballast.Update1`.
//!
//! Anyone may read. What changes something needs the caller to be root: the bus says who
//! the caller is (`GetConnectionCredentials`), nothing that the caller sends does. What
//! the policy of the bus (`dist/`) forbids besides does not weaken that check.

use std::collections::HashMap;

use daemon::bus::{Caller, UnknownCaller};
use daemon::log;
use semver::Version;
use tokio::sync::{mpsc, oneshot, watch};
use zbus::message::Header;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{Connection, OwnedVariant, interface};

use crate::daemon::{Answer, Command, CommandError, Request};
use crate::view::{Finished, View};

pub use daemon::bus::Access;

/// Name on the bus.
pub const NAME: &str = "org.ballast.Update1";

/// Path of the one object.
pub const PATH: &str = "/org/ballast/Update1";

/// An answer other than the one that was wanted.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.ballast.Update1.Error")]
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
pub struct Update1 {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    access: Access,
}

impl Update1 {
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
        }
    }

    async fn ask(&self, command: Command) -> Result<Answer, BusError> {
        let gone = || BusError::Failed("the daemon is ending".into());
        let (answer, wait) = oneshot::channel();
        let sent = self.requests.send((command, answer)).await;
        sent.map_err(|_| gone())?;
        Ok(wait.await.map_err(|_| gone())??)
    }

    /// As root only.
    async fn change(&self, caller: Caller<'_>, command: Command) -> Result<Answer, BusError> {
        let uid = caller.uid().await?;
        if uid == self.access.uid {
            return self.ask(command).await;
        }
        Err(BusError::AccessDenied(format!(
            "user {uid} may look, but only root may change updates"
        )))
    }

    async fn job(&self, caller: Caller<'_>, command: Command) -> Result<u32, BusError> {
        match self.change(caller, command).await? {
            Answer::Job(job) => Ok(job),
            other => Err(BusError::Failed(format!("{other:?} is no job"))),
        }
    }

    fn show<T>(&self, part: impl FnOnce(&View) -> T) -> T {
        part(&self.view.borrow())
    }
}

fn version(text: &str) -> Result<Version, BusError> {
    text.parse()
        .map_err(|error| BusError::Refused(format!("{text:?} is no version: {error}")))
}

#[interface(name = "org.ballast.Update1", introspection_docs = false)]
impl Update1 {
    /// Asks the server; the signal `Completed` tells the result.
    async fn check(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u32, BusError> {
        self.job(Caller::new(connection, header), Command::Check)
            .await
    }

    /// Takes a release: `version`, or the channel's if that is empty. Option:
    /// `allow-downgrade` (b).
    async fn apply(
        &self,
        version: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u32, BusError> {
        let mut downgrade = false;
        for (name, value) in &options {
            match (name.as_str(), bool::try_from(value)) {
                ("allow-downgrade", Ok(value)) => downgrade = value,
                _ => return Err(BusError::Refused(format!("option {name:?} is not known"))),
            }
        }
        let version = match version {
            "" => None,
            text => Some(self::version(text)?),
        };
        let command = Command::Apply { version, downgrade };
        self.job(Caller::new(connection, header), command).await
    }

    /// Goes back to the other slot, with a reboot at once if `reboot`.
    async fn rollback(
        &self,
        reboot: bool,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let command = Command::RollBack { reboot };
        self.change(Caller::new(connection, header), command)
            .await?;
        Ok(())
    }

    /// Says that the running release is healthy.
    async fn bless(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        self.change(Caller::new(connection, header), Command::Bless)
            .await?;
        Ok(())
    }

    /// Takes no release by policy.
    async fn hold(
        &self,
        reason: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let command = Command::Hold { reason };
        self.change(Caller::new(connection, header), command)
            .await?;
        Ok(())
    }

    /// Takes releases by policy again.
    async fn unhold(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        self.change(Caller::new(connection, header), Command::Unhold)
            .await?;
        Ok(())
    }

    /// Takes a denied version again.
    async fn allow(
        &self,
        version: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let command = Command::Allow(self::version(version)?);
        self.change(Caller::new(connection, header), command)
            .await?;
        Ok(())
    }

    /// Follows another channel, also after a reboot.
    async fn set_channel(
        &self,
        channel: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        let command = Command::SetChannel(channel);
        self.change(Caller::new(connection, header), command)
            .await?;
        Ok(())
    }

    /// Stops what is going on, or takes an armed release back.
    async fn cancel(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), BusError> {
        self.change(Caller::new(connection, header), Command::Cancel)
            .await?;
        Ok(())
    }

    /// Every attempt, oldest first, as JSON.
    async fn history(&self) -> Result<String, BusError> {
        match self.ask(Command::History).await? {
            Answer::History(records) => to_json(&records),
            other => Err(BusError::Failed(format!("{other:?} is no history"))),
        }
    }

    /// Everything, as JSON.
    async fn describe(&self) -> Result<String, BusError> {
        to_json(&self.show(View::clone))
    }

    /// A job ended: `done`, `nothing`, `refused`, `failed` or `cancelled`.
    #[zbus(signal)]
    async fn completed(
        emitter: &SignalEmitter<'_>,
        job: u32,
        result: &str,
        message: &str,
    ) -> zbus::Result<()>;

    /// How far the update has come.
    #[zbus(property)]
    fn state(&self) -> String {
        self.show(|view| view.update.state.clone())
    }

    /// What the daemon does.
    #[zbus(property)]
    fn activity(&self) -> String {
        self.show(|view| view.activity.clone())
    }

    /// The version that runs; empty if it is not known.
    #[zbus(property)]
    fn version(&self) -> String {
        self.show(|view| text(view.running.as_ref().map(|r| &r.version)))
    }

    /// The slot that runs; empty if it is not known.
    #[zbus(property)]
    fn slot(&self) -> String {
        self.show(|view| text(view.running.as_ref().map(|r| &r.slot)))
    }

    /// The running release came up healthy.
    #[zbus(property)]
    fn blessed(&self) -> bool {
        self.show(|view| view.running.as_ref().is_some_and(|r| r.blessed))
    }

    /// The version that the update is about; empty if there is none.
    #[zbus(property)]
    fn target(&self) -> String {
        self.show(|view| text(view.update.version.as_ref()))
    }

    /// The channel that is followed.
    #[zbus(property)]
    fn channel(&self) -> String {
        self.show(|view| view.policy.channel.clone())
    }

    /// The version that the server offered last; empty if it is not newer.
    #[zbus(property)]
    fn available(&self) -> String {
        self.show(|view| text(view.available.as_ref().map(|a| &a.version)))
    }

    /// Bytes in all, in place, reused, received; received per second; seconds left.
    #[zbus(property)]
    fn progress(&self) -> (u64, u64, u64, u64, u64, u64) {
        self.show(|view| {
            let p = view.progress.unwrap_or_default();
            let remaining = p.remaining.unwrap_or_default();
            (p.total, p.done, p.reused, p.received, p.rate, remaining)
        })
    }

    /// No release is taken by policy.
    #[zbus(property)]
    fn held(&self) -> bool {
        self.show(|view| view.held.is_some())
    }

    /// Versions that are not taken, and why.
    #[zbus(property)]
    fn denied(&self) -> Vec<(String, String)> {
        self.show(denied)
    }

    /// When the server is asked next, in seconds since 1970; 0 for never.
    #[zbus(property)]
    fn next_check(&self) -> i64 {
        self.show(|view| view.next_check.map_or(0, |time| time.as_second()))
    }

    /// Why the last check or installation failed; empty if it did not.
    #[zbus(property)]
    fn last_error(&self) -> String {
        self.show(|view| text(view.last_error.as_ref()))
    }

    /// What is wrong with the policy's files.
    #[zbus(property)]
    fn policy_problems(&self) -> Vec<String> {
        self.show(|view| view.policy.problems.clone())
    }
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn denied(view: &View) -> Vec<(String, String)> {
    let pair = |d: &crate::state::Denied| (d.version.to_string(), d.reason.clone());
    view.denied.iter().map(pair).collect()
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, BusError> {
    serde_json::to_string(value).map_err(|error| BusError::Failed(error.to_string()))
}

/// Sends a signal for every change of a property and every job that ends. Ends when the
/// daemon does.
pub async fn signals(
    object: InterfaceRef<Update1>,
    mut view: watch::Receiver<View>,
    mut finished: mpsc::UnboundedReceiver<Finished>,
) {
    let mut old = view.borrow_and_update().clone();
    loop {
        let sent = tokio::select! {
            changed = view.changed() => {
                if changed.is_err() {
                    return;
                }
                let new = view.borrow_and_update().clone();
                let sent = changes(&object, &old, &new).await;
                old = new;
                sent
            }
            job = finished.recv() => match job {
                Some(job) => {
                    let emitter = object.signal_emitter();
                    Update1::completed(emitter, job.job, &job.result, &job.message).await
                }
                None => return,
            },
        };
        if let Err(error) = sent {
            log::warn(format!("sending a signal on D-Bus: {error}"));
        }
    }
}

async fn changes(object: &InterfaceRef<Update1>, old: &View, new: &View) -> zbus::Result<()> {
    let emitter = object.signal_emitter();
    let object = object.get().await;
    if old.update.state != new.update.state {
        object.state_changed(emitter).await?;
    }
    if old.update.version != new.update.version {
        object.target_changed(emitter).await?;
    }
    if old.activity != new.activity {
        object.activity_changed(emitter).await?;
    }
    if old.running != new.running {
        object.version_changed(emitter).await?;
        object.slot_changed(emitter).await?;
        object.blessed_changed(emitter).await?;
    }
    if old.policy.channel != new.policy.channel {
        object.channel_changed(emitter).await?;
    }
    if old.policy.problems != new.policy.problems {
        object.policy_problems_changed(emitter).await?;
    }
    if old.available != new.available {
        object.available_changed(emitter).await?;
    }
    if old.progress != new.progress {
        object.progress_changed(emitter).await?;
    }
    if old.held.is_some() != new.held.is_some() {
        object.held_changed(emitter).await?;
    }
    if old.denied != new.denied {
        object.denied_changed(emitter).await?;
    }
    if old.next_check != new.next_check {
        object.next_check_changed(emitter).await?;
    }
    if old.last_error != new.last_error {
        object.last_error_changed(emitter).await?;
    }
    Ok(())
}
