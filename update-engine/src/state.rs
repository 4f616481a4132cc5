//! What the engine remembers, in files that are there whole or not at all.
//!
//! | file | content |
//! |---|---|
//! | `state.json` | [`State`] |
//! | `history.jsonl` | one [`Record`] per line, oldest first, at most [`MAX_RECORDS`] |
//! | `denied.json` | [`Denied`] versions, at most [`MAX_DENIED`] |
//! | `trial.json` | what the last trial left ([`crate::trial`]) |
//!
//! A file that does not hold what it should is set aside as `NAME.bad` and reported; the
//! engine goes on as if it had not been there, because the slots' bits tell what it must
//! not get wrong.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use bootloader::Slot;
use daemon::{durable, kept};
use jiff::Timestamp;
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, By, Job};
use crate::slot_name;

/// Where the engine's files are on a host.
pub const DIRECTORY: &str = "/var/lib/ballast/update-engine";

/// Most attempts that the history holds.
pub const MAX_RECORDS: usize = 200;

/// Most versions that can be denied at a time; the oldest ones are forgotten.
pub const MAX_DENIED: usize = 64;

/// Longest reason that is kept, in bytes.
const MAX_REASON: usize = 4096;

/// What the engine remembers of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// How far the update has come.
    pub attempt: Attempt,
    /// Number of the next attempt.
    pub next_id: u64,
    /// Operators want no new release to be taken.
    pub held: Option<Hold>,
    /// When a server was last asked with success.
    pub checked: Option<Timestamp>,
    /// Checks and installations by policy that failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// The release in slot `a` and in slot `b`, as far as it is known.
    pub releases: [Option<Version>; 2],
}

impl Default for State {
    fn default() -> Self {
        Self {
            attempt: Attempt::Idle,
            next_id: 1,
            held: None,
            checked: None,
            failures: 0,
            last_error: None,
            releases: [None, None],
        }
    }
}

impl State {
    /// The release in `slot`, as far as it is known.
    pub fn release(&self, slot: Slot) -> Option<&Version> {
        self.releases[index(slot)].as_ref()
    }

    /// Notes which release is in `slot`.
    pub fn set_release(&mut self, slot: Slot, version: Option<Version>) {
        self.releases[index(slot)] = version;
    }
}

fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

/// Why and since when no release is taken by policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// Why, in an operator's words.
    pub reason: String,
}

/// A version that is not taken any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// The version.
    pub version: Version,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// How an attempt ended, or that it did not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// It waits for a reboot.
    Armed,
    /// It runs and has to prove itself.
    Trial,
    /// It came up healthy.
    Blessed,
    /// It was given up after it was armed.
    RolledBack,
    /// It was given up before it was armed.
    Failed,
    /// An operator stopped it.
    Cancelled,
}

/// One attempt in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the attempt.
    pub id: u64,
    /// Version that ran when it began.
    pub from: Version,
    /// Version that was taken.
    pub to: Version,
    /// Slot that it was written to.
    #[serde(with = "slot_name")]
    pub slot: Slot,
    /// Who wanted it.
    pub by: By,
    /// When it began.
    pub started: Timestamp,
    /// When the slot was armed.
    pub armed: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, where there is something to say.
    pub reason: Option<String>,
    /// Bytes that came from the server.
    pub received: u64,
    /// Requests to the server.
    pub requests: u64,
    /// Bytes of the release, as it lies in its slot.
    pub total: u64,
    /// Of these, bytes that were on the disk already.
    pub reused: u64,
}

impl Record {
    /// An attempt that begins.
    pub fn new(job: &Job, started: Timestamp) -> Self {
        Self {
            id: job.id,
            from: job.from.clone(),
            to: job.to.clone(),
            slot: job.slot,
            by: job.by,
            started,
            armed: None,
            ended: None,
            outcome: Outcome::Running,
            reason: None,
            received: 0,
            requests: 0,
            total: 0,
            reused: 0,
        }
    }
}

