//! How far a reboot has come: a pure state machine.
//!
//! ```text
//! Resting → Asking → Grace → Draining → Rebooting → (boot) Settling → Releasing → Resting
//! ```
//!
//! The plan is saved before anything is done about it: [`Plan::duty`] says what is to be done
//! in a state, so that a daemon that was killed in between does it after its next start.
//! Everything in a duty may be done twice.
//!
//! What was granted is known to the lock; the plan says what was asked. So every plan that
//! may hold the lock goes to [`Plan::Resting`] through [`Plan::Releasing`] only, also where
//! nobody knows whether it was granted.
//!
//! [`Plan::next`] says which event follows from what is known of the host. The rest of the
//! events are answers: of the lock, of people's time running out, of programs that ended.

mod facts;

use semver::Version;
use serde::{Deserialize, Serialize};

pub use facts::{Allowed, Facts, Known};

/// Why a host is to reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// For people.
    pub reason: String,
    /// The release that runs next, if it is another one.
    pub to: Option<Version>,
    /// Who wants it.
    pub by: By,
}

/// Who wants a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The host: a release is armed, or a program left word that it needs one.
    Host,
    /// An operator. This also counts where the policy reboots nobody.
    Operator,
}

/// What the lock is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Rebooting.
    Reboot(Need),
    /// Having it, until the operator who asked for it gives it back.
    Keep {
        /// Why, for people.
        reason: String,
    },
}

/// How far a reboot has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Plan {
    /// Nothing is held and nothing asked for.
    #[default]
    Resting,
    /// The lock is asked for. It may be held already.
    Asking {
        /// What for.
        goal: Goal,
    },
    /// The lock is held for an operator; nothing reboots by policy.
    Kept {
        /// Why.
        reason: String,
    },
    /// Whoever is logged in has time to get ready.
    Grace {
        /// Why the host reboots.
        need: Need,
    },
    /// The operator's programs run.
    Draining {
        /// Why the host reboots.
        need: Need,
    },
    /// The reboot is asked for.
    Rebooting {
        /// Why the host reboots.
        need: Need,
    },
    /// It was booted since, and has to come up well before others may follow.
    Settling,
    /// The lock is given back.
    Releasing {
        /// Why.
        why: Why,
    },
}

/// Why a lock is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The host is well again.
    Settled,
    /// The reboot is not needed any more.
    NotNeeded,
    /// The operator gives it back.
    Unlocked,
    /// The window closed before the reboot.
    WindowClosed,
    /// The policy says something else now.
    Policy,
    /// Other hosts had to leave the release.
    Braked(Version),
    /// It was taken from this host.
    Lost,
    /// One of the operator's programs failed.
    DrainFailed(String),
    /// The host did not reboot.
    Stuck(String),
}

impl Why {
    /// What comes next may come at once. Otherwise there is a pause first: something went
    /// wrong, or an operator wants the lock to be free.
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Settled | Self::NotNeeded | Self::WindowClosed | Self::Policy
        )
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settled => f.write_str("this host is well"),
            Self::NotNeeded => f.write_str("no reboot is needed any more"),
            Self::Unlocked => f.write_str("an operator gave it back"),
            Self::WindowClosed => f.write_str("the window closed"),
            Self::Policy => f.write_str("the policy changed"),
            Self::Braked(version) => write!(f, "other hosts had to leave {version}"),
            Self::Lost => f.write_str("the lock was taken from this host"),
            Self::DrainFailed(why) => write!(f, "a program before the reboot failed: {why}"),
            Self::Stuck(why) => write!(f, "this host did not reboot: {why}"),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is time to ask for the lock.
    Begin(Goal),
    /// It is time to reboot, and nobody is to be asked.
    BeginAlone(Need),
    /// The lock is held.
    Granted {
        /// A window is still open.
        open: bool,
    },
    /// Other hosts had to leave the release.
    Braked(Version),
    /// The lock is not held any more.
    Lost,
    /// Nobody is logged in, or they had their time.
    GraceOver {
        /// A window is still open.
        open: bool,
    },
    /// The operator's programs ended well.
    Drained,
    /// One of them did not.
    DrainFailed(String),
    /// The reboot is not to be. Too late once it was asked for.
    CallOff(Why),
    /// The host was to reboot a long time ago, and did not.
    Stuck(String),
    /// The daemon runs in another boot than before.
    Boot,
    /// The release that runs is kept, and whoever has to know of one that was left does.
    Settled,
    /// The lock is not held, and the queue was left.
    Released,
}

