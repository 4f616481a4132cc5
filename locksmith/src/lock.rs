//! The lock that hosts of a group share: what can be asked of it, whatever keeps it.

use std::error::Error as StdError;

use async_trait::async_trait;
use semver::Version;

pub use crate::record::{
    BadText, BootId, Claim, Expired, GroupName, Holder, HolderId, HostName, Reason, Report,
    Reports, Text, Waiter,
};

/// Answer to [`Lock::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The host holds the lock.
    Granted(Grant),
    /// It does not, and is in the queue if there is one.
    Waiting(Wait),
    /// Its release is one that other hosts had to leave. It is not in the queue. If it
    /// held the lock already, it still does: [`Lock::release`] it.
    Braked(Brake),
}

/// The lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What the lock knows of this host.
    pub holder: Holder,
    /// Who was taken for gone, by policy, so that this host could have its place. To be
    /// told to people.
    pub expired: Vec<Holder>,
}

/// The lock is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The host is in the queue.
    Queued {
        /// Its place; 1 is next. Exact up to [`SHOWN`], beyond that at most this.
        position: u32,
        /// Whom it waits for.
        view: View,
    },
    /// This lock has no queue: ask again later.
    Refused {
        /// What the server said.
        reason: String,
    },
}

/// How many of those who wait a [`View`] has.
pub const SHOWN: u32 = 32;

/// A release that hosts had to leave, as this host's policy judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// The release.
    pub version: Version,
    /// Who had to leave it.
    pub reports: Vec<Report>,
    /// How many hosts it takes before others are kept from it.
    pub threshold: u32,
}

impl Brake {
    /// Whether hosts are kept from the release.
    pub fn is_on(&self) -> bool {
        self.reports.len() >= self.threshold as usize
    }
}

/// What everybody may know of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub group: GroupName,
    /// How many hosts may hold the lock at once.
    pub max: u32,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Who waits, next one first; the first [`SHOWN`] of them.
    pub queue: Vec<Waiter>,
    /// How many wait.
    pub waiting: u32,
    /// Releases that hosts had to leave, whether they are enough or not.
    pub brakes: Vec<Brake>,
    /// The last holders that were taken for gone.
    pub expired: Vec<Expired>,
}

/// Answer to [`Lock::alive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The lock is held: the host may reboot.
    Held,
    /// It is held, but the release that it was taken for is under a brake by now: the
    /// host must not reboot into it, and releases the lock.
    Braked(Brake),
    /// It is not held any more: an operator or another host took this one for gone. The
    /// host must not reboot.
    Lost,
}

/// Answer to [`Lock::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lock was held, and is not any more.
    Given,
    /// It was not held.
    NotHeld,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Nobody answers in time.
    #[error("reaching {server}; check its address, the network and, for https, the clock")]
    Unreachable {
        /// What was tried.
        server: String,
        /// What the last one said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// etcd answers, but has no leader: more than half of its members must be up.
    #[error("{server} has no leader; check that more than half of etcd's members are up")]
    NoLeader {
        /// What was tried.
        server: String,
        /// What it said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server answers that it cannot do what it is asked for.
    #[error("asking {server}; its own log says more")]
    Failed {
        /// Who was asked.
        server: String,
        /// What it said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server refuses this host.
    #[error("{server} refuses this host; check {check}")]
    NotAllowed {
        /// Who refuses.
        server: String,
        /// What to look at.
        check: &'static str,
        /// What it said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What is kept cannot be used as it is.
    #[error("using {key}; look at it before anything else is done: {advice}")]
    Content {
        /// The key, or the address of the server.
        key: String,
        /// What to do.
        advice: &'static str,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The question cannot be asked as it is.
    #[error("{0}")]
    Asked(String),
    /// A file that the policy names cannot be used, or a setting is wrong.
    #[error("{what}; check `{key}` of the policy")]
    Settings {
        /// The key.
        key: &'static str,
        /// What was done with it.
        what: String,
        /// What went wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl LockError {
    /// Whether time alone may mend it: the lock's servers are down, slow, without a leader
    /// or in trouble.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NoLeader { .. } | Self::Failed { .. }
        )
    }
}

/// A lock that a host takes before it reboots and gives back when it is well again.
///
/// Whatever is asked may be asked again: after an error the outcome is open, and asking
/// again settles it. Each call ends within a bounded time; all may be dropped before they
/// are done.
#[async_trait]
pub trait Lock: Send {
    /// Asks for the lock, or for whether it is held already: also after a restart and
    /// after a reboot, since it is held by `claim.id`.
    async fn acquire(&mut self, claim: &Claim) -> Result<Answer, LockError>;

    /// Returns when it makes sense to ask again, after some minutes at the latest. While
    /// this is not being waited for, the place in the queue may be lost.
    async fn changed(&mut self) -> Result<(), LockError>;

    /// Gives a sign of life while the lock is held, and asks whether it still is. To be
    /// called every few minutes, and last before the reboot.
    async fn alive(&mut self, id: &HolderId) -> Result<Standing, LockError>;

    /// Gives the lock back and leaves the queue.
    async fn release(&mut self, id: &HolderId) -> Result<Released, LockError>;

    /// Tells the group that this host had to leave `version`. The brake as it is then;
    /// none if this lock has no brakes.
    async fn report_rollback(
        &mut self,
        report: &Report,
        version: &Version,
    ) -> Result<Option<Brake>, LockError>;

    /// What there is to know of the group; nothing if this lock does not tell.
    async fn view(&mut self) -> Result<Option<View>, LockError>;

    /// What operators may do to the group; nothing if this lock has no such verbs.
    fn operator(&mut self) -> Option<&mut dyn Operator>;
}

/// What operators do to a group, from any of its hosts.
#[async_trait]
pub trait Operator: Send {
    /// Lets `max` hosts hold the lock at once. Nobody who holds it loses it. Returns the
    /// earlier number.
    async fn set_max(&mut self, max: u32) -> Result<u32, LockError>;

    /// Takes the lock from `id`, which must be gone for good or known not to reboot, and
    /// removes it from the queue. Returns what was known of it, if it held the lock.
    async fn unlock(&mut self, id: &HolderId) -> Result<Option<Holder>, LockError>;

    /// Lets hosts have `version` again. Returns who had reported it, if anybody had.
    async fn lift(&mut self, version: &Version) -> Result<Option<Brake>, LockError>;

    /// Takes over what a classic semaphore holds, once. With a source of none, the group's
    /// own key in the same etcd is read.
    async fn migrate(&mut self, source: Option<ClassicFile>) -> Result<Migration, LockError>;
}

/// A classic semaphore that was given as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicFile {
    /// Its name, for the record.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// From where: a key or a file's name.
    pub from: String,
    /// How many hosts may hold the lock at once now.
    pub max: u32,
    /// Who holds it now because of it.
    pub holders: Vec<HolderId>,
}
