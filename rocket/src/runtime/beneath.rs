//! Files of a container's root, reached so that no symbolic link leads out of it.
//!
//! Every path is resolved by the kernel (`openat2`, `RESOLVE_IN_ROOT`): absolute links and
//! `..` stay inside. What was opened is a descriptor, so what happens to the path
//! afterwards changes nothing.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::error::{During, Error, Result};

/// Links that may be followed while a path is made.
const MAX_LINKS: usize = 40;
/// Attempts while somebody renames directories of the path.
const ATTEMPTS: usize = 64;

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// The kind of what `fd` is, as a target for a mount.
pub fn kind<F: AsFd>(fd: F) -> nix::Result<Kind> {
    let format = SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT;
    Ok(if format == SFlag::S_IFDIR {
        Kind::Directory
    } else {
        Kind::File
    })
}

/// Opens `path` below `root`; links are followed inside `root` only.
pub fn open<F: AsFd>(root: F, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    resolve(root, path, flags, ResolveFlag::RESOLVE_IN_ROOT)
}

/// Opens `path` below `root` if no part of it is a link.
pub fn open_plain<F: AsFd>(root: F, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolution = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
    resolve(root, path, flags, resolution)
}

/// The same, and if nothing is mounted over any part of it.
pub fn open_own<F: AsFd>(root: F, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolution = ResolveFlag::RESOLVE_IN_ROOT
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    resolve(root, path, flags, resolution)
}

fn resolve<F: AsFd>(
    root: F,
    path: &Path,
    flags: OFlag,
    resolution: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolution | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 1..ATTEMPTS {
        match openat2(root.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    openat2(root.as_fd(), path, how)
}

/// Opens `path` below `root` as something to mount on (`O_PATH`), and makes it, with the
/// directories above, if it is not there. Links that lead to nothing are followed: what
/// they name is made, inside `root`.
pub fn make<F: AsFd>(root: F, path: &Path, kind: Kind) -> Result<OwnedFd> {
    match open(root.as_fd(), path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => {}
        other => return other.during(|| format!("opening {}", path.display())),
    }
    let mut walk = Walk {
        root: root.as_fd(),
        done: PathBuf::from("."),
        rest: parts(path)?,
        links: 0,
    };
    while let Some(name) = walk.rest.pop() {
        let kind = if walk.rest.is_empty() {
            kind
        } else {
            Kind::Directory
        };
        walk.step(&name, kind)
            .during(|| format!("making {} in the container's root", path.display()))?;
    }
    open(root.as_fd(), &walk.done, OFlag::O_PATH).during(|| format!("opening {}", path.display()))
}

/// Names of a path, the first one last. `..` is taken as text, like everywhere in a spec.
fn parts(path: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    if names.len() > 256 {
        return Err(Error::refused(
            format!("making {}", path.display()),
            "more than 256 directories deep",
        ));
    }
    names.reverse();
    Ok(names)
}

/// A path that is being made, name by name.
struct Walk<'a> {
    root: std::os::fd::BorrowedFd<'a>,
    /// Without links.
    done: PathBuf,
    /// The next name last.
    rest: Vec<OsString>,
    links: usize,
}

impl Walk<'_> {
    fn step(&mut self, name: &OsStr, kind: Kind) -> nix::Result<()> {
        if name == ".." {
            if self.done != Path::new(".") {
                self.done.pop();
            }
            return Ok(());
        }
        let parent = open_plain(self.root, &self.done, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        match readlinkat(&parent, name) {
            Ok(target) => return self.follow(&target),
            Err(Errno::ENOENT) => create(&parent, name, kind)?,
            // There, and not a link.
            Err(Errno::EINVAL) => {}
            Err(error) => return Err(error),
        }
        self.done.push(name);
        Ok(())
    }

    fn follow(&mut self, target: &OsStr) -> nix::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        let target = Path::new(target);
        if target.is_absolute() {
            self.done = PathBuf::from(".");
        }
        for part in target.components().rev() {
            match part {
                Component::Normal(name) => self.rest.push(name.to_owned()),
                Component::ParentDir => self.rest.push("..".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn create(parent: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<()> {
    let made = match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
        Kind::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
            let mode = Mode::from_bits_truncate(0o644);
            nix::fcntl::openat(parent, name, flags | OFlag::O_CLOEXEC, mode).map(drop)
        }
    };
    match made {
        // Somebody else was faster.
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        let fd = nix::fcntl::open(directory.path(), OFlag::O_PATH, Mode::empty()).unwrap();
        (directory, fd)
    }

    #[test]
    fn what_is_missing_is_made() {
        let (directory, fd) = root();
        make(&fd, Path::new("/a/b/c"), Kind::Directory).unwrap();
        make(&fd, Path::new("/a/file"), Kind::File).unwrap();
        assert!(directory.path().join("a/b/c").is_dir());
        assert!(directory.path().join("a/file").is_file());
    }

    #[test]
    fn links_lead_nowhere_else() {
        let (directory, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join("absolute")).unwrap();
        symlink("../../../../../..", directory.path().join("above")).unwrap();
        make(&fd, Path::new("/absolute/x"), Kind::Directory).unwrap();
        make(&fd, Path::new("/above/y"), Kind::Directory).unwrap();
        make(&fd, Path::new("../../z"), Kind::Directory).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let inside = outside.path().strip_prefix("/").unwrap().join("x");
        assert!(directory.path().join(inside).is_dir());
        assert!(directory.path().join("y").is_dir());
        assert!(directory.path().join("z").is_dir());
    }

    #[test]
    fn a_link_to_nothing_names_what_is_made() {
        let (directory, fd) = root();
        fs::create_dir(directory.path().join("var")).unwrap();
        symlink("/run", directory.path().join("var/run")).unwrap();
        make(&fd, Path::new("/var/run/secrets"), Kind::Directory).unwrap();
        assert!(directory.path().join("run/secrets").is_dir());
    }

    #[test]
    fn links_in_a_circle_end() {
        let (directory, fd) = root();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        assert!(make(&fd, Path::new("/a/c"), Kind::Directory).is_err());
    }

    #[test]
    fn plain_paths_have_no_links() {
        let (directory, fd) = root();
        fs::create_dir(directory.path().join("real")).unwrap();
        symlink("real", directory.path().join("proc")).unwrap();
        let open = |path: &str| open_plain(&fd, Path::new(path), OFlag::O_PATH);
        assert!(open("/real").is_ok());
        assert_eq!(open("/proc").unwrap_err(), Errno::ELOOP);
    }
}
