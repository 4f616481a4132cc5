//! Being told about changes, by the kernel (inotify), without looking again and again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

use super::fragment::Roots;

/// How long files must be left alone before a change counts as whole: an editor writes,
/// renames and removes several within a moment.
const QUIET: Duration = Duration::from_millis(200);

/// Watches directories of fragments. One that is not there yet is waited for: its
/// nearest parent that exists is watched instead.
///
/// Works within a tokio runtime.
#[derive(Debug)]
pub struct Watch {
    roots: Roots,
    queue: Receiver,
}

impl Watch {
    /// Watches from now on.
    pub fn new(roots: Roots) -> io::Result<Self> {
        let queue = open(&roots)?;
        Ok(Self { roots, queue })
    }

    /// Returns after something changed and then was quiet for a moment. Changes since
    /// the last call are not lost. Safe to cancel.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.event().await?;
        while let Ok(more) = tokio::time::timeout(QUIET, self.event()).await {
            more?;
        }
        // What exists now may not be what was watched: begin again, before the files
        // are read, so that no change falls between.
        self.queue = open(&self.roots)?;
        Ok(())
    }

    /// Takes events off the kernel's queue. What they say does not matter: that there
    /// were some is enough.
    async fn event(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            self.queue.readable().await?;
            match self.queue.try_read(&mut events) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A new queue of the kernel, which is read like a pipe.
fn open(roots: &Roots) -> io::Result<Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    for root in roots.directories() {
        watch(&inotify, root)?;
    }
    Receiver::from_owned_fd_unchecked(inotify.into())
}

/// Watches `directory`, or what has to appear on the way to it.
fn watch(inotify: &Inotify, directory: &Path) -> io::Result<()> {
    let inside = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let appear = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let parents = directory.ancestors().skip(1).map(PathBuf::from);
    let places = std::iter::once((directory.to_path_buf(), inside))
        .chain(parents.map(|parent| (parent, appear)));
    for (place, flags) in places {
        match inotify.add_watch(&place, flags) {
            Ok(_) if place == directory => return Ok(()),
            // It may have appeared between the two calls: then its parent was
            // watched for nothing, and the next one up must not be.
            Ok(_) if next_exists(&place, directory) => return watch(inotify, directory),
            Ok(_) => return Ok(()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The part of `directory` directly below `place` is a directory.
fn next_exists(place: &Path, directory: &Path) -> bool {
    let below = directory.strip_prefix(place).ok();
    let next = below.and_then(|rest| rest.components().next());
    next.is_some_and(|name| place.join(name).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A change that is not noticed makes the test hang, and the runner ends it.
    async fn notices(watch: &mut Watch, change: impl FnOnce()) {
        change();
        watch.changed().await.unwrap();
    }

    #[tokio::test]
    async fn changes_are_noticed_also_in_directories_that_come_later() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("etc/ballast/config.d");
        let other = root.path().join("run/ballast/config.d");
        let roots = Roots::new(vec![directory.clone(), other]);
        let mut watch = Watch::new(roots).unwrap();
        let file = directory.join("a.toml");
        notices(&mut watch, || {
            fs::create_dir(root.path().join("etc")).unwrap()
        })
        .await;
        notices(&mut watch, || fs::create_dir_all(&directory).unwrap()).await;
        notices(&mut watch, || fs::write(&file, "x").unwrap()).await;
        notices(&mut watch, || fs::write(&file, "y").unwrap()).await;
        let renamed = directory.join("b.toml");
        notices(&mut watch, || fs::rename(&file, &renamed).unwrap()).await;
        let link = directory.join("c.toml");
        notices(&mut watch, || {
            std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        })
        .await;
        notices(&mut watch, || fs::remove_file(&renamed).unwrap()).await;
        notices(&mut watch, || fs::remove_dir_all(&directory).unwrap()).await;
        notices(&mut watch, || fs::create_dir_all(&directory).unwrap()).await;
        notices(&mut watch, || fs::write(&file, "z").unwrap()).await;
    }
}
