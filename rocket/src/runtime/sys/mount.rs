//! Mounts as file descriptors: `fsopen`, `open_tree`, `move_mount`, `mount_setattr`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// `MOUNT_ATTR_*` of `mount_setattr(2)`; they are the same for `fsmount(2)`.
pub mod attr {
    /// Nothing can be written through this mount.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities are ignored.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the three ways to keep access times; 0 is `relatime`.
    pub const ATIME: u64 = 0x70;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Owners are shown through a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// What `mount_setattr` changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Attributes that are set.
    pub set: u64,
    /// Attributes that are cleared first.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

/// The argument of `mount_setattr(2)`.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// How much of a tree an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One mount.
    One,
    /// The mount and all below it.
    Tree,
}

/// The result of a call that makes a descriptor.
fn descriptor(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Begins to configure a file system of this type.
pub fn fsopen(kind: &CStr) -> nix::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    // SAFETY: `kind` is a valid string for the time of the call.
    descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Sets a parameter that has no value.
pub fn fsconfig_flag(fs: &OwnedFd, key: &CStr) -> nix::Result<()> {
    fsconfig(fs, 0, Some(key), None)
}

/// Sets a parameter to a string.
pub fn fsconfig_string(fs: &OwnedFd, key: &CStr, value: &CStr) -> nix::Result<()> {
    fsconfig(fs, 1, Some(key), Some(value))
}

/// Makes the file system, or finds the one that is there already.
pub fn fsconfig_create(fs: &OwnedFd) -> nix::Result<()> {
    fsconfig(fs, 6, None, None)
}

fn fsconfig(
    fs: &OwnedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> nix::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both pointers are null or strings that live through the call; the commands
    // used here take nothing else.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// A detached mount of the file system that was made.
pub fn fsmount(fs: &OwnedFd, attributes: u64) -> nix::Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    // SAFETY: numbers only.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            fs.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes as libc::c_uint,
        )
    })
}

/// A detached copy of the mount at `path`, or of what `dir` itself is if `path` is empty.
pub fn clone_tree<F: AsFd>(dir: F, path: &CStr, depth: Depth) -> nix::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let mut flags =
        OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_EMPTY_PATH as libc::c_uint;
    if depth == Depth::Tree {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `path` is a valid string for the time of the call.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            dir.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    })
}

/// Attaches a detached mount to the file or directory that `target` is.
pub fn attach<F: AsFd, T: AsFd>(mount: F, target: T) -> nix::Result<()> {
    const FROM_EMPTY: libc::c_uint = 0x4;
    const TO_EMPTY: libc::c_uint = 0x40;
    // SAFETY: descriptors and empty strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY | TO_EMPTY,
        )
    };
    Errno::result(result).map(drop)
}

/// Changes attributes of a mount.
pub fn change<F: AsFd>(mount: F, change: Change, depth: Depth) -> nix::Result<()> {
    mount_setattr(
        mount,
        &MountAttr {
            attr_set: change.set,
            attr_clr: change.clear,
            propagation: change.propagation,
            userns_fd: 0,
        },
        depth,
    )
}

/// Shows owners through the user namespace; the mount must be detached.
pub fn idmap<F: AsFd, U: AsFd>(mount: F, user_namespace: U, depth: Depth) -> nix::Result<()> {
    mount_setattr(
        mount,
        &MountAttr {
            attr_set: attr::IDMAP,
            attr_clr: 0,
            propagation: 0,
            userns_fd: user_namespace.as_fd().as_raw_fd() as u64,
        },
        depth,
    )
}

fn mount_setattr<F: AsFd>(mount: F, attributes: &MountAttr, depth: Depth) -> nix::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the structure is the kernel's first version, given with its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// What the kernel had to say about the configuration; empty if nothing.
pub fn messages(fs: &OwnedFd) -> String {
    let mut found = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = nix::unistd::read(fs, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        found.push(line.trim_end().trim_start_matches("e ").to_owned());
        if found.len() == 8 {
            break;
        }
    }
    found.join("; ")
}
