//! What is where something is to be made, and directories that an archive does not say.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, mkdirat, mknodat, utimensat,
};

use super::UnpackError;
use super::describe::{failed, open_directory, spec};

pub fn look(inside: &OwnedFd, name: &[u8]) -> Result<Option<FileStat>, UnpackError> {
    match fstatat(inside, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(failed("looking at", name)(error)),
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

pub fn is_directory(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFDIR
}

pub fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

pub fn make_plain_directory(inside: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
    mkdirat(inside, name, Mode::from_bits_truncate(0o755)).map_err(failed("making", name))?;
    // The mode must not depend on the caller's umask.
    let directory = open_directory(inside, name)?;
    fchmod(&directory, Mode::from_bits_truncate(0o755))
        .map_err(failed("setting the permissions of", name))
}

/// Hides what lower layers have of this name. Equal layers give equal trees: it has no time
/// of its own.
pub fn make_whiteout(inside: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
    mknodat(inside, name, SFlag::S_IFCHR, Mode::empty(), 0)
        .map_err(failed("making the whiteout of", name))?;
    let never = spec((0, 0));
    utimensat(
        inside,
        name,
        &never,
        &never,
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(failed("setting the time of", name))
}