/// A file of the engine could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not written; what it held before still counts.
    #[error("writing {}: is there room on the disk?", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The engine's files. Only one engine uses a directory at a time.
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
        made.map_err(|source| StateError::Write {
            path: directory.clone(),
            source,
        })?;
        Ok(Self { directory })
    }

    /// Path of one of the files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What was saved last; a message for people where it could not be used.
    pub fn state(&self) -> (State, Option<String>) {
        self.json("state.json")
    }

    /// Saves the state, durably.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        self.write("state.json", &to_json(state))
    }

    /// The denied versions, oldest first.
    pub fn denied(&self) -> (Vec<Denied>, Option<String>) {
        self.json("denied.json")
    }

    /// Saves the denied versions; only the newest [`MAX_DENIED`].
    pub fn save_denied(&self, denied: &[Denied]) -> Result<(), StateError> {
        let from = denied.len().saturating_sub(MAX_DENIED);
        self.write("denied.json", &to_json(&&denied[from..]))
    }

    /// All attempts, oldest first.
    pub fn history(&self) -> (Vec<Record>, Option<String>) {
        let name = "history.jsonl";
        let parse = |text: &str| {
            let records = text.lines().map(serde_json::from_str);
            records.collect::<Result<Vec<Record>, _>>()
        };
        kept::load(&self.path(name), parse)
    }

    /// Puts `record` in the place of the one with its number, or behind the others.
    pub fn record(&self, mut record: Record) -> Result<(), StateError> {
        record.reason = record.reason.map(|reason| shorten(&reason));
        let (mut records, _) = self.history();
        match records.iter_mut().find(|old| old.id == record.id) {
            Some(old) => *old = record,
            None => records.push(record),
        }
        let from = records.len().saturating_sub(MAX_RECORDS);
        let mut text = Vec::new();
        for record in &records[from..] {
            text.extend(serde_json::to_vec(record).unwrap_or_default());
            text.push(b'\n');
        }
        self.write("history.jsonl", &text)
    }

    /// The attempt with this number.
    pub fn find(&self, id: u64) -> Option<Record> {
        let (records, _) = self.history();
        records.into_iter().find(|record| record.id == id)
    }

    /// Removes a file, durably, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path(name);
        durable::remove(&path).map_err(|source| StateError::Write { path, source })
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path(name);
        durable::replace(&path, content).map_err(|source| StateError::Write { path, source })
    }

    fn json<T: DeserializeOwned + Default>(&self, name: &str) -> (T, Option<String>) {
        kept::load(&self.path(name), |text| serde_json::from_str(text))
    }
}

/// These types always have a JSON form.
fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// `reason`, short enough to be kept.
pub fn shorten(reason: &str) -> String {
    match reason.char_indices().nth(MAX_REASON / 4) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn job(id: u64) -> Job {
        Job {
            id,
            from: Version::new(0, 1, 0),
            to: Version::new(0, 2, 0),
            slot: Slot::B,
            by: By::Policy,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("state")).unwrap();
        (dir, store)
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let (_dir, store) = store();
        assert_eq!(store.state(), (State::default(), None));
        let state = State {
            attempt: Attempt::Fetching { job: job(1) },
            next_id: 2,
            held: Some(Hold {
                since: Timestamp::UNIX_EPOCH,
                reason: "audit".into(),
            }),
            failures: 3,
            ..State::default()
        };
        store.save(&state).unwrap();
        assert_eq!(store.state(), (state, None));
    }

    #[test]
    fn a_damaged_file_is_set_aside_once_and_named() {
        let (_dir, store) = store();
        store.save(&State::default()).unwrap();
        let path = store.path("state.json");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        let (state, message) = store.state();
        assert_eq!(state, State::default());
        assert!(message.unwrap().contains("state.json.bad"));
        assert_eq!(store.state(), (State::default(), None));
        assert!(store.path("state.json.bad").exists());
    }

    #[test]
    fn history_holds_the_last_attempts_and_the_last_word_on_each() {
        let (_dir, store) = store();
        let count = MAX_RECORDS as u64 + 5;
        for id in 1..=count {
            let record = Record::new(&job(id), Timestamp::UNIX_EPOCH);
            store.record(record).unwrap();
        }
        let mut last = store.find(count).unwrap();
        last.outcome = Outcome::Blessed;
        store.record(last.clone()).unwrap();
        let (records, _) = store.history();
        assert_eq!(records.len(), MAX_RECORDS);
        assert_eq!(records[0].id, 6);
        assert_eq!(records.last(), Some(&last));
    }

    #[test]
    fn only_so_many_versions_are_denied_at_a_time() {
        let (_dir, store) = store();
        let denied: Vec<_> = (0..MAX_DENIED as u64 + 1)
            .map(|n| Denied {
                version: Version::new(0, n, 0),
                reason: "x".into(),
                since: Timestamp::UNIX_EPOCH,
            })
            .collect();
        store.save_denied(&denied).unwrap();
        assert_eq!(store.denied().0, &denied[1..]);
    }

    proptest! {
        #[test]
        fn no_bytes_in_a_file_make_the_engine_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (_dir, store) = store();
            for name in ["state.json", "history.jsonl", "denied.json"] {
                fs::write(store.path(name), &bytes).unwrap();
            }
            let _ = (store.state(), store.history(), store.denied());
            prop_assert!(store.state().1.is_none(), "set aside the first time");
        }
    }
}
