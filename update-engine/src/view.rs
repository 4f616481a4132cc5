//! What the engine shows of itself: what `Describe` on D-Bus and `updatectl status
//! --json` print. The fields are described in `docs/updates.md`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Denied, Hold};

/// Version of this schema; fields may be added without a new one.
pub const SCHEMA: u32 = 1;

/// Everything at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What runs; nothing if that is not known, which `warnings` explain.
    pub running: Option<Running>,
    /// The slot that does not run.
    pub other: Option<Other>,
    /// How far the update has come.
    pub update: Update,
    /// What the engine does: `resting`, `checking` or `installing`.
    pub activity: String,
    /// Figures, while it installs.
    pub progress: Option<Progress>,
    /// What the server offered last.
    pub available: Option<Available>,
    /// Versions that are not taken.
    pub denied: Vec<Denied>,
    /// No release is taken by policy.
    pub held: Option<Hold>,
    /// What the policy says.
    pub policy: Policy,
    /// When the server was last asked with success.
    pub checked: Option<Timestamp>,
    /// When it is asked next, if it is.
    pub next_check: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// The last job that ended.
    pub last_job: Option<Finished>,
    /// What an operator should know, besides.
    pub warnings: Vec<String>,
}

/// The release that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its version.
    pub version: String,
    /// `a` or `b`.
    pub slot: String,
    /// It came up healthy.
    pub blessed: bool,
    /// Why the selector took it: `normal`, `fallback`, `last-resort`.
    pub boot_reason: Option<String>,
}

/// The slot that does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// `a` or `b`.
    pub slot: String,
    /// The release in it, as far as it is known.
    pub version: Option<String>,
    /// It came up healthy once: the host can be sent back to it.
    pub successful: bool,
    /// It is tried on the next boot.
    pub next: bool,
}

/// How far the update has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// `idle`, `fetching`, `written`, `armed`, `trial`, `blessed` or `rolled-back`.
    pub state: String,
    /// The version that it is about.
    pub version: Option<String>,
    /// The slot that it is about.
    pub slot: Option<String>,
    /// Why it was rolled back.
    pub reason: Option<String>,
}

/// Figures of an installation. Bytes, unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Of the release, as it lies in its slot.
    pub total: u64,
    /// Of these, in place.
    pub done: u64,
    /// Of these, reused from this host's disk.
    pub reused: u64,
    /// Sent by the server.
    pub received: u64,
    /// Sent by the server in the last seconds, per second.
    pub rate: u64,
    /// Seconds until everything was received, if it goes on like this.
    pub remaining: Option<u64>,
    /// Everything is in place, and is being read back.
    pub checking: bool,
}

impl Progress {
    /// Part of what is in place that was reused, 0 to 100.
    pub fn reuse(&self) -> u64 {
        self.reused * 100 / self.done.max(1)
    }

    /// Part that is in place, 0 to 100.
    pub fn percent(&self) -> u64 {
        self.done * 100 / self.total.max(1)
    }
}

/// What the server offered, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// The version.
    pub version: String,
    /// `take`, `armed`, `wait`, `held` or `refused`.
    pub verdict: String,
    /// Why not now.
    pub reason: Option<String>,
    /// When this host's turn is.
    pub until: Option<Timestamp>,
}

/// What the policy says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Releases are taken without being asked.
    pub enabled: bool,
    /// Where the repository is.
    pub server: Option<String>,
    /// The channel that is followed.
    pub channel: String,
    /// How often the server is asked.
    pub poll: String,
    /// Whether the engine reboots by itself.
    pub reboot: String,
    /// What is wrong with its files.
    pub problems: Vec<String>,
}

/// A job that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its number.
    pub job: u32,
    /// `done`, `nothing`, `refused`, `failed` or `cancelled`.
    pub result: String,
    /// For people.
    pub message: String,
}
