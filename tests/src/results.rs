//! The directory with what scenarios leave behind.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::tools::remove_tree;

/// Name of the directory for disks of running scenarios.
const WORK: &str = ".work";
/// Name of the file that is locked for the time of a run.
const LOCK: &str = ".lock";

/// A results directory, held by a lock: two runs would remove each other's logs.
pub struct Results {
    dir: PathBuf,
    // Unlocked when the process ends in whatever way.
    _lock: File,
}

impl Results {
    /// Makes `dir` if it is not there, and removes disks that a killed run left.
    ///
    /// Fails at once if another run uses it.
    pub fn take(dir: PathBuf) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let path = dir.join(LOCK);
        let lock = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another run uses {}; wait for it, or choose another directory with --results",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        let results = Self { dir, _lock: lock };
        remove_tree(&results.work())?;
        fs::create_dir_all(results.work())
            .with_context(|| format!("creating {}", results.work().display()))?;
        Ok(results)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the scenario `name` keeps its console log and journal.
    pub fn of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where scenarios make their disks.
    pub fn work(&self) -> PathBuf {
        self.dir.join(WORK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_and_it_removes_old_disks() {
        let dir = tempfile::tempdir().unwrap();
        let first = Results::take(dir.path().join("results")).unwrap();
        let old = first.work().join("disk.img");
        fs::write(&old, "old").unwrap();
        let error = Results::take(first.dir().to_path_buf()).err().unwrap();
        assert!(error.to_string().contains("--results"), "{error}");
        assert!(old.exists());
        let again = first.dir().to_path_buf();
        drop(first);
        let second = Results::take(again).unwrap();
        assert!(!old.exists() && second.work().is_dir());
        assert_eq!(second.of("x"), second.dir().join("x"));
    }
}
