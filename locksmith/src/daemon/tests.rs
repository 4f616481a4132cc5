use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::lock::{
    Answer, Brake, Claim, Grant, Holder, Operator, Released, Report, Standing, View as GroupView,
    Wait,
};
use crate::plan::Plan;
use crate::state::Saved;

mod bus;
mod reboots;
mod trouble;

/// A group as the hosts of a test share it.
#[derive(Default)]
pub struct Group {
    pub holders: Vec<Claim>,
    pub braked: BTreeSet<Version>,
    pub reports: Vec<(Report, Version)>,
    pub max: u32,
    /// Every question fails.
    pub down: bool,
}

#[derive(Clone, Default)]
pub struct Shared {
    pub group: Arc<Mutex<Group>>,
    pub changed: Arc<Notify>,
    /// How often something was asked.
    pub asked: Arc<AtomicU32>,
}

impl Shared {
    pub fn edit(&self, edit: impl FnOnce(&mut Group)) {
        edit(&mut self.group.lock().unwrap());
        self.changed.notify_waiters();
    }

    pub fn holders(&self) -> Vec<String> {
        let group = self.group.lock().unwrap();
        group
            .holders
            .iter()
            .map(|claim| claim.id.to_string())
            .collect()
    }

    /// Another host takes the lock.
    pub fn taken_by(&self, id: &str) {
        self.edit(|group| group.holders.push(claim(id)));
    }

    fn reach(&self) -> Result<std::sync::MutexGuard<'_, Group>, LockError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let group = self.group.lock().unwrap();
        match group.down {
            true => Err(LockError::Unreachable {
                server: "https://10.0.0.1:2379".into(),
                source: "connection refused".into(),
            }),
            false => Ok(group),
        }
    }
}

pub fn claim(id: &str) -> Claim {
    Claim {
        id: HolderId::new(id).unwrap(),
        host: id.into(),
        boot_id: "x".into(),
        reason: "update".into(),
        from: None,
        to: None,
    }
}

fn holder(claim: &Claim) -> Holder {
    Holder {
        claim: claim.clone(),
        since: Timestamp::UNIX_EPOCH,
        seen: Timestamp::UNIX_EPOCH,
        signs: 0,
        other: serde_json::Map::new(),
    }
}

fn brake(version: &Version) -> Brake {
    Brake {
        version: version.clone(),
        reports: Vec::new(),
        threshold: 1,
    }
}

impl Locks for Shared {
    fn open(&self, _: &Place) -> Result<Box<dyn Lock>, LockError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Lock for Shared {
    async fn acquire(&mut self, claim: &Claim) -> Result<Answer, LockError> {
        let mut group = self.reach()?;
        if let Some(to) = claim.to.as_ref().filter(|to| group.braked.contains(to)) {
            return Ok(Answer::Braked(brake(to)));
        }
        let held = group.holders.iter().any(|holder| holder.id == claim.id);
        if !held && group.holders.len() >= group.max as usize {
            let view = view(&group);
            return Ok(Answer::Waiting(Wait::Queued { position: 1, view }));
        }
        if !held {
            group.holders.push(claim.clone());
        }
        let holder = holder(claim);
        let expired = Vec::new();
        Ok(Answer::Granted(Grant { holder, expired }))
    }

    async fn changed(&mut self) -> Result<(), LockError> {
        // As every lock, it answers after a while also if nothing happened.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.changed.notified()).await;
        Ok(())
    }

    async fn alive(&mut self, id: &HolderId) -> Result<Standing, LockError> {
        let group = self.reach()?;
        let Some(held) = group.holders.iter().find(|holder| holder.id == *id) else {
            return Ok(Standing::Lost);
        };
        let to = held.to.as_ref().filter(|to| group.braked.contains(to));
        Ok(to.map_or(Standing::Held, |to| Standing::Braked(brake(to))))
    }

    async fn release(&mut self, id: &HolderId) -> Result<Released, LockError> {
        let mut group = self.reach()?;
        let before = group.holders.len();
        group.holders.retain(|holder| holder.id != *id);
        Ok(match before == group.holders.len() {
            true => Released::NotHeld,
            false => Released::Given,
        })
    }

    async fn report_rollback(
        &mut self,
        report: &Report,
        version: &Version,
    ) -> Result<Option<Brake>, LockError> {
        let mut group = self.reach()?;
        group.braked.insert(version.clone());
        group.reports.push((report.clone(), version.clone()));
        Ok(Some(brake(version)))
    }

    async fn view(&mut self) -> Result<Option<GroupView>, LockError> {
        Ok(Some(view(&*self.reach()?)))
    }

    fn operator(&mut self) -> Option<&mut dyn Operator> {
        Some(self)
    }
}

fn view(group: &Group) -> GroupView {
    GroupView {
        group: "default".parse().unwrap(),
        max: group.max,
        holders: group.holders.iter().map(holder).collect(),
        queue: Vec::new(),
        waiting: 0,
        brakes: group.braked.iter().map(brake).collect(),
        expired: Vec::new(),
    }
}

#[async_trait]
impl Operator for Shared {
    async fn set_max(&mut self, max: u32) -> Result<u32, LockError> {
        Ok(std::mem::replace(&mut self.reach()?.max, max))
    }

