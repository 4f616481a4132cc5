//! A volume, or a tmpfs with `tmpcopyup`, begins with what the image has at its place.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use super::beneath;
use super::error::{During, Result};

/// Directories below each other.
const MAX_DEPTH: usize = 64;

/// Whom a file belongs to, of whom it belongs to in the image.
pub type Owner<'a> = &'a dyn Fn(u32) -> u32;

/// Copies what is at `path` below `root` into the directory `to`, which gets its owner and
/// permissions too. If there is no directory, `to` stays as it is.
///
/// # Errors
/// Says what could not be copied; `to` has a part then.
pub fn up(root: &OwnedFd, path: &Path, to: &OwnedFd, owner: Owner<'_>) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let step = || format!("copying what the image has at {}", path.display());
    let from = match beneath::open(root, path, flags) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        from => from.during(step)?,
    };
    let about = nix::sys::stat::fstat(&from).during(step)?;
    // Opened anew: a mount's own descriptor is not for reading and writing.
    let to = openat(to, c".", flags | OFlag::O_CLOEXEC, Mode::empty()).during(step)?;
    nix::unistd::fchown(
        &to,
        Some(Uid::from_raw(owner(about.st_uid))),
        Some(Gid::from_raw(owner(about.st_gid))),
    )
    .during(step)?;
    nix::sys::stat::fchmod(&to, Mode::from_bits_truncate(about.st_mode)).during(step)?;
    directory(from, &to, owner, 0).during(step)
}

fn directory(from: OwnedFd, to: &OwnedFd, owner: Owner<'_>, depth: usize) -> nix::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut from = Dir::from_fd(from)?;
    let mut names = Vec::new();
    for entry in from.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    for name in names {
        entry(&from, to, &name, owner, depth)?;
    }
    Ok(())
}

fn entry(from: &Dir, to: &OwnedFd, name: &CStr, owner: Owner<'_>, depth: usize) -> nix::Result<()> {
    let about = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | nofollow;
            let below = openat(to, name, flags, Mode::empty())?;
            let from = openat(from, name, flags, Mode::empty())?;
            directory(from, &below, owner, depth + 1)?;
        }
        SFlag::S_IFREG => {
            let mut source = File::from(openat(
                from,
                name,
                OFlag::O_RDONLY | nofollow,
                Mode::empty(),
            )?);
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | nofollow;
            let mut target = File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
            std::io::copy(&mut source, &mut target)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        }
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?,
        // Nodes, sockets and pipes are no data.
        _ => return Ok(()),
    }
    own(to, name, &about, owner)
}

fn own<F: AsFd>(to: F, name: &CStr, about: &FileStat, owner: Owner<'_>) -> nix::Result<()> {
    let uid = Uid::from_raw(owner(about.st_uid));
    let gid = Gid::from_raw(owner(about.st_gid));
    fchownat(
        &to,
        name,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let link = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK;
    if link {
        return Ok(());
    }
    let mode = Mode::from_bits_truncate(about.st_mode);
    fchmodat(&to, name, mode, FchmodatFlags::FollowSymlink)
}
