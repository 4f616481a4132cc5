//! `/dev` of a container.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::runtime::beneath::{self, Kind};
use crate::runtime::container::{Container, Device};
use crate::runtime::error::{During, Error, Result};
use crate::runtime::mounts;
use crate::runtime::sources;
use crate::runtime::sys::mount::{self, Depth};

/// What every container has, with its minor number; the major one is 1.
const MEMORY: [(&str, u64); 5] = [
    ("null", 3),
    ("zero", 5),
    ("full", 7),
    ("random", 8),
    ("urandom", 9),
];

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Makes nodes and links, unless `/dev` is the host's.
pub fn make(container: &Container, root: &OwnedFd) -> Result<()> {
    let dev = Path::new("/dev");
    let is_host = |mount: &mounts::MountPlan| {
        mount.destination.components().eq(dev.components())
            && matches!(mount.kind, mounts::Kind::Bind { .. })
    };
    if container.mounts.iter().any(is_host) {
        return Ok(());
    }
    let user = container.in_user_namespace();
    for device in standard().iter().chain(&container.devices) {
        node(root, device, user)?;
    }
    let directory = beneath::make(root, dev, Kind::Directory)?;
    for (target, name) in LINKS {
        match symlinkat(target, &directory, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => Err(error).during(|| format!("linking /dev/{name}"))?,
        }
    }
    Ok(())
}

fn standard() -> Vec<Device> {
    let device = |name: &str, major, minor| Device {
        path: Path::new("/dev").join(name),
        format: SFlag::S_IFCHR,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut all: Vec<Device> = MEMORY
        .iter()
        .map(|(name, minor)| device(name, 1, *minor))
        .collect();
    all.push(device("tty", 5, 0));
    all
}

/// In a user namespace nobody may make nodes: the host's are shown instead.
fn node(root: &OwnedFd, device: &Device, user_namespace: bool) -> Result<()> {
    let step = || format!("making the device {}", device.path.display());
    let name = device
        .path
        .file_name()
        .ok_or_else(|| Error::refused(step(), "it has no name"))?;
    let parent = device.path.parent().unwrap_or(Path::new("/"));
    let directory = beneath::make(root, parent, Kind::Directory)?;
    if user_namespace && device.format != SFlag::S_IFIFO {
        return from_host(root, device);
    }
    let number = makedev(device.major, device.minor);
    let mode = Mode::from_bits_truncate(device.mode);
    match mknodat(&directory, name, device.format, mode, number) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return same(&directory, name, device),
        Err(error) => Err(error).during(step)?,
    }
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    fchownat(
        &directory,
        name,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .during(step)
}

/// What is there already must be the same device.
fn same(directory: &OwnedFd, name: &OsStr, device: &Device) -> Result<()> {
    let step = || format!("making the device {}", device.path.display());
    let about = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).during(step)?;
    let format = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    let pipe = format == SFlag::S_IFIFO;
    if format == device.format && (pipe || about.st_rdev == makedev(device.major, device.minor)) {
        return Ok(());
    }
    Err(Error::refused(step(), "another file is there"))
}

fn from_host(root: &OwnedFd, device: &Device) -> Result<()> {
    let step = || format!("showing the host's {}", device.path.display());
    let path = sources::c_path(&device.path)?;
    let copy = mount::clone_tree(AT_FDCWD, &path, Depth::One).during(step)?;
    let about = nix::sys::stat::fstat(&copy).during(step)?;
    let format = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    if format != device.format || about.st_rdev != makedev(device.major, device.minor) {
        return Err(Error::refused(step(), "it is another device there"));
    }
    let target = beneath::make(root, &device.path, Kind::File)?;
    mount::attach(&copy, target).during(step)
}

/// A place for the console.
pub fn console(root: &OwnedFd) -> Result<OwnedFd> {
    let path = Path::new("/dev/console");
    match beneath::open_plain(root, path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => beneath::make(root, path, Kind::File),
        other => other.during(|| "opening /dev/console".into()),
    }
}
