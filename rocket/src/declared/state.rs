//! How declared pods are: a file for each of them, written by whoever runs it. The files are
//! gone with the boot.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::Role;
use crate::dirs::Dirs;

/// A declared pod as it is, or as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its name.
    pub name: String,
    /// What it was declared as when it started.
    pub hash: String,
    /// The file that declared it.
    pub file: String,
    /// What `rocket list` knows it by; nothing until it is made.
    pub uuid: Option<Uuid>,
    /// How far it is.
    pub standing: Standing,
    /// What it says of itself in one line.
    pub status: String,
    /// Its containers, in the order in which they start.
    pub containers: Vec<ContainerState>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its images are fetched, its init containers run.
    Starting,
    /// All of its containers are ready.
    Ready,
    /// It runs, and not all of its containers are ready.
    Unready,
    /// It was asked to stop.
    Stopping,
    /// All of its containers ended well, or it was stopped.
    Ended,
    /// A container failed and is not started again, or the pod could not be made.
    Failed,
}

/// A container of such a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// What it is in the pod.
    pub role: Role,
    /// Its first process, while it runs.
    pub pid: Option<i32>,
    /// Whether it does what it is for.
    pub is_ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_status: Option<u8>,
}

impl Standing {
    /// Nobody runs it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Failed => "failed",
        })
    }
}

/// The states of a host's declared pods, by name.
///
/// # Errors
/// A file cannot be read. One that is damaged counts as not there: its pod is started again.
pub fn all(dirs: &Dirs) -> anyhow::Result<Vec<PodState>> {
    let directory = directory(dirs);
    let listing = || format!("listing {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(listing)?,
    };
    let mut states: Vec<PodState> = Vec::new();
    for entry in entries {
        let path = entry.with_context(listing)?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            states.extend(serde_json::from_slice::<PodState>(&bytes).ok());
        }
    }
    states.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(states)
}

/// Puts a state in the place of an earlier one. Nobody sees a part of it.
///
/// # Errors
/// It cannot be written.
pub fn write(dirs: &Dirs, state: &PodState) -> anyhow::Result<()> {
    let path = path(dirs, &state.name);
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec(state).context("writing a pod's state")?;
    let written = || -> io::Result<()> {
        fs::create_dir_all(directory(dirs))?;
        fs::write(&new, bytes)?;
        fs::rename(&new, &path)
    };
    written().with_context(|| format!("writing {}", path.display()))
}

/// Forgets a pod.
///
/// # Errors
/// Its file cannot be removed.
pub fn forget(dirs: &Dirs, name: &str) -> anyhow::Result<()> {
    let path = path(dirs, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn directory(dirs: &Dirs) -> PathBuf {
    dirs.run().join("declared")
}

fn path(dirs: &Dirs, name: &str) -> PathBuf {
    directory(dirs).join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_replaced_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(dir.path());
        assert!(all(&dirs).unwrap().is_empty());
        let mut state = PodState {
            name: "web".into(),
            hash: "a".into(),
            file: "f".into(),
            uuid: None,
            standing: Standing::Starting,
            status: String::new(),
            containers: Vec::new(),
        };
        write(&dirs, &state).unwrap();
        state.standing = Standing::Ready;
        write(&dirs, &state).unwrap();
        assert_eq!(all(&dirs).unwrap(), [state.clone()]);
        fs::write(path(&dirs, "other"), "{").unwrap();
        assert_eq!(all(&dirs).unwrap(), [state]);
        forget(&dirs, "web").unwrap();
        forget(&dirs, "web").unwrap();
        assert!(all(&dirs).unwrap().is_empty());
    }
}
