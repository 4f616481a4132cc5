//! What update-engine says of this host: `org.ballast.Update1`, followed.

mod follow;

use jiff::Timestamp;
use semver::Version;
use serde::Deserialize;

use crate::plan::{By, Known, Need};

pub use follow::follow;

/// What is known of update-engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Engine {
    /// It has not answered yet, or does not any more.
    #[default]
    Unknown,
    /// There is none: its unit is masked. Then the end of the boot has to tell whether
    /// this host is well.
    Absent {
        /// `boot-complete.target` was reached.
        booted: bool,
    },
    /// It says this.
    Says(Box<Says>),
}

/// The part of its `Describe` that matters here; see `docs/updates.md`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Says {
    #[serde(default)]
    running: Option<Running>,
    #[serde(default)]
    other: Option<Other>,
    #[serde(default)]
    update: Update,
    /// Releases that this host had to leave.
    #[serde(default)]
    pub denied: Vec<Denied>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Running {
    version: Version,
    slot: String,
    blessed: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Other {
    #[serde(default)]
    version: Option<Version>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
struct Update {
    state: String,
    #[serde(default)]
    version: Option<Version>,
    #[serde(default)]
    slot: Option<String>,
}

/// A release that this host had to leave.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Denied {
    /// The release.
    pub version: Version,
    /// Why.
    pub reason: String,
    /// Since when it is not taken again.
    pub since: Timestamp,
}

impl Engine {
    /// Why this host is to reboot.
    pub fn need(&self) -> Known<Need> {
        let Self::Says(says) = self else {
            return match self {
                Self::Absent { .. } => Known::No,
                _ => Known::Unknown,
            };
        };
        let update = &says.update;
        let need = |reason: String, to| {
            Known::Yes(Need {
                reason,
                to,
                by: By::Host,
            })
        };
        match (update.state.as_str(), &update.version) {
            ("armed", Some(version)) => need(format!("{version} is armed"), Some(version.clone())),
            ("rolled-back", Some(version)) if says.is_leaving() => {
                let to = says.other.as_ref().and_then(|other| other.version.clone());
                need(format!("{version} is to be left"), to)
            }
            _ => Known::No,
        }
    }

    /// What runs here is kept; it is not on trial.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Absent { booted } => *booted,
            Self::Says(says) => {
                let blessed = says.running.as_ref().is_some_and(|running| running.blessed);
                says.update.state != "trial" && (blessed || says.is_leaving())
            }
        }
    }

    /// The release that runs.
    pub fn running(&self) -> Option<&Version> {
        match self {
            Self::Says(says) => says.running.as_ref().map(|running| &running.version),
            _ => None,
        }
    }

    /// Releases that this host had to leave.
    pub fn denied(&self) -> &[Denied] {
        match self {
            Self::Says(says) => &says.denied,
            _ => &[],
        }
    }
}

impl Says {
    /// What runs was given up: the next boot is one of the other slot.
    fn is_leaving(&self) -> bool {
        let slot = self.running.as_ref().map(|running| &running.slot);
        self.update.state == "rolled-back" && slot.is_some() && slot == self.update.slot.as_ref()
    }
}

#[cfg(test)]
mod tests;
