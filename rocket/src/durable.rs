//! Files that are there whole or not at all, also after a loss of power.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts `content` in the place of the file, which only its owner may read.
///
/// A reader sees the old file or the new one, never a part. When this returns, the new one
/// is on the disk. The content is first in a file of a name of its own beside it, so any
/// number of writers may run; what a killed one leaves begins with `.new-`.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_file_name(format!(".new-{}", uuid::Uuid::new_v4()));
    let written = write_new(&new, content).and_then(|()| rename(&new, path));
    if written.is_err() {
        // The error of the writing is the one to tell.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(new: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Renames what is on the disk already. When this returns, so is its new name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("before rename");
    fs::rename(from, to)?;
    step("after rename");
    sync_parent(to)
}

/// Removes the file, if it is there. When this returns, that is on the disk.
pub fn remove(path: &Path) -> io::Result<()> {
    step("before remove");
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts the names in a file's directory on the disk.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}

/// Whether a file's name is that of one which [`replace`] did not finish.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with(".new-")
}

/// A point where a process may be killed. Tests end it there; otherwise this is nothing.
#[cfg(not(test))]
pub fn step(_name: &str) {}

#[cfg(test)]
pub use steps::step;

/// Killing a process at every step that changes the disk.
#[cfg(test)]
pub mod steps {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The step, from 1, at which this process is killed.
    pub const KILL_AT: &str = "ROCKET_TEST_KILL_AT";

    static STEPS: AtomicUsize = AtomicUsize::new(0);

    /// Kills this process if the environment says so, without any of its clean-up.
    pub fn step(_name: &str) {
        let Some(at) = std::env::var_os(KILL_AT) else {
            return;
        };
        let now = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
        if at.to_str() == Some(now.to_string().as_str()) {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_put_in_place_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"").unwrap();
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
