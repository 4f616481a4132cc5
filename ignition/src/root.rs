//! The file system that is provisioned, from outside of it.
//!
//! Every path is resolved by the kernel as if the root directory were `/`
//! (openat2(2) with RESOLVE_IN_ROOT): no link leads out. As upstream, links
//! are followed in all parts of a path but the last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{
    Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, fsync, linkat, symlinkat, syncfs, unlinkat,
};

use crate::durable::{self, Attributes, Flush, TEMPORARY};

/// How many links to missing directories are followed in one path.
const LINKS: u32 = 40;

/// How often a path is resolved if something else in the machine is in the way.
const ATTEMPTS: u32 = 1000;

/// A root directory.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    flush: Flush,
    /// File systems in which a change was deferred, by device: something of each.
    unflushed: RefCell<BTreeMap<u64, OwnedFd>>,
}

/// Something below the root that could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path} in {}", .root.display())]
pub struct RootError {
    /// What was tried.
    pub operation: &'static str,
    /// The path below the root.
    pub path: String,
    /// The root directory.
    pub root: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Special,
}

/// A thing below the root.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its owner and mode.
    pub attributes: Attributes,
    /// Identity within the machine: device and inode.
    pub inode: (u64, u64),
}

type Result<T> = std::result::Result<T, RootError>;

