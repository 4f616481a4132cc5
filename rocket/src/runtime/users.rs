//! User namespaces: mappings, and mounts that need one.

use std::fmt::Write;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxIdMapping;

use super::error::{During, Error, Result};
use super::sources;
use super::sync::{Channel, Message};
use super::sys::mount::{self, Depth};
use super::sys::process::{self, Forked};

/// Writes who is who in the user namespace of `pid`, which has just been made.
pub fn map(pid: Pid, users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> Result<()> {
    for (name, lines) in [("gid_map", groups), ("uid_map", users)] {
        let path = format!("/proc/{pid}/{name}");
        fs::write(&path, text(lines)).during(|| {
            let lines = text(lines);
            format!("mapping users and groups ({name}: {})", lines.trim_end())
        })?;
    }
    Ok(())
}

fn text(lines: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {} {}",
            line.container_id(),
            line.host_id(),
            line.size()
        );
    }
    text
}

/// The user namespace of a process.
pub fn of(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .during(|| format!("opening {path}"))
}

/// A user namespace with these mappings and nobody in it.
pub fn namespace(users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let step = || "making a user namespace for a mount".to_owned();
    let (mine, its) = Channel::pair().during(step)?;
    match process::clone3(libc::CLONE_NEWUSER as u64, None).during(step)? {
        Forked::Child => {
            drop(mine);
            // Until the parent has what it needs, or is gone.
            let _ = its.receive();
            process::exit_now(0);
        }
        Forked::Parent(made) => {
            drop(its);
            let found = map(made.pid, users, groups).and_then(|()| of(made.pid));
            drop(mine);
            reap(&made.pidfd);
            found
        }
    }
}

/// An overlay whose layers are shown through a user namespace: what root of the container
/// owns in an image is owned by root there.
///
/// What the container writes has its owners as the host sees them: the upper directory must
/// belong to the host's user who is root there.
///
/// Layers must be attached somewhere before an overlay takes them, so another process does
/// it in a mount namespace of its own; with the same table of descriptors, by which the
/// result comes here.
pub fn mapped_overlay(
    lower: &[PathBuf],
    upper: Option<&super::Upper>,
    namespace: &OwnedFd,
) -> Result<OwnedFd> {
    let step = || "mounting the root for a user namespace".to_owned();
    let (mine, its) = Channel::pair().during(step)?;
    let flags = (libc::CLONE_NEWNS | libc::CLONE_FILES) as u64;
    match process::clone3(flags, None).during(step)? {
        Forked::Child => {
            let message = match in_own_mounts(lower, upper, namespace) {
                Ok(made) => {
                    use std::os::fd::IntoRawFd;
                    Message::Made(0, made.into_raw_fd())
                }
                Err(error) => Message::Failed(error.in_one_line()),
            };
            let _ = its.send(&message);
            process::exit_now(0);
        }
        Forked::Parent(made) => {
            // The table is shared until the other process has ended: only then is nothing
            // of it closed twice.
            reap(&made.pidfd);
            drop(its);
            match mine.receive().during(step)? {
                Some((Message::Made(_, fd), _)) => Ok(process::adopt(fd)),
                Some((Message::Failed(why), _)) => Err(Error::Child(why)),
                _ => Err(Error::Vanished),
            }
        }
    }
}

/// Attaches each layer, mapped, on its own place, and mounts them together.
fn in_own_mounts(
    lower: &[PathBuf],
    upper: Option<&super::Upper>,
    namespace: &OwnedFd,
) -> Result<OwnedFd> {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .during(|| "making mounts private".into())?;
    for layer in lower {
        attach_mapped(layer, namespace)?;
    }
    sources::overlay(lower, upper)
}

fn attach_mapped(directory: &std::path::Path, namespace: &OwnedFd) -> Result<()> {
    let step = || format!("mapping owners of {}", directory.display());
    let path = sources::c_path(directory)?;
    let copy = mount::clone_tree(nix::fcntl::AT_FDCWD, &path, Depth::One).during(step)?;
    mount::idmap(&copy, namespace, Depth::One).during(step)?;
    let target = open(directory, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).during(step)?;
    mount::attach(&copy, &target).during(step)
}

/// Waits for a process to end; how does not matter.
pub fn reap(pidfd: &OwnedFd) {
    use std::os::fd::AsFd;
    while let Err(nix::errno::Errno::EINTR) = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)
    {
    }
}