    async fn unlock(&mut self, id: &HolderId) -> Result<Option<Holder>, LockError> {
        let mut group = self.reach()?;
        let found = group.holders.iter().position(|holder| holder.id == *id);
        Ok(found.map(|at| holder(&group.holders.remove(at))))
    }

    async fn lift(&mut self, version: &Version) -> Result<Option<Brake>, LockError> {
        let lifted = self.reach()?.braked.remove(version);
        Ok(lifted.then(|| brake(version)))
    }

    async fn migrate(
        &mut self,
        source: Option<ClassicFile>,
    ) -> Result<crate::lock::Migration, LockError> {
        let mut group = self.reach()?;
        group.max = 3;
        Ok(crate::lock::Migration {
            from: source.map_or("its key".into(), |file| file.name),
            max: 3,
            holders: Vec::new(),
        })
    }
}

/// A machine that remembers what is done to it.
#[derive(Default)]
pub struct Double {
    pub reboots: AtomicU32,
    pub sessions: Mutex<Vec<Session>>,
    pub told: Mutex<Vec<String>>,
    /// How draining ends.
    pub drained: Mutex<Option<String>>,
    /// Draining goes on until it is stopped.
    pub hangs: std::sync::atomic::AtomicBool,
    pub stopped: Notify,
    pub drains: AtomicU32,
}

#[async_trait]
impl Machine for Double {
    fn reboot(&self) -> std::io::Result<()> {
        self.reboots.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<Session>, String> {
        Ok(self.sessions.lock().unwrap().clone())
    }

    fn tell(&self, _: &[Session], message: &str) {
        self.told.lock().unwrap().push(message.into());
    }

    async fn drain(&self) -> Result<(), String> {
        self.drains.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            self.stopped.notified().await;
        }
        match self.drained.lock().unwrap().clone() {
            None => Ok(()),
            Some(why) => Err(why),
        }
    }

    async fn stop_drain(&self) {
        self.stopped.notify_one();
    }
}

/// A host and its group.
pub struct Rig {
    pub root: TempDir,
    pub shared: Shared,
    pub machine: Arc<Double>,
    boot: Mutex<String>,
}

/// The ID of the host.
pub const ME: &str = "0123456789abcdef0123456789abcdef";

pub const LOCKED: &str = "[reboot]\nstrategy = \"etcd-lock\"\nwindows = []\n\
     [reboot.etcd]\nendpoints = [\"https://10.0.0.1:2379\"]\n";

/// A daemon that runs.
pub struct Running {
    pub requests: mpsc::Sender<Request>,
    pub view: watch::Receiver<View>,
    pub engine: watch::Sender<Engine>,
    task: JoinHandle<()>,
}

impl Rig {
    pub fn new(policy: &str) -> Self {
        let rig = Self {
            root: tempfile::tempdir().unwrap(),
            shared: Shared::default(),
            machine: Arc::default(),
            boot: Mutex::new("one".into()),
        };
        rig.shared.edit(|group| group.max = 1);
        rig.policy(policy);
        rig
    }