/// An event that does not belong to a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not belong to the state {state}")]
pub struct Rejected {
    /// The state.
    pub state: &'static str,
    /// The event.
    pub event: Event,
}

/// What a state asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty<'a> {
    /// Nothing.
    Nothing,
    /// Ask for the lock, again and again.
    Acquire(&'a Goal),
    /// Give signs of life to the lock.
    Hold,
    /// Warn whoever is logged in, and wait; give signs of life.
    Warn(&'a Need),
    /// Run the operator's programs; give signs of life.
    Drain(&'a Need),
    /// Make sure that the lock is held, and ask for a reboot.
    Reboot(&'a Need),
    /// Give the lock back.
    Release,
}

impl Plan {
    /// The state's name, as it is saved and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Asking { .. } => "asking",
            Self::Kept { .. } => "kept",
            Self::Grace { .. } => "grace",
            Self::Draining { .. } => "draining",
            Self::Rebooting { .. } => "rebooting",
            Self::Settling => "settling",
            Self::Releasing { .. } => "releasing",
        }
    }

    /// Why the host is about to reboot.
    pub fn need(&self) -> Option<&Need> {
        match self {
            Self::Asking {
                goal: Goal::Reboot(need),
            }
            | Self::Grace { need }
            | Self::Draining { need }
            | Self::Rebooting { need } => Some(need),
            _ => None,
        }
    }

    /// What is to be done now.
    pub fn duty(&self) -> Duty<'_> {
        match self {
            Self::Resting => Duty::Nothing,
            Self::Asking { goal } => Duty::Acquire(goal),
            Self::Kept { .. } | Self::Settling => Duty::Hold,
            Self::Grace { need } => Duty::Warn(need),
            Self::Draining { need } => Duty::Drain(need),
            Self::Rebooting { need } => Duty::Reboot(need),
            Self::Releasing { .. } => Duty::Release,
        }
    }

    /// The plan after `event`.
    ///
    /// Fails if the event does not belong to this state, as an answer that comes too late.
    pub fn on(&self, event: Event) -> Result<Self, Rejected> {
        if let Some(why) = self.gives_up(&event) {
            return Ok(Self::Releasing { why });
        }
        Ok(match (self, &event) {
            (Self::Resting | Self::Kept { .. }, Event::Boot) => self.clone(),
            (_, Event::Boot) => Self::Settling,
            (Self::Resting, Event::Begin(goal)) => Self::Asking { goal: goal.clone() },
            (Self::Resting, Event::BeginAlone(need)) => Self::Grace { need: need.clone() },
            (Self::Asking { goal }, Event::Granted { .. }) => match goal.clone() {
                Goal::Keep { reason } => Self::Kept { reason },
                Goal::Reboot(need) => Self::Grace { need },
            },
            (Self::Grace { need }, Event::GraceOver { .. }) => {
                Self::Draining { need: need.clone() }
            }
            (Self::Draining { need }, Event::Drained) => Self::Rebooting { need: need.clone() },
            (Self::Releasing { .. }, Event::Released) => Self::Resting,
            _ => {
                let state = self.name();
                return Err(Rejected { state, event });
            }
        })
    }

    /// Why the lock is given back on `event`, if it is.
    fn gives_up(&self, event: &Event) -> Option<Why> {
        let is_reboot = self.need().is_some();
        let is_asking = matches!(self, Self::Asking { .. });
        let holds = !matches!(self, Self::Resting | Self::Releasing { .. });
        let is_late = matches!(self, Self::Rebooting { .. });
        Some(match (self, event) {
            (Self::Asking { .. }, Event::Granted { open: false }) if is_reboot => Why::WindowClosed,
            (Self::Grace { .. }, Event::GraceOver { open: false }) => Why::WindowClosed,
            (Self::Draining { .. }, Event::DrainFailed(why)) => Why::DrainFailed(why.clone()),
            (Self::Rebooting { .. }, Event::Stuck(why)) => Why::Stuck(why.clone()),
            (Self::Settling, Event::Settled) => Why::Settled,
            (_, Event::CallOff(why)) if holds && !is_late => why.clone(),
            (_, Event::Braked(version)) if is_reboot => Why::Braked(version.clone()),
            (_, Event::Lost) if holds && !is_asking => Why::Lost,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
