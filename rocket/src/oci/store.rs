//! What is kept of containers: for each a directory below the root, named like it, with
//!
//! - `record.json`: who it is, its first process, its control group;
//! - `config.json`: the spec as it was when the container was made;
//! - `start`: a socket at which its first process waits, until it was started.
//!
//! The directory is made first and removed last, so that whatever was left by a runtime that
//! was killed can be found and removed. Who changes a container holds a lock of its
//! directory.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::spec;
use crate::runtime::cgroup::Cgroup;
use crate::runtime::state::{Identity, OCI_VERSION, Status};

const RECORD: &str = "record.json";
const CONFIG: &str = "config.json";
const GATE: &str = "start";

/// All containers.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: String,
    /// Its first process; 0 until there is one.
    pub pid: i32,
    /// When that was made, in ticks since boot: numbers of processes come again.
    pub start: u64,
    /// Where its spec was.
    pub bundle: PathBuf,
    /// Where its files are.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Of the spec.
    pub annotations: BTreeMap<String, String>,
    /// Its control group, below the root of the hierarchy.
    pub cgroup: Option<PathBuf>,
    /// The scope of systemd that this is.
    pub scope: Option<String>,
}

/// One container.
#[derive(Debug)]
pub struct Container {
    path: PathBuf,
    /// What is known of it.
    pub record: Record,
}

/// A container that nobody else changes.
#[derive(Debug)]
pub struct Locked {
    /// The container.
    pub container: Container,
    _lock: Flock<File>,
}

/// The state as runc prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
}

impl Store {
    /// The containers below a directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Makes the place of a container. Fails if there is one of this name.
    pub fn add(&self, record: Record, config: &[u8]) -> anyhow::Result<Locked> {
        check(&record.id)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&self.root)
            .with_context(|| format!("making {}", self.root.display()))?;
        let path = self.root.join(&record.id);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists: {}", record.id);
            }
            other => other.with_context(|| format!("making {}", path.display()))?,
        }
        let lock = lock(&path)?;
        fs::write(path.join(CONFIG), config).context("keeping the spec")?;
        let container = Container { path, record };
        container.save()?;
        Ok(Locked {
            container,
            _lock: lock,
        })
    }

    /// A container by its name.
    pub fn get(&self, id: &str) -> anyhow::Result<Container> {
        check(id)?;
        let path = self.root.join(id);
        if !path.is_dir() {
            bail!("container does not exist: {id}");
        }
        let record = spec::read(&path.join(RECORD))?;
        Ok(Container { path, record })
    }

    /// A container that is to be changed.
    pub fn lock(&self, id: &str) -> anyhow::Result<Locked> {
        check(id)?;
        let path = self.root.join(id);
        if !path.is_dir() {
            bail!("container does not exist: {id}");
        }
        let lock = lock(&path)?;
        Ok(Locked {
            container: self.get(id)?,
            _lock: lock,
        })
    }

    /// Removes what was left of a container that never came to be. Returns whether there was
    /// something.
    pub fn remove_remains(&self, id: &str) -> anyhow::Result<bool> {
        check(id)?;
        let path = self.root.join(id);
        if !path.is_dir() {
            return Ok(false);
        }
        let _lock = lock(&path)?;
        if path.join(RECORD).exists() {
            return Ok(false);
        }
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        Ok(true)
    }

    /// All containers, by name. Those that vanish meanwhile are left out.
    pub fn all(&self) -> anyhow::Result<Vec<Container>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("reading {}", self.root.display()))?,
        };
        let mut ids: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids.iter().filter_map(|id| self.get(id).ok()).collect())
    }
}

/// Names are names of directories.
fn check(id: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let dots = id == "." || id == "..";
    if id.is_empty() || id.len() > 255 || dots || !id.chars().all(plain) {
        bail!("invalid container ID {id:?}: letters, digits and _ + - . only");
    }
    Ok(())
}

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let directory = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("locking {}", path.display()))
}

impl Container {
    /// Writes the record. `/run` does not survive the host, so nothing is flushed.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = self.path.join(RECORD);
        let new = self.path.join("record.new");
        let text = serde_json::to_vec(&self.record).context("writing the record")?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// The spec as it was when the container was made.
    pub fn spec(&self) -> anyhow::Result<Spec> {
        spec::read(&self.path.join(CONFIG))
    }

