//! Pods on disk.

mod files;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::manifest::VERSION;
use crate::dirs::Dirs;

const MANIFEST: &str = "pod.json";
const ATTACHMENTS: &str = "cni.json";

/// How far a pod has come. A pod only goes on, in this order; from any it may go to garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being made. Without a lock it was given up.
    Preparing,
    /// It can be run.
    Prepared,
    /// It runs, or did so until its processes or the host ended.
    Running,
    /// It has run.
    Exited,
    /// It is being removed.
    Garbage,
}

impl State {
    const ALL: [Self; 5] = [
        Self::Preparing,
        Self::Prepared,
        Self::Running,
        Self::Exited,
        Self::Garbage,
    ];

    /// The directory of pods in this state.
    fn directory(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Garbage => "garbage",
        }
    }
}

/// Something is wrong with what is kept of pods.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be used.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what rocket wrote.
    #[error("{} is damaged; `rocket rm --force` removes the pod", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A file is of another rocket.
    #[error("{} has format {found}, this rocket knows {VERSION}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is no such pod.
    #[error("no pod {0:?}; `rocket list` shows those there are")]
    Unknown(String),
    /// There are several.
    #[error("{0:?} stands for more than one pod: {first} and {second}", first = .1[0], second = .1[1])]
    Ambiguous(String, [Uuid; 2]),
    /// Another rocket is at work on it.
    #[error("pod {0} is being changed by another rocket; try again when it is done")]
    Busy(Uuid),
}

/// All pods of a host.
#[derive(Debug, Clone)]
pub struct Pods {
    dir: PathBuf,
}

/// A pod in a state, locked or not.
#[derive(Debug)]
pub struct Pod {
    uuid: Uuid,
    state: State,
    path: PathBuf,
    pods: PathBuf,
    /// Holds the lock as long as it is open.
    lock: Option<File>,
}

impl Pods {
    /// Those below `dirs`. Makes what is not there.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn open(dirs: &Dirs) -> Result<Self, StoreError> {
        let dir = dirs.pods();
        for state in State::ALL {
            let path = dir.join(state.directory());
            if !path.is_dir() {
                make(&path)?;
            }
        }
        Ok(Self { dir })
    }

    /// A new pod, being prepared, locked.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> Result<Pod, StoreError> {
        loop {
            let uuid = Uuid::new_v4();
            make(&self.path(State::Preparing, uuid))?;
            let mut pod = self.pod(uuid, State::Preparing);
            match pod.lock() {
                Ok(()) => return Ok(pod),
                // A collection took it for one that was given up.
                Err(StoreError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Every pod, in no order. Pods that change while this looks are seen once or not at all.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn all(&self) -> Result<Vec<Pod>, StoreError> {
        let mut found = Vec::new();
        for state in State::ALL {
            found.extend(self.in_state(state)?);
        }
        // A pod that went on between two directories was seen twice: its later state counts.
        found.sort_by_key(|pod| (pod.uuid, std::cmp::Reverse(pod.state)));
        found.dedup_by_key(|pod| pod.uuid);
        Ok(found)
    }

    /// Every pod in this state.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn in_state(&self, state: State) -> Result<Vec<Pod>, StoreError> {
        let path = self.dir.join(state.directory());
        let entries = fs::read_dir(&path).map_err(failed("listing", &path))?;
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("listing", &path))?.file_name();
            let uuid = name.to_str().and_then(|name| Uuid::try_parse(name).ok());
            found.extend(uuid.map(|uuid| self.pod(uuid, state)));
        }
        Ok(found)
    }

    /// The declared pod of this name that runs, else the pod whose UUID begins with `text`.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Pod, StoreError> {
        let wanted = text.to_ascii_lowercase();
        if let Ok(uuid) = Uuid::try_parse(&wanted) {
            return self.get(uuid);
        }
        let is_it = |pod: &Pod| pod.name().is_ok_and(|name| name.as_deref() == Some(text));
        if let Some(pod) = self.in_state(State::Running)?.into_iter().find(is_it) {
            return Ok(pod);
        }
        let matches = |pod: &Pod| !wanted.is_empty() && pod.uuid.to_string().starts_with(&wanted);
        let mut found = self.all()?.into_iter().filter(matches);
        match (found.next(), found.next()) {
            (Some(pod), None) => Ok(pod),
            (None, _) => Err(StoreError::Unknown(text.to_owned())),
            (Some(one), Some(two)) => {
                Err(StoreError::Ambiguous(text.to_owned(), [one.uuid, two.uuid]))
            }
        }
    }

    /// The pod with this UUID.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, uuid: Uuid) -> Result<Pod, StoreError> {
        // States only go on, so one that is missed in one directory is met in a later one.
        State::ALL
            .into_iter()
            .find(|state| self.path(*state, uuid).is_dir())
            .map(|state| self.pod(uuid, state))
            .ok_or_else(|| StoreError::Unknown(uuid.to_string()))
    }

    fn path(&self, state: State, uuid: Uuid) -> PathBuf {
        self.dir.join(state.directory()).join(uuid.to_string())
    }

    fn pod(&self, uuid: Uuid, state: State) -> Pod {
        Pod {
            uuid,
            state,
            path: self.path(state, uuid),
            pods: self.dir.clone(),
            lock: None,
        }
    }
}

