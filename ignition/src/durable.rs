//! The one way files are written: a temporary file next to the target, owner,
//! mode, fsync, rename, fsync of the directory. A cut leaves the old file or
//! the new one.
//!
//! Where many files are written that mean something only together, each fsync
//! would wait for the disk for nothing: see [`Flush::Later`].

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

/// Name of the temporary file. One is enough: nothing else writes meanwhile.
/// A later attempt removes what a cut left.
pub const TEMPORARY: &str = ".ignition-tmp";

/// When what is written reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before the call returns.
    Now,
    /// When the caller flushes the file system, which it must before it relies on it.
    /// Until then a cut may leave a new file of any length, but what a file replaces is
    /// there until the new one is whole.
    Later,
}

/// Owner and mode of something written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
}

impl Attributes {
    /// Owned by this process (root, where it matters), with `mode`.
    pub fn own(mode: u32) -> Self {
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            mode,
        }
    }

    /// Gives an open file these attributes, whatever the umask is.
    pub fn apply(self, file: impl AsFd) -> io::Result<()> {
        let file = file.as_fd();
        fchown(
            file,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
        )?;
        // After the owner: chown(2) clears setuid and setgid.
        fchmod(file, Mode::from_bits_truncate(self.mode))?;
        Ok(())
    }
}

/// Makes `name` in `directory` a file that `fill` wrote.
///
/// `fill` gets an empty file that only this process can read.
pub fn replace_with<E: From<io::Error>>(
    directory: impl AsFd,
    name: &str,
    attributes: Attributes,
    flush: Flush,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let directory = directory.as_fd();
    let io = |result: nix::Result<()>| result.map_err(|e| E::from(io::Error::from(e)));
    match unlinkat(directory, TEMPORARY, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => {}
        Err(error) => io(Err(error))?,
    }
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(directory, TEMPORARY, flags | OFlag::O_CLOEXEC, mode);
    let mut file = File::from(file.map_err(|e| E::from(io::Error::from(e)))?);
    let written = fill(&mut file)
        .and_then(|()| attributes.apply(&file).map_err(E::from))
        .and_then(
            |()| match flush == Flush::Now || is_there(directory, name) {
                true => file.sync_all().map_err(E::from),
                false => Ok(()),
            },
        )
        .and_then(|()| io(renameat(directory, TEMPORARY, directory, name)));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = unlinkat(directory, TEMPORARY, UnlinkatFlags::NoRemoveDir);
    }
    written?;
    match flush {
        Flush::Now => io(nix::unistd::fsync(directory)),
        Flush::Later => Ok(()),
    }
}

/// Whether something may be at `name`.
fn is_there(directory: impl AsFd, name: &str) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) != Err(nix::Error::ENOENT)
}

/// Makes the file `path` contain `bytes`; its directory must exist.
pub fn replace(path: &Path, bytes: &[u8], attributes: Attributes) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a file path",
        ));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(parent, flags, Mode::empty())?;
    replace_with(directory, name, attributes, Flush::Now, |file| {
        file.write_all(bytes)
    })
}