impl Root {
    /// Opens the directory `path`. Every change is on the disk when its method returns.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_flushing(path, Flush::Now)
    }

    /// Opens the directory `path`. Changes are on the disk after [`Root::sync`]; for a cut
    /// before it see [`Flush::Later`].
    pub fn open_deferring(path: &Path) -> io::Result<Self> {
        Self::open_flushing(path, Flush::Later)
    }

    fn open_flushing(path: &Path, flush: Flush) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: open(path, flags, Mode::empty())?,
            path: path.to_owned(),
            flush,
            unflushed: RefCell::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is at `path`; a link there is not followed.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>> {
        let found = self.entry_or_errno(path);
        match found {
            Ok(entry) => Ok(Some(entry)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(self.error("looking at", path, error)),
        }
    }

    fn entry_or_errno(&self, path: &str) -> nix::Result<Entry> {
        let (parent, name) = split(path);
        let parent = self.resolve(parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        entry_of(&fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// The contents of the file at `path`, links followed; None if absent.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match self.open_file(path)? {
            None => return Ok(None),
            Some(mut file) => file.read_to_end(&mut bytes),
        }
        .map_err(|error| self.error("reading", path, error))?;
        Ok(Some(bytes))
    }

    /// The file at `path` for reading, links followed; None if absent.
    pub fn open_file(&self, path: &str) -> Result<Option<File>> {
        match self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(self.error("opening", path, error)),
        }
    }

    /// Opens the directory `path`, links followed, and makes it and its
    /// parents (0755) if missing.
    pub fn make_directories(&self, path: &str) -> Result<OwnedFd> {
        self.make(path, LINKS)
            .map_err(|error| self.error("creating directory", path, error))
    }

    fn make(&self, path: &str, links: u32) -> nix::Result<OwnedFd> {
        match self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (parent_path, name) = split(path);
        let parent = self.make(parent_path, links)?;
        match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) => {
                let made = self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                let applied = Attributes::own(0o755).apply(&made);
                applied.map_err(|error| errno(&error))?;
                self.flush(&parent)?;
                Ok(made)
            }
            // A link to a directory that is missing so far.
            Err(Errno::EEXIST) if links > 0 => {
                let target = readlinkat(&parent, name)?;
                let target = target.to_str().ok_or(Errno::EILSEQ)?;
                if target.starts_with('/') {
                    self.make(target.trim_end_matches('/'), links - 1)
                } else {
                    self.make(&format!("{parent_path}/{target}"), links - 1)
                }
            }
            Err(Errno::EEXIST) => Err(Errno::ELOOP),
            Err(error) => Err(error),
        }
    }

    /// Makes `path` a file that `fill` wrote, atomically.
    /// Missing parents are made. What is at `path` must not be a directory.
    pub fn write<E>(
        &self,
        path: &str,
        attributes: Attributes,
        fill: impl FnOnce(&mut File) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E>
    where
        E: From<RootError>,
    {
        let (parent, name) = split(path);
        let directory = self.make_directories(parent)?;
        let mut failed = None;
        let result = durable::replace_with(&directory, name, attributes, self.flush, |file| {
            fill(file).map_err(|error| {
                failed = Some(error);
                io::Error::other("filling")
            })
        });
        // What is flushed now was, by the one that replaced.
        let result = result.and_then(|()| match self.flush {
            Flush::Now => Ok(()),
            Flush::Later => Ok(self.flush(&directory)?),
        });
        match (result, failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(self.error("writing", path, error).into()),
        }
    }

    /// Makes `path` a file with `bytes`; see [`Root::write`].
    pub fn write_bytes(&self, path: &str, bytes: &[u8], attributes: Attributes) -> Result<()> {
        self.write(path, attributes, |file| {
            io::Write::write_all(file, bytes).map_err(|e| self.error("writing", path, e))
        })
    }

    /// Gives the file or directory at `path` (no link) owner and mode.
    pub fn set_attributes(&self, path: &str, attributes: Attributes) -> Result<()> {
        let operation = "setting owner and mode of";
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = self
            .resolve(path, flags)
            .map_err(|error| self.error(operation, path, error))?;
        attributes
            .apply(&file)
            .and_then(|()| self.flush(&file).map_err(io::Error::from))
            .map_err(|error| self.error(operation, path, error))
    }

    /// Makes `path`, where nothing is, a symbolic link to `target`.
    pub fn make_link(&self, path: &str, target: &str, uid: u32, gid: u32) -> Result<()> {
        let (parent, name) = split(path);
        let directory = self.make_directories(parent)?;
        symlinkat(target, &directory, name)
            .and_then(|()| own_link(&directory, name, uid, gid))
            .and_then(|()| self.flush(&directory))
            .map_err(|error| self.error("linking", path, error))
    }

    /// Gives what is at `path` an owner; a link there is not followed.
    pub fn own(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        let (parent, name) = split(path);
        self.resolve(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .and_then(|directory| {
                own_link(&directory, name, uid, gid)?;
                self.flush(&directory)
            })
            .map_err(|error| self.error("setting the owner of", path, error))
    }

    /// Where the symbolic link at `path` leads.
    pub fn link_target(&self, path: &str) -> Result<String> {
        let (parent, name) = split(path);
        let target = self
            .resolve(parent, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .and_then(|directory| readlinkat(&directory, name))
            .map_err(|error| self.error("reading the link", path, error))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Makes `path`, where nothing is, another name of the file `target`.
    pub fn make_hard_link(&self, path: &str, target: &str) -> Result<()> {
        let (parent, name) = split(path);
        let directory = self.make_directories(parent)?;
        let (target_parent, target_name) = split(target);
        self.resolve(target_parent, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .and_then(|from| linkat(&from, target_name, &directory, name, LinkatFlags::empty()))
            .and_then(|()| self.flush(&directory))
            .map_err(|error| self.error("linking", path, error))
    }

    /// Removes what is at `path`, a directory with all it contains.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.remove_or_error(path)
            .map_err(|error| self.error("removing", path, error))
    }

    fn remove_or_error(&self, path: &str) -> io::Result<()> {
        let (parent, name) = split(path);
        let directory = match self.resolve(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR) => {
                // The library's removal follows no links; the path starts at
                // the directory held open here.
                let held = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
                std::fs::remove_dir_all(held)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.flush(&directory)?)
    }

    /// Renames within the root; both parents must exist.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let operate = || -> nix::Result<()> {
            let (from_parent, from_name) = split(from);
            let (to_parent, to_name) = split(to);
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let from_parent = self.resolve(from_parent, flags)?;
            let to_parent = self.resolve(to_parent, flags)?;
            nix::fcntl::renameat(&from_parent, from_name, &to_parent, to_name)?;
            self.flush(&to_parent)?;
            self.flush(&from_parent)
        };
        operate().map_err(|error| self.error("renaming", from, error))
    }

    /// The names in the directory `path`, links followed; none if absent.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let fail = |error: Errno| self.error("listing", path, error);
        let opened = match self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(opened).map_err(fail)?.iter() {
            let name = entry
                .map_err(fail)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes the temporary file that a cut left next to `path`.
    pub fn clean_up_beside(&self, path: &str) -> Result<()> {
        self.remove(&format!("{}/{TEMPORARY}", split(path).0))
    }

    /// Returns once everything on the file systems of `/` and `/etc` is on
    /// the disk (`/etc` is an overlay; `/var` and `/home` belong to `/`), and
    /// on all others in which a change was deferred.
    pub fn sync(&self) -> Result<()> {
        for path in ["/", "/etc"] {
            match self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                Ok(directory) => syncfs(&directory),
                Err(Errno::ENOENT) => Ok(()),
                Err(error) => Err(error),
            }
            .map_err(|error| self.error("syncing", path, error))?;
        }
        let unflushed = self.unflushed.borrow();
        let mut others = unflushed.values();
        others
            .try_for_each(syncfs)
            .map_err(|error| self.error("syncing what is mounted below", "/", error))
    }

    /// Flushes what was changed, or takes a note of its file system.
    fn flush(&self, changed: impl AsFd) -> nix::Result<()> {
        if self.flush == Flush::Now {
            return fsync(changed);
        }
        let device = fstat(&changed)?.st_dev;
        if let Vacant(place) = self.unflushed.borrow_mut().entry(device) {
            let held = changed.as_fd().try_clone_to_owned();
            place.insert(held.map_err(|error| errno(&error))?);
        }
        Ok(())
    }

    fn resolve(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.is_empty() { "/" } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // The kernel gives up where anything in the machine was renamed or mounted
        // while it went through a "..", and says so (openat2(2)).
        for _ in 1..ATTEMPTS {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN) => {}
                result => return result,
            }
        }
        openat2(&self.directory, path, how)
    }

    /// That `operation` on `path` failed.
    pub fn error(
        &self,
        operation: &'static str,
        path: &str,
        source: impl Into<io::Error>,
    ) -> RootError {
        RootError {
            operation,
            path: path.to_owned(),
            root: self.path.clone(),
            source: source.into(),
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Parent and last name of an absolute path.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn own_link(directory: impl AsFd, name: &str, uid: u32, gid: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(directory.as_fd(), name, Some(uid), Some(gid), flags)
}

fn entry_of(stat: &FileStat) -> nix::Result<Entry> {
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Special,
    };
    Ok(Entry {
        kind,
        attributes: Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        },
        inode: (stat.st_dev, stat.st_ino),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    fn write(root: &Root, path: &str) {
        root.write_bytes(path, b"x", Attributes::own(0o640))
            .unwrap();
    }

    #[test]
    fn links_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let (inside, root) = root();
        symlink(outside.path(), inside.path().join("absolute")).unwrap();
        symlink("../../../../../../tmp/none", inside.path().join("relative")).unwrap();
        write(&root, "/absolute/a");
        write(&root, "/relative/b");
        assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
        let below = inside
            .path()
            .join(outside.path().strip_prefix("/").unwrap());
        assert!(below.join("a").exists());
        assert!(inside.path().join("tmp/none/b").exists());
    }

    #[test]
    fn links_in_a_loop_are_an_error() {
        let (inside, root) = root();
        symlink("b", inside.path().join("a")).unwrap();
        symlink("a", inside.path().join("b")).unwrap();
        let error = root.make_directories("/a/c").unwrap_err();
        assert!(error.to_string().starts_with("creating directory /a/c in"));
    }

    #[test]
    fn the_last_part_is_replaced_not_followed() {
        let (inside, root) = root();
        std::fs::write(inside.path().join("target"), "old").unwrap();
        symlink("target", inside.path().join("link")).unwrap();
        write(&root, "/link");
        assert_eq!(std::fs::read(inside.path().join("target")).unwrap(), b"old");
        assert_eq!(root.entry("/link").unwrap().unwrap().kind, Kind::File);
    }

    #[test]
    fn modes_are_exact_whatever_the_umask() {
        let (inside, root) = root();
        root.write_bytes("/d/e/f", b"", Attributes::own(0o4777))
            .unwrap();
        let mode = |path: &str| {
            let metadata = std::fs::metadata(inside.path().join(path)).unwrap();
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!(
            (mode("d/e/f"), mode("d"), mode("d/e")),
            (0o4777, 0o755, 0o755)
        );
    }

    #[test]
    fn leftovers_of_a_cut_do_no_harm() {
        let (inside, root) = root();
        std::fs::write(inside.path().join(TEMPORARY), "half").unwrap();
        write(&root, "/a");
        assert_eq!(root.names("/").unwrap(), ["a"]);
    }

    #[test]
    fn deferred_changes_are_seen_at_once_and_their_file_systems_known() {
        let (inside, _) = root();
        let root = Root::open_deferring(inside.path()).unwrap();
        write(&root, "/d/a");
        write(&root, "/d/a");
        let own = Attributes::own(0);
        root.make_link("/d/l", "a", own.uid, own.gid).unwrap();
        root.make_hard_link("/d/h", "/d/a").unwrap();
        root.rename("/d/h", "/d/i").unwrap();
        root.remove("/d/i").unwrap();
        assert!(inside.path().join("d/a").exists());
        let device = fstat(&root.directory).unwrap().st_dev;
        let known: Vec<u64> = root.unflushed.borrow().keys().copied().collect();
        assert_eq!(known, [device]);
        root.sync().unwrap();
    }

    #[test]
    fn removing_takes_trees_and_leaves_link_targets() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("keep"), "").unwrap();
        let (inside, root) = root();
        write(&root, "/d/e/f");
        symlink(outside.path(), inside.path().join("d/out")).unwrap();
        root.remove("/d").unwrap();
        root.remove("/d").unwrap();
        assert!(outside.path().join("keep").exists());
        assert!(root.names("/").unwrap().is_empty());
    }
}
