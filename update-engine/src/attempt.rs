//! How far one update has come: a pure state machine.
//!
//! ```text
//! Idle → Fetching → Written → Armed → (reboot) Trial → Blessed | RolledBack
//! ```
//!
//! The state is saved before anything is done about it: [`Attempt::duty`] says what is
//! to be done in a state, so that an engine that was killed in between does it after
//! its next start. Everything in a duty may be done twice.
//!
//! The slots' bits on the disk are the truth about what was armed, tried and blessed;
//! the saved state says what was meant. [`Event::Boot`] brings the two together.

use bootloader::slot::{Slot, SlotBits};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::slot_name;

/// Who wants a release to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The policy, through its channel.
    Policy,
    /// An operator, who named neither version nor direction.
    Operator,
    /// An operator, who named the version.
    OperatorVersion,
    /// An operator, who named a version that may be older.
    OperatorDowngrade,
}

/// What an attempt is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Number of the attempt on this host, from 1. 0: a release on trial of which
    /// nothing was saved.
    pub id: u64,
    /// The version that ran when it began.
    pub from: Version,
    /// The version that is taken.
    pub to: Version,
    /// The slot that it is written to.
    #[serde(with = "slot_name")]
    pub slot: Slot,
    /// Who wants it.
    pub by: By,
}

/// How far the update of this host has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Attempt {
    /// Nothing was tried yet, or it was given up before the slot was armed.
    #[default]
    Idle,
    /// The release is being brought to the passive slot.
    Fetching {
        /// What it is about.
        job: Job,
    },
    /// All of it is in the slot and was read back; arming is next.
    Written {
        /// What it is about.
        job: Job,
    },
    /// The slot is the next one tried.
    Armed {
        /// What it is about.
        job: Job,
        /// The boot (its random ID) in which it was armed.
        boot: String,
    },
    /// The slot runs and has to prove itself.
    Trial {
        /// What it is about.
        job: Job,
    },
    /// The slot runs and is healthy.
    Blessed {
        /// What it was about.
        job: Job,
    },
    /// The release was given up; the other slot is the one to run.
    RolledBack {
        /// What it was about.
        job: Job,
        /// Why.
        reason: String,
    },
}

/// What the engine finds when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Random ID of this boot.
    pub id: String,
    /// The slot that runs.
    pub running: Slot,
    /// The release that runs.
    pub version: Version,
    /// Bits of slot `a` and of slot `b`.
    pub bits: [SlotBits; 2],
    /// What the last trial left about why it failed.
    pub failure: Option<String>,
}

impl Boot {
    /// Bits of `slot`.
    pub fn bits(&self, slot: Slot) -> SlotBits {
        let [a, b] = self.bits;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A release is to be taken.
    Start(Job),
    /// All of it is in the slot and was checked.
    Written,
    /// The deciding write was done, in the boot with this ID.
    Armed(String),
    /// It is given up before anything was armed.
    GiveUp,
    /// The slot that was armed must not be tried after all.
    Disarm,
    /// The engine started.
    Boot(Boot),
    /// The running slot is healthy, and that is on the disk.
    Bless,
    /// An operator allows the release that was rolled back.
    Pardon,
    /// An operator sends the host back from the release in `job.slot`, which runs.
    RollBack {
        /// The release that is left; `to` and `slot` are what runs.
        job: Job,
        /// Why.
        reason: String,
    },
}

/// What is to be done in a state. Doing it again does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Bring the release to the slot and arm it.
    Install(Job),
    /// Put the release on the list of denied ones, and make sure that its slot is not
    /// tried again, unless it is the one that runs.
    Deny {
        /// What it was about.
        job: Job,
        /// Why.
        reason: String,
    },
}

/// An event that does not fit the state. The state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible while the update is {state}")]
pub struct Rejected {
    /// Name of the state.
    pub state: &'static str,
    /// What was asked for.
    pub event: &'static str,
}

/// Reason where a trial left none.
pub const NO_TRACE: &str = "did not come up: never reached the health gate";

