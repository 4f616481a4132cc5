//! Paths of the kernel's file systems that a container must not read or write.
//!
//! Each path is opened once, inside the root and through whatever links are there, and the
//! cover is put on what was opened: a link that changes in between covers nothing else.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{SFlag, fstat, major, minor};

use super::filesystem::set;
use crate::runtime::beneath::{self, Kind};
use crate::runtime::error::{During, Error, Result};
use crate::runtime::sys::mount::{self, Depth, attr};

/// The host's: the one in the container may be anything.
const NULL: &CStr = c"/dev/null";

/// Makes paths read-only, with all below. Those that do not exist are left out.
pub fn read_only(root: &OwnedFd, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let step = || format!("making {} read-only", path.display());
        let Some(target) = existing(root, path)? else {
            continue;
        };
        let copy = mount::clone_tree(&target, c"", Depth::Tree).during(step)?;
        set(&copy, attr::RDONLY, Depth::Tree).during(step)?;
        mount::attach(&copy, &target).during(step)?;
    }
    Ok(())
}

/// Covers files by `/dev/null` and directories by an empty one.
pub fn hide(root: &OwnedFd, paths: &[PathBuf]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let step = || format!("hiding {}", path.display());
        let Some(target) = existing(root, path)? else {
            continue;
        };
        let cover = match (beneath::kind(&target).during(step)?, &empty) {
            (Kind::File, _) => null()?,
            (Kind::Directory, None) => nothing()?,
            // One file system is enough for all.
            (Kind::Directory, Some(first)) => {
                mount::clone_tree(first, c"", Depth::One).during(step)?
            }
        };
        mount::attach(&cover, &target).during(step)?;
        if beneath::kind(&cover).during(step)? == Kind::Directory && empty.is_none() {
            empty = Some(cover);
        }
    }
    Ok(())
}

fn existing(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match beneath::open(root, path, OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        other => other
            .map(Some)
            .during(|| format!("opening {} to cover it", path.display())),
    }
}

fn null() -> Result<OwnedFd> {
    let step = || "taking /dev/null of the host".to_owned();
    let cover = mount::clone_tree(AT_FDCWD, NULL, Depth::One).during(step)?;
    let about = fstat(&cover).during(step)?;
    let device = (major(about.st_rdev), minor(about.st_rdev));
    let format = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    if format != SFlag::S_IFCHR || device != (1, 3) {
        return Err(Error::refused(step(), "it is another file"));
    }
    Ok(cover)
}

fn nothing() -> Result<OwnedFd> {
    let step = || "making an empty directory".to_owned();
    let fs = mount::fsopen(c"tmpfs").during(step)?;
    mount::fsconfig_string(&fs, c"nr_inodes", c"1").during(step)?;
    mount::fsconfig_create(&fs).during(step)?;
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    mount::fsmount(&fs, attributes).during(step)
}
