//! What a trial leaves behind for the engine that finds the host back on the old slot.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use bootloader::Slot;
use daemon::{durable, kept};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::slot_name;
use crate::state::shorten;

/// Name of the file.
pub const FILE: &str = "trial.json";

/// How far a trial came, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The release on trial.
    pub version: Version,
    /// The slot it is in.
    #[serde(with = "slot_name")]
    pub slot: Slot,
    /// Random ID of the boot.
    pub boot: String,
    /// What was being done, saved before it was begun: a panic leaves it.
    pub doing: String,
    /// Why it failed; the first reason that was found.
    pub failure: Option<String>,
}

impl Trial {
    /// Why the host came back, for people.
    pub fn reason(&self) -> String {
        match &self.failure {
            Some(failure) => failure.clone(),
            None => format!("stopped without a word while {}", self.doing),
        }
    }
}

/// The trial that the files in `directory` tell about, if they do. What cannot be read
/// tells nothing.
pub fn load(directory: &Path) -> Option<Trial> {
    let text = kept::read(&directory.join(FILE)).ok().flatten()?;
    serde_json::from_str(&text).ok()
}

/// Saves `trial`, durably. A failure of the same boot that is there already stays.
pub fn save(directory: &Path, mut trial: Trial) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // The health gate and the watch over the whole boot may both have something to say.
    let lock = File::open(directory)?;
    lock.lock()?;
    if let Some(old) = load(directory).filter(|old| old.boot == trial.boot) {
        trial.failure = old.failure.or(trial.failure);
    }
    trial.failure = trial.failure.as_deref().map(shorten);
    let text = serde_json::to_vec_pretty(&trial)?;
    durable::replace(&directory.join(FILE), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(boot: &str, doing: &str, failure: Option<&str>) -> Trial {
        Trial {
            version: Version::new(0, 3, 0),
            slot: Slot::B,
            boot: boot.into(),
            doing: doing.into(),
            failure: failure.map(Into::into),
        }
    }

    #[test]
    fn the_first_failure_of_a_boot_is_the_one_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(load(&state), None);
        save(&state, trial("one", "reading /usr", None)).unwrap();
        assert_eq!(
            load(&state).unwrap().reason(),
            "stopped without a word while reading /usr"
        );
        save(&state, trial("one", "scripts", Some("10-sshd failed"))).unwrap();
        save(&state, trial("one", "waiting", Some("deadline"))).unwrap();
        assert_eq!(load(&state).unwrap().reason(), "10-sshd failed");
        save(&state, trial("two", "units", None)).unwrap();
        assert_eq!(load(&state).unwrap().failure, None);
    }

    #[test]
    fn a_torn_file_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"version\": \"0.3").unwrap();
        assert_eq!(load(dir.path()), None);
    }
}