impl Attempt {
    /// The state's name, as on D-Bus.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching { .. } => "fetching",
            Self::Written { .. } => "written",
            Self::Armed { .. } => "armed",
            Self::Trial { .. } => "trial",
            Self::Blessed { .. } => "blessed",
            Self::RolledBack { .. } => "rolled-back",
        }
    }

    /// What it is about.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Idle => None,
            Self::Fetching { job }
            | Self::Written { job }
            | Self::Armed { job, .. }
            | Self::Trial { job }
            | Self::Blessed { job }
            | Self::RolledBack { job, .. } => Some(job),
        }
    }

    /// What is to be done now, also after a start.
    pub fn duty(&self) -> Option<Duty> {
        match self {
            Self::Fetching { job } | Self::Written { job } => Some(Duty::Install(job.clone())),
            Self::RolledBack { job, reason } => Some(Duty::Deny {
                job: job.clone(),
                reason: reason.clone(),
            }),
            Self::Idle | Self::Armed { .. } | Self::Trial { .. } | Self::Blessed { .. } => None,
        }
    }

    /// The state after `event`. Pure.
    pub fn on(&self, event: Event) -> Result<Self, Rejected> {
        let rejected = Rejected {
            state: self.name(),
            event: event.name(),
        };
        let next = match (self, event) {
            (_, Event::Boot(boot)) => Some(self.boot(&boot)),
            (_, Event::Start(job)) if self.may_start(&job) => Some(Self::Fetching { job }),
            (Self::Fetching { job }, Event::Written) => Some(Self::Written { job: job.clone() }),
            (Self::Written { job }, Event::Armed(boot)) => Some(Self::Armed {
                job: job.clone(),
                boot,
            }),
            (Self::Fetching { .. } | Self::Written { .. }, Event::GiveUp) => Some(Self::Idle),
            (Self::Armed { .. }, Event::Disarm) => Some(Self::Idle),
            (Self::RolledBack { .. }, Event::Pardon) => Some(Self::Idle),
            (Self::Trial { job }, Event::Bless) => Some(Self::Blessed { job: job.clone() }),
            (
                Self::Idle | Self::Trial { .. } | Self::Blessed { .. } | Self::RolledBack { .. },
                Event::RollBack { job, reason },
            ) if !self.is_leaving(job.slot) => Some(Self::RolledBack { job, reason }),
            _ => None,
        };
        next.ok_or(rejected)
    }

    /// A release may be taken to its slot, unless what is there is still needed: on
    /// trial, and while an operator's way back has not been gone yet.
    fn may_start(&self, job: &Job) -> bool {
        match self {
            Self::Idle | Self::Blessed { .. } => true,
            Self::Fetching { job: old } | Self::Written { job: old } => old.slot == job.slot,
            Self::Armed { job: old, .. } => old.slot == job.slot,
            Self::RolledBack { job: left, .. } => left.slot == job.slot,
            Self::Trial { .. } => false,
        }
    }

    /// The host was already sent back from `slot`.
    fn is_leaving(&self, slot: Slot) -> bool {
        matches!(self, Self::RolledBack { job, .. } if job.slot == slot)
    }

    fn boot(&self, boot: &Boot) -> Self {
        match self {
            Self::Fetching { job } | Self::Written { job } | Self::Armed { job, .. } => {
                if boot.running == job.slot {
                    return on_trial(job.clone(), boot);
                }
                match (fate(boot.bits(job.slot)), self) {
                    // Only an engine disarms: an operator took it back. Nobody blesses
                    // what never ran here.
                    (Fate::NotArmed | Fate::Healthy, Self::Armed { .. }) => Self::Idle,
                    // Arming is the last step, and was not done yet.
                    (Fate::NotArmed | Fate::Healthy, _) => self.clone(),
                    (Fate::Waiting, Self::Armed { .. }) => self.clone(),
                    (Fate::Waiting, _) => Self::Armed {
                        job: job.clone(),
                        boot: boot.id.clone(),
                    },
                    (Fate::Failed, _) => given_up(job, boot),
                }
            }
            Self::Trial { job } if boot.running == job.slot => on_trial(job.clone(), boot),
            Self::Trial { job } => match fate(boot.bits(job.slot)) {
                Fate::Healthy => Self::Idle,
                _ => given_up(job, boot),
            },
            Self::Idle | Self::Blessed { .. } | Self::RolledBack { .. } => {
                if boot.bits(boot.running).successful || self.is_leaving(boot.running) {
                    self.clone()
                } else {
                    on_trial(unknown_job(boot), boot)
                }
            }
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "taking a release",
            Self::Written => "arming",
            Self::Armed(_) => "having armed",
            Self::GiveUp => "giving up",
            Self::Disarm => "disarming",
            Self::Boot(_) => "starting",
            Self::Bless => "blessing",
            Self::Pardon => "allowing",
            Self::RollBack { .. } => "rolling back",
        }
    }
}

/// What became of a slot that does not run.
enum Fate {
    /// It is not meant to be started.
    NotArmed,
    /// It is to be tried.
    Waiting,
    /// It was tried and did not succeed, or could not be started.
    Failed,
    /// It came up once.
    Healthy,
}

fn fate(bits: SlotBits) -> Fate {
    match bits {
        SlotBits { priority: 0, .. } => Fate::NotArmed,
        SlotBits {
            successful: true, ..
        } => Fate::Healthy,
        SlotBits { tries: 0, .. } => Fate::Failed,
        _ => Fate::Waiting,
    }
}

fn on_trial(job: Job, boot: &Boot) -> Attempt {
    if boot.bits(boot.running).successful {
        Attempt::Blessed { job }
    } else {
        Attempt::Trial { job }
    }
}

fn given_up(job: &Job, boot: &Boot) -> Attempt {
    Attempt::RolledBack {
        job: job.clone(),
        reason: boot.failure.clone().unwrap_or_else(|| NO_TRACE.into()),
    }
}

/// For a release on trial of which nothing was saved.
fn unknown_job(boot: &Boot) -> Job {
    Job {
        id: 0,
        from: boot.version.clone(),
        to: boot.version.clone(),
        slot: boot.running,
        by: By::Policy,
    }
}

#[cfg(test)]
mod tests;
