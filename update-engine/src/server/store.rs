//! What is remembered of a repository between attempts: its newest trusted root, the
//! newest metadata (against rollback) and the latest time that is certain.
//!
//! `tough` rewrites its files in place and notes the time before it has verified
//! anything. It therefore works on a copy; what it verified is then taken over
//! durably, file by file, and the time is noted by [`super::clock`]'s rules.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tough::schema::{Root, Signed};

use daemon::durable;

/// What `tough` keeps and is taken over.
const KEPT: [&str; 4] = [
    "root.json",
    "timestamp.json",
    "snapshot.json",
    "targets.json",
];

/// Our own file.
const TIME: &str = "time.json";

#[derive(Serialize, Deserialize)]
struct Time {
    latest: Timestamp,
}

/// The directory, and `tough`'s copy beside it.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    work: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut name = dir.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        name.push(".work");
        let store = Self {
            dir: dir.to_path_buf(),
            work: dir.with_file_name(name),
        };
        private_dirs().recursive(true).create(&store.dir)?;
        remove_dir(&store.work)?;
        private_dirs().create(&store.work)?;
        for file in KEPT {
            if let Some(content) = read(&store.dir.join(file))? {
                fs::write(store.work.join(file), content)?;
            }
        }
        Ok(store)
    }

    /// The copy that `tough` works on.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The newest root that is trusted: the release's, or a newer one that an earlier
    /// attempt reached from it. What is kept in `/var` is trusted as the host itself
    /// is; a file that is no root (torn by a loss of power) does not count.
    pub(crate) fn newest_root(&self, shipped: &[u8]) -> io::Result<Vec<u8>> {
        let Some(kept) = read(&self.dir.join("root.json"))? else {
            return Ok(shipped.to_vec());
        };
        let newer = match (version(&kept), version(shipped)) {
            (Some(kept), Some(shipped)) => kept > shipped,
            _ => false,
        };
        Ok(if newer { kept } else { shipped.to_vec() })
    }

    /// The latest time at which metadata was found to be good.
    pub(crate) fn latest_time(&self) -> io::Result<Option<Timestamp>> {
        let content = read(&self.dir.join(TIME))?;
        let time: Option<Time> = content.and_then(|c| serde_json::from_slice(&c).ok());
        Ok(time.map(|time| time.latest))
    }

    /// Takes over what `tough` has verified, durably, and removes its copy.
    pub(crate) fn take_over(&self) -> io::Result<()> {
        for file in KEPT {
            let (from, to) = (self.work.join(file), self.dir.join(file));
            match read(&from)? {
                Some(new) if read(&to)?.as_ref() != Some(&new) => durable::replace(&to, &new)?,
                Some(_) => {}
                None => durable::remove(&to)?,
            }
        }
        remove_dir(&self.work)
    }

    /// Remembers a time that is certain to have passed.
    pub(crate) fn note_time(&self, latest: Timestamp) -> io::Result<()> {
        if self.latest_time()?.is_some_and(|known| known >= latest) {
            return Ok(());
        }
        let content = serde_json::to_vec(&Time { latest }).map_err(io::Error::other)?;
        durable::replace(&self.dir.join(TIME), &content)
    }
}

/// Version of a root; none if it is not one.
pub(crate) fn version(root: &[u8]) -> Option<u64> {
    let root: Signed<Root> = serde_json::from_slice(root).ok()?;
    Some(root.signed.version.get())
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
