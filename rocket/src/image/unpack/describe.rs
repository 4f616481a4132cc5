//! Owner, permissions, times and attributes of what is in a tree.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use xattr::FileExt as _;

use super::UnpackError;
use super::entries::Entry;
use super::path::shown;

/// What hides all that lower layers have in a directory.
const OPAQUE: &str = "trusted.overlay.opaque";

pub fn set_opaque(inside: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
    opaque(&open_directory(inside, name)?, name)
}

pub fn opaque(directory: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
    set_xattr(directory, OPAQUE.as_bytes(), b"y")
        .map_err(failed_io("hiding lower layers' content of", path))
}

fn set_xattr(file: &OwnedFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let file = File::from(file.try_clone()?);
    file.set_xattr(OsStr::from_bytes(name), value)
}

/// Owner, permissions and extended attributes of a file or directory. In this order: a new
/// owner takes set-user-id and capabilities away.
pub fn describe(file: &OwnedFd, entry: &Entry) -> Result<(), UnpackError> {
    let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(file, Some(owner), Some(group)).map_err(failed("setting the owner of", &entry.name))?;
    fchmod(file, Mode::from_bits_truncate(entry.mode))
        .map_err(failed("setting the permissions of", &entry.name))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        let result = set_xattr(file, name, value);
        let unsupported = |error: &io::Error| {
            error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) && name.starts_with(b"user.")
        };
        match result {
            Err(error) if !unsupported(&error) => {
                return Err(failed_io("setting an attribute of", &entry.name)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Attributes that images may bring. Those of overlayfs would change what a directory shows.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Owner and time of what cannot be opened.
pub fn own(inside: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    let here = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(inside, name, Some(owner), Some(group), here)
        .map_err(failed("setting the owner of", name))?;
    let time = spec(entry.mtime);
    utimensat(inside, name, &time, &time, UtimensatFlags::NoFollowSymlink)
        .map_err(failed("setting the time of", name))
}

pub fn spec((seconds, nanoseconds): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanoseconds))
}

pub fn failed(operation: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    let failed = failed_io(operation, path);
    move |errno| failed(errno.into())
}

pub fn failed_io(operation: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> UnpackError {
    let path = shown(path);
    move |source| UnpackError::Write {
        operation,
        path,
        source,
    }
}

pub fn open_directory(inside: &OwnedFd, name: &[u8]) -> Result<OwnedFd, UnpackError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(inside, name, flags, Mode::empty()).map_err(failed("opening", name))
}
