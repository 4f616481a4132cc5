//! What locksmith shows: what `Describe` and `Group` on D-Bus and `locksmithctl --json`
//! print. The fields are described in `docs/reboots.md`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lock::{self, Expired, Holder, Report, Waiter};

/// Version of these schemas; fields may be added without a new one.
pub const SCHEMA: u32 = 1;

/// This host at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What this host is.
    pub host: Host,
    /// How far a reboot has come.
    pub plan: Plan,
    /// Why this host is to reboot, if it is.
    pub need: Option<Need>,
    /// Nothing is known yet of whether it is to.
    pub need_unknown: bool,
    /// When it may.
    pub window: Window,
    /// Whom it asks.
    pub lock: Lock,
    /// An operator keeps the lock here, and says why.
    pub keep: Option<String>,
    /// Nothing is begun before.
    pub pause: Option<Timestamp>,
    /// Why the last plan ended.
    pub last: Option<Last>,
    /// What is wrong with the policy's files.
    pub problems: Vec<String>,
    /// What an operator should know, besides.
    pub warnings: Vec<String>,
}

/// What this host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// By what its group knows it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The release that runs.
    pub version: Option<String>,
    /// That release is kept, and is not on trial.
    pub settled: bool,
}

/// How far a reboot has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// `resting`, `asking`, `kept`, `grace`, `draining`, `rebooting`, `settling` or
    /// `releasing`.
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it is about.
    pub reason: Option<String>,
    /// When people have had their time.
    pub grace_until: Option<Timestamp>,
}

/// Why a host is to reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// For people.
    pub reason: String,
    /// The release that runs next.
    pub to: Option<String>,
    /// `host` or `operator`.
    pub by: String,
}

/// When a host may reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// One is open.
    pub open: bool,
    /// Until then; nothing if no end is in sight.
    pub until: Option<Timestamp>,
}

/// Whom a host asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// `reboot`, `etcd-lock`, `fleet-lock` or `off`.
    pub strategy: String,
    /// Whom it shares the lock with.
    pub group: Option<String>,
    /// The lock is held here, as far as is known.
    pub held: bool,
    /// Its place in the queue; 1 is next.
    pub position: Option<u32>,
    /// Why it waits, if the lock has no queue.
    pub refused: Option<String>,
    /// What is wrong with the lock.
    pub error: Option<String>,
}

/// Why a plan ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// For people.
    pub reason: String,
    /// The release that other hosts had to leave, if it was that.
    pub braked: Option<String>,
}

/// A group at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its name.
    pub group: String,
    /// How many hosts may hold the lock at once.
    pub max: u32,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Who waits, next one first; the first 32.
    pub queue: Vec<Waiter>,
    /// How many wait.
    pub waiting: u32,
    /// Releases that hosts had to leave.
    pub brakes: Vec<Brake>,
    /// The last holders that were taken for gone.
    pub expired: Vec<Expired>,
}

/// A release that hosts had to leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brake {
    /// The release.
    pub version: String,
    /// Hosts are kept from it.
    pub on: bool,
    /// How many hosts it takes for that, by this host's policy.
    pub threshold: u32,
    /// Who had to leave it.
    pub reports: Vec<Report>,
}

impl From<lock::View> for Group {
    fn from(view: lock::View) -> Self {
        let brake = |brake: lock::Brake| Brake {
            version: brake.version.to_string(),
            on: brake.is_on(),
            threshold: brake.threshold,
            reports: brake.reports,
        };
        Self {
            schema: SCHEMA,
            group: view.group.to_string(),
            max: view.max,
            holders: view.holders,
            queue: view.queue,
            waiting: view.waiting,
            brakes: view.brakes.into_iter().map(brake).collect(),
            expired: view.expired,
        }
    }
}