impl Pod {
    /// Its name for ever.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its state when it was looked at.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its directory, as long as it does not go on.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its directory is when it is in `state`.
    pub fn path_in(&self, state: State) -> PathBuf {
        self.pods
            .join(state.directory())
            .join(self.uuid.to_string())
    }

    /// Makes this process the only one that changes the pod, until it is dropped.
    ///
    /// # Errors
    /// Another process holds the lock, or the pod went on or away.
    pub fn lock(&mut self) -> Result<(), StoreError> {
        let file = File::open(&self.path).map_err(|error| self.lost(error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy(self.uuid)),
            Err(TryLockError::Error(error)) => return Err(failed("locking", &self.path)(error)),
        }
        // Whoever held it before may have moved it away.
        let held = file.metadata().map_err(failed("reading", &self.path))?;
        let here = fs::metadata(&self.path).map_err(|error| self.lost(error))?;
        if (held.dev(), held.ino()) != (here.dev(), here.ino()) {
            return Err(StoreError::Busy(self.uuid));
        }
        self.lock = Some(file);
        Ok(())
    }

    /// The same; nothing if this has the lock already.
    ///
    /// # Errors
    /// As for [`Self::lock`].
    pub fn hold(&mut self) -> Result<(), StoreError> {
        match self.lock {
            Some(_) => Ok(()),
            None => self.lock(),
        }
    }

    /// Returns when no other process holds its lock.
    ///
    /// # Errors
    /// The lock cannot be asked for.
    pub fn wait_until_free(&self) -> Result<(), StoreError> {
        match File::open(&self.path) {
            Ok(file) => file.lock_shared().map_err(failed("locking", &self.path)),
            // It went on, which only who holds the lock can do.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("opening", &self.path)(error)),
        }
    }

    /// When it went on to the state it is in, or something in its directory changed.
    ///
    /// # Errors
    /// It went on or away.
    pub fn changed(&self) -> Result<Timestamp, StoreError> {
        let found = fs::metadata(&self.path).map_err(|error| self.lost(error))?;
        // A rename changes the times of the directories around, and of what is moved this one.
        let nanoseconds = i32::try_from(found.ctime_nsec()).unwrap_or_default();
        Timestamp::new(found.ctime(), nanoseconds)
            .map_err(|error| failed("reading the time of", &self.path)(io::Error::other(error)))
    }