    /// Who it is, for hooks.
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.record.id.clone(),
            bundle: self.record.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }

    /// How far it has come.
    pub fn status(&self) -> Status {
        if self.record.pid == 0 {
            // Either somebody is making it, or did until he was killed.
            let free = File::open(&self.path)
                .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok());
            return if free {
                Status::Stopped
            } else {
                Status::Creating
            };
        }
        if start_of(self.record.pid) != Some(self.record.start) {
            return Status::Stopped;
        }
        if self.path.join(GATE).exists() {
            return Status::Created;
        }
        match self.cgroup() {
            Some(group) if group.is_frozen().unwrap_or(false) => Status::Paused,
            _ => Status::Running,
        }
    }

    /// Its control group, if it has one and that is still there.
    pub fn cgroup(&self) -> Option<Cgroup> {
        Cgroup::open(self.record.cgroup.as_deref()?).ok()
    }

    /// As runc prints it.
    pub fn state(&self) -> State<'_> {
        let status = self.status();
        State {
            oci_version: OCI_VERSION,
            id: &self.record.id,
            pid: if status == Status::Stopped {
                0
            } else {
                self.record.pid
            },
            status,
            bundle: &self.record.bundle,
            rootfs: &self.record.rootfs,
            created: self.record.created.to_string(),
            annotations: &self.record.annotations,
            owner: "",
        }
    }

    /// The socket at which the first process waits.
    pub fn listen(&self) -> anyhow::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let gate = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .context("making a socket")?;
        let (address, _directory) = self.gate()?;
        bind(gate.as_raw_fd(), &address).context("binding the start socket")?;
        listen(&gate, Backlog::new(1).context("listening")?).context("listening")?;
        Ok(gate)
    }

    /// A connection to the waiting process.
    pub fn connect(&self) -> anyhow::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let gate = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .context("making a socket")?;
        let (address, _directory) = self.gate()?;
        connect(gate.as_raw_fd(), &address).context("reaching the container's process")?;
        Ok(gate)
    }

    /// The address of the socket, short whatever the directory is called: it is valid as
    /// long as the descriptor is open.
    fn gate(&self) -> anyhow::Result<(UnixAddr, File)> {
        let directory =
            File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        let path = format!("/proc/self/fd/{}/{GATE}", directory.as_raw_fd());
        Ok((
            UnixAddr::new(path.as_str()).context("naming the start socket")?,
            directory,
        ))
    }

    /// Notes that the program was started.
    pub fn close_gate(&self) -> anyhow::Result<()> {
        fs::remove_file(self.path.join(GATE)).context("removing the start socket")
    }

    /// Forgets the container.
    pub fn forget(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

/// When a process was made, in ticks since boot; nothing if it has ended.
pub fn start_of(pid: i32) -> Option<u64> {
    parse_start(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name comes second, in parentheses, and may contain anything.
fn parse_start(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record {
            id: id.into(),
            pid: 0,
            start: 0,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            annotations: BTreeMap::new(),
            cgroup: None,
            scope: None,
        }
    }

    #[test]
    fn the_state_is_printed_as_by_runc() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let locked = store.add(record("x"), b"{}").unwrap();
        let text = serde_json::to_string(&locked.container.state()).unwrap();
        let expected = format!(
            r#"{{"ociVersion":"{OCI_VERSION}","id":"x","pid":0,"status":"creating","bundle":"/b","rootfs":"/b/rootfs","created":"1970-01-01T00:00:00Z","owner":""}}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn one_that_was_killed_while_it_was_made_has_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        drop(store.add(record("x"), b"{}").unwrap());
        assert_eq!(store.get("x").unwrap().status(), Status::Stopped);
        assert!(store.add(record("x"), b"{}").is_err());
    }

    #[test]
    fn names_stay_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        for wrong in ["", ".", "..", "a/b", "a b", "/x", "ä"] {
            assert!(store.add(record(wrong), b"{}").is_err(), "{wrong}");
            assert!(store.get(wrong).is_err(), "{wrong}");
        }
        store.add(record("a.b_c+d-1"), b"{}").unwrap();
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let stat = |state: &str| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 4242 1 1")
        };
        assert_eq!(parse_start(&stat("S")), Some(4242));
        assert_eq!(parse_start(&stat("Z")), None);
        assert!(start_of(std::process::id() as i32).is_some());
    }
}
