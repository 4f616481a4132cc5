//! Protects the host's rocket from the programs it starts.
//!
//! A container can execute `/proc/self/exe` (as its program, as interpreter of a script or
//! of a program) while that is still rocket, hold the file of the process that results open,
//! and write to it when rocket has ended. Root of the host, which a container without a user
//! namespace has, may do that unless the file is out of reach.
//!
//! On a `/usr` that is mounted read-only, as Ballast's, it is out of reach, and this costs
//! one `statfs`. Elsewhere rocket executes itself once more through a detached read-only
//! mount of its own file, which nobody can change afterwards, because it is in no
//! namespace. That is one `execve` without a copy; a sealed copy in memory would cost
//! reading and writing all of the file for each container, and its memory.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::execveat;

use super::error::{During, Error, Result};
use super::sys::mount::{self, Change, Depth, attr};

/// Comes back at once if the file of this program cannot be written to; else the program
/// begins anew from a file that cannot. To be called first of all, before a container is
/// made.
pub fn protect_own_binary() -> Result<()> {
    let step = || "protecting rocket's own file from containers".to_owned();
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let own = open("/proc/self/exe", flags, Mode::empty()).during(step)?;
    if fstatvfs(&own)
        .during(step)?
        .flags()
        .contains(FsFlags::ST_RDONLY)
    {
        return Ok(());
    }
    let path = std::fs::read_link("/proc/self/exe").during(step)?;
    let path = super::sources::c_path(&path)?;
    let copy = match mount::clone_tree(AT_FDCWD, &path, Depth::One) {
        // Replaced while it ran: what we are is in no directory any more.
        Err(Errno::ENOENT) => return Ok(()),
        // Without the privilege to mount there is no privilege to lose either.
        Err(Errno::EPERM) => return Ok(()),
        other => other.during(step)?,
    };
    let read_only = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    mount::change(&copy, read_only, Depth::One).during(step)?;
    let text = |text: std::ffi::OsString| {
        CString::new(text.into_vec()).map_err(|e| Error::refused(step(), e.to_string()))
    };
    let args: Vec<CString> = std::env::args_os().map(text).collect::<Result<_>>()?;
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            text(key)
        })
        .collect::<Result<_>>()?;
    let Err(error) = execveat(&copy, c"", &args, &environment, AtFlags::AT_EMPTY_PATH);
    Err(error).during(step)
}
