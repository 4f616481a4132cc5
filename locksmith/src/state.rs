//! What locksmith remembers across restarts and reboots.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use daemon::{durable, kept};
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::record::BootId;
use crate::settings::Place;

/// Where it is.
pub const DIRECTORY: &str = "/var/lib/ballast/locksmith";

const FILE: &str = "state.json";

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// How far a reboot has come.
    pub plan: Plan,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The boot in which that was.
    pub boot: BootId,
    /// Where the lock is that the plan is about; nowhere, if nobody is asked.
    pub place: Option<Place>,
    /// An operator wants the lock to be held, and says why.
    pub keep: Option<String>,
    /// An operator wants a reboot, and says why.
    pub wish: Option<String>,
    /// Releases that this host had to leave, of which its group knows.
    pub reported: Vec<Reported>,
}

/// A release that this host had to leave, of which its group knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The release.
    pub version: Version,
    /// Since when it is not taken here.
    pub since: Timestamp,
    /// The group.
    pub group: String,
}

/// The file could not be written; what it held before still counts.
#[derive(Debug, thiserror::Error)]
#[error("writing {}: is there room on the disk?", .path.display())]
pub struct StateError {
    path: PathBuf,
    source: io::Error,
}

/// The daemon's files. Only one daemon uses a directory at a time.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory, if it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StateError> {
        let directory = directory.into();
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        match made {
            Ok(()) => Ok(Self { directory }),
            Err(source) => Err(StateError {
                path: directory,
                source,
            }),
        }
    }

    /// What was saved last; a message for people where it could not be used.
    pub fn load(&self) -> (Saved, Option<String>) {
        kept::load(&self.directory.join(FILE), |text| {
            serde_json::from_str(text)
        })
    }

    /// Saves it, durably.
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        let path = self.directory.join(FILE);
        let written = serde_json::to_vec_pretty(saved)
            .map_err(io::Error::from)
            .and_then(|text| durable::replace(&path, &text));
        written.map_err(|source| StateError { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{By, Goal, Need};
    use daemon::policy::reboot::Etcd;

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("state")).unwrap();
        assert_eq!(store.load(), (Saved::default(), None));
        let need = Need {
            reason: "0.2.0 is armed".into(),
            to: Some(Version::new(0, 2, 0)),
            by: By::Host,
        };
        let saved = Saved {
            plan: Plan::Asking {
                goal: Goal::Reboot(need),
            },
            since: Some(Timestamp::UNIX_EPOCH),
            boot: "one".into(),
            place: Some(Place::Etcd(Etcd::default())),
            keep: None,
            wish: Some("disks".into()),
            reported: vec![Reported {
                version: Version::new(0, 1, 9),
                since: Timestamp::UNIX_EPOCH,
                group: "default".into(),
            }],
        };
        store.save(&saved).unwrap();
        assert_eq!(store.load(), (saved, None));
    }

    #[test]
    fn a_damaged_file_is_set_aside_once_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(FILE), "{\"plan\": {\"sta").unwrap();
        let (saved, message) = store.load();
        assert_eq!(saved, Saved::default());
        assert!(message.unwrap().contains("state.json.bad"));
        assert_eq!(store.load(), (Saved::default(), None));
    }
}