    pub fn policy(&self, text: &str) {
        let directory = self.root.path().join("etc/ballast/config.d");
        fs::create_dir_all(&directory).unwrap();
        let new = directory.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, directory.join("a.toml")).unwrap();
    }

    pub fn store(&self) -> Store {
        Store::open(self.root.path().join("state")).unwrap()
    }

    pub fn saved(&self) -> Saved {
        self.store().load().0
    }

    pub fn setup(&self) -> Setup {
        let host = Host {
            root: self.root.path().to_path_buf(),
            id: HolderId::new(ME).unwrap(),
            name: "web-1".into(),
            boot: self.boot.lock().unwrap().as_str().into(),
            version: Some(Version::new(0, 1, 0)),
            zone: jiff::tz::TimeZone::UTC,
        };
        Setup {
            store: self.store(),
            host,
            machine: self.machine.clone(),
            locks: Arc::new(self.shared.clone()),
            roots: Roots::below(self.root.path()),
        }
    }

    /// Starts the daemon, in the same boot as before.
    pub fn start(&self) -> Running {
        let (requests, receive) = mpsc::channel(16);
        let (send, view) = watch::channel(View::default());
        let (engine, says) = watch::channel(Engine::Unknown);
        let ends = Ends {
            requests: receive,
            view: send,
            engine: says,
        };
        let task = tokio::spawn(run(self.setup(), ends, pending()));
        Running {
            requests,
            view,
            engine,
            task,
        }
    }

    /// Boots the host again.
    pub fn boot(&self, running: Running) -> Running {
        running.task.abort();
        let mut boot = self.boot.lock().unwrap();
        *boot = format!("{boot}+");
        drop(boot);
        self.start()
    }

    pub fn reboots(&self) -> u32 {
        self.machine.reboots.load(Ordering::SeqCst)
    }

    pub fn login(&self) {
        self.machine.sessions.lock().unwrap().push(Session {
            user: "core".into(),
            terminal: "pts/0".into(),
        });
    }
}

/// What update-engine says.
pub fn says(version: &str, state: &str, blessed: bool, denied: &[&str]) -> Engine {
    let denied: Vec<_> = denied
        .iter()
        .map(|version| {
            json!({ "version": version, "reason": "10-sshd failed", "since": Timestamp::UNIX_EPOCH })
        })
        .collect();
    let value = json!({
        "running": { "version": version, "slot": "a", "blessed": blessed },
        "other": { "slot": "b" },
        "update": { "state": state, "version": "0.2.0", "slot": "b" },
        "denied": denied,
    });
    Engine::Says(Box::new(serde_json::from_value(value).unwrap()))
}

pub fn armed() -> Engine {
    says("0.1.0", "armed", true, &[])
}

impl Running {
    /// Waits until the plan is in `state`. A state that never comes makes the test hang,
    /// and the runner ends it.
    pub async fn reaches(&mut self, state: &str) {
        let there = |view: &View| view.plan.state == state;
        self.view.wait_for(there).await.unwrap();
    }

    pub async fn shows(&mut self, what: impl FnMut(&View) -> bool) {
        self.view.wait_for(what).await.unwrap();
    }

    pub async fn ask(&self, command: Command) -> Result<String, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send((command, reply)).await.unwrap();
        answer.await.unwrap()
    }

    pub async fn reboot(&self, force: bool) -> Result<String, CommandError> {
        let reason = "new firmware".into();
        self.ask(Command::Reboot { reason, force }).await
    }

    pub fn state(&self) -> String {
        self.view.borrow().plan.state.clone()
    }
}

/// A window that is closed for hours.
pub fn closed() -> String {
    let start = Timestamp::now() + SignedDuration::from_hours(5);
    let start = start
        .to_zoned(jiff::tz::TimeZone::UTC)
        .strftime("%H:%M")
        .to_string();
    format!("windows = [{{ start = \"{start}\", length = \"1h\" }}]\n")
}

/// Time goes by, in which nothing must happen.
pub async fn hours(hours: u64) {
    tokio::time::sleep(Duration::from_secs(3600 * hours)).await;
}