    /// Another process holds its lock.
    pub fn is_busy(&self) -> bool {
        if self.lock.is_some() {
            return false;
        }
        let Ok(file) = File::open(&self.path) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Goes on to another state. Only for whoever holds the lock.
    ///
    /// # Errors
    /// The directory cannot be renamed.
    pub fn advance(&mut self, to: State) -> Result<(), StoreError> {
        let path = self.path_in(to);
        fs::rename(&self.path, &path).map_err(failed("moving", &self.path))?;
        self.path = path;
        self.state = to;
        Ok(())
    }

    /// Removes it: nobody runs it any more when its files go. Of a pod that plugins still have
    /// in their networks, what they have to be told stays as garbage. Only for whoever holds
    /// the lock.
    ///
    /// # Errors
    /// A file cannot be removed; the rest stays garbage.
    pub fn remove(mut self) -> Result<(), StoreError> {
        if self.state != State::Garbage {
            self.advance(State::Garbage)?;
        }
        // What is damaged tells nobody anything.
        let removed = match self.attachments() {
            Ok(attachments) if !attachments.is_empty() => self.remove_all_but(ATTACHMENTS),
            _ => fs::remove_dir_all(&self.path),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("removing", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    fn remove_all_but(&self, kept: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == kept {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn lost(&self, error: io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::NotFound => StoreError::Busy(self.uuid),
            _ => failed("opening", &self.path)(error),
        }
    }
}

fn make(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("creating", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> (tempfile::TempDir, Pods) {
        let dir = tempfile::tempdir().unwrap();
        let pods = Pods::open(&Dirs::below(dir.path())).unwrap();
        (dir, pods)
    }

    #[test]
    fn a_pod_goes_on_by_renames_and_is_found_in_its_last_state() {
        let (_dir, pods) = pods();
        let mut pod = pods.create().unwrap();
        for state in [State::Prepared, State::Running, State::Exited] {
            pod.advance(state).unwrap();
            assert_eq!(pods.get(pod.uuid()).unwrap().state(), state);
            assert_eq!(pods.all().unwrap().len(), 1);
        }
        let uuid = pod.uuid();
        pod.remove().unwrap();
        assert!(matches!(pods.get(uuid), Err(StoreError::Unknown(_))));
    }

    #[test]
    fn only_one_changes_a_pod() {
        let (_dir, pods) = pods();
        let mut pod = pods.create().unwrap();
        pod.advance(State::Prepared).unwrap();
        let mut other = pods.get(pod.uuid()).unwrap();
        assert!(other.is_busy());
        assert!(matches!(other.lock(), Err(StoreError::Busy(_))));
        drop(pod);
        assert!(!other.is_busy());
        other.lock().unwrap();
    }

    #[test]
    fn a_pod_that_went_on_is_not_locked_at_its_old_place() {
        let (_dir, pods) = pods();
        let mut pod = pods.create().unwrap();
        let mut stale = pods.get(pod.uuid()).unwrap();
        pod.advance(State::Prepared).unwrap();
        drop(pod);
        assert!(matches!(stale.lock(), Err(StoreError::Busy(_))));
    }

    #[test]
    fn the_beginning_of_a_uuid_is_enough_if_it_is_one_pod() {
        let (_dir, pods) = pods();
        let one = pods.create().unwrap();
        let begin = &one.uuid().to_string()[..13];
        assert_eq!(pods.find(begin).unwrap().uuid(), one.uuid());
        assert!(matches!(pods.find(""), Err(StoreError::Unknown(_))));
        assert!(matches!(pods.find("zz"), Err(StoreError::Unknown(_))));
    }

    #[test]
    fn a_declared_pod_that_runs_is_found_by_its_name() {
        let (_dir, pods) = pods();
        let mut pod = pods.create().unwrap();
        assert_eq!(pod.name().unwrap(), None);
        pod.write_name("web").unwrap();
        assert!(matches!(pods.find("web"), Err(StoreError::Unknown(_))));
        pod.advance(State::Running).unwrap();
        assert_eq!(pods.find("web").unwrap().uuid(), pod.uuid());
        assert_eq!(
            pods.find("web").unwrap().name().unwrap().as_deref(),
            Some("web")
        );
    }

    #[test]
    fn a_damaged_manifest_and_one_of_a_later_rocket_are_named() {
        let (_dir, pods) = pods();
        let pod = pods.create().unwrap();
        let path = pod.path().join(MANIFEST);
        fs::write(&path, "{").unwrap();
        let said = pod.manifest().unwrap_err().to_string();
        assert!(said.contains("pod.json is damaged"), "{said}");
        fs::write(&path, r#"{"version": 2, "more": true}"#).unwrap();
        assert!(matches!(
            pod.manifest(),
            Err(StoreError::Format { found: 2, .. })
        ));
    }
}
