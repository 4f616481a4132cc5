//! The last steps: giving up what the program must not have, and becoming it.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::personality;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat, umask};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{chdir, execve, getcwd, write};

use super::{program, terminal};
use crate::runtime::caps;
use crate::runtime::container::ProcessPlan;
use crate::runtime::create::set_limits;
use crate::runtime::error::{During, Error, Result};
use crate::runtime::seccomp::Filter;
use crate::runtime::sync::Channel;
use crate::runtime::sys::process::{self, Close};

/// What is left to do when the container is ready.
pub struct Start<'a> {
    /// The program.
    pub process: &'a ProcessPlan,
    /// Its filter.
    pub seccomp: Option<&'a Filter>,
    /// Whether its root is not the host's.
    pub user_namespace: bool,
    /// Its execution domain.
    pub personality: Option<u32>,
    /// Whether it is killed when the parent ends.
    pub dies_with_parent: bool,
    /// Descriptors after the standard streams that stay open.
    pub preserved: u32,
}

impl Start<'_> {
    /// Becomes the program. `last` runs as the program's user, with what it may do.
    ///
    /// The order matters: what needs a privilege comes before it is given up, and nothing
    /// of the image or the spec is touched before all others' descriptors are closed.
    pub fn execute(
        &self,
        program: &CStr,
        channel: &mut Channel,
        last: impl FnOnce() -> Result<()>,
    ) -> Result<Infallible> {
        let wanted = self.process;
        self.close_others(channel)?;
        terminal::own_streams(wanted.uid)?;
        if let Some(profile) = &wanted.apparmor {
            apparmor(profile)?;
        }
        // In a user namespace the parent has set them: raising a limit is for the host's root.
        if !self.user_namespace {
            set_limits(nix::unistd::Pid::from_raw(0), wanted)?;
        }
        domain(self.personality)?;
        caps::bound(wanted.capabilities.bounding)?;
        // Without the promise of no new privileges a filter needs one itself.
        if wanted.no_new_privileges {
            prctl::set_no_new_privs().during(|| "setting no_new_privs".into())?;
        } else {
            self.filter()?;
        }
        let environment = self.environment()?;
        self.enter_directory_as_user()?;
        self.follow_parent(channel)?;
        last()?;
        if wanted.no_new_privileges {
            self.filter()?;
        }
        process::default_signals().during(|| "resetting signals".into())?;
        let Err(errno) = execve(program, &wanted.args, &environment);
        Err(errno).during(|| format!("exec: {program:?}"))
    }

    /// Closes what is not the program's, at once and not on execution: a working directory
    /// or a program could be named through a descriptor of the host.
    fn close_others(&self, channel: &mut Channel) -> Result<()> {
        let step = || "closing files of the host".to_owned();
        let first = 3 + self.preserved;
        let keep = first as i32;
        // The channel moves to the first place after those that stay. What was there
        // belongs to nobody any more: no destructor of this process will run.
        if channel.as_fd().as_raw_fd() != keep {
            process::dup_onto(channel.as_fd(), keep).during(step)?;
            let moved = Channel::of(process::adopt(keep));
            std::mem::forget(std::mem::replace(channel, moved));
        }
        process::close_range(first, first, Close::OnExec).during(step)?;
        process::close_range(first + 1, u32::MAX, Close::Now).during(step)
    }

    fn filter(&self) -> Result<()> {
        match self.seccomp {
            Some(filter) => process::seccomp(&filter.program, filter.flags)
                .during(|| "loading the filter for system calls".into()),
            None => Ok(()),
        }
    }

    fn environment(&self) -> Result<Vec<CString>> {
        let mut environment = self.process.env.clone();
        if !self.process.has_home {
            let home = format!("HOME={}", program::home(self.process.uid));
            let home = CString::new(home)
                .map_err(|_| Error::refused("setting HOME", "it has a zero byte"))?;
            environment.push(home);
        }
        Ok(environment)
    }

    /// After the user was changed, which clears it.
    fn follow_parent(&self, channel: &Channel) -> Result<()> {
        if !self.dies_with_parent {
            return Ok(());
        }
        prctl::set_pdeathsig(Signal::SIGKILL).during(|| "following the parent".into())?;
        // The signal is for what happens from now on.
        if channel.is_abandoned() {
            process::exit_now(1);
        }
        Ok(())
    }

    /// Root may enter where the user may not, or the other way round (a network file
    /// system): either is enough.
    fn enter_directory_as_user(&self) -> Result<()> {
        let wanted = self.process;
        let entered = chdir(&wanted.cwd);
        prctl::set_keepcaps(true).during(|| "keeping capabilities".into())?;
        process::set_ids(wanted.uid, wanted.gid, &wanted.groups)
            .during(|| format!("becoming user {}, group {}", wanted.uid, wanted.gid))?;
        caps::apply(&wanted.capabilities)?;
        let step = || format!("entering the working directory {}", wanted.cwd.display());
        if entered.is_err() {
            chdir(&wanted.cwd).during(step)?;
        }
        // The kernel says where it is only if that is below the root.
        match getcwd() {
            Ok(path) if path.is_absolute() => {}
            Ok(_) | Err(Errno::ENOENT) => {
                return Err(Error::refused(step(), "it is outside of the container"));
            }
            Err(error) => Err(error).during(step)?,
        }
        umask(Mode::from_bits_truncate(wanted.umask));
        Ok(())
    }
}

/// Sets the execution domain.
fn domain(wanted: Option<u32>) -> Result<()> {
    if let Some(wanted) = wanted {
        let persona = personality::Persona::from_bits_retain(wanted as i32);
        personality::set(persona).during(|| "setting the personality".into())?;
    }
    Ok(())
}

/// The profile that execution changes to.
fn apparmor(profile: &str) -> Result<()> {
    let step = || format!("changing to the AppArmor profile {profile}");
    let text = format!("exec {profile}");
    // Newer kernels have a directory of its own for it.
    let file = match own_proc("self/attr/apparmor/exec") {
        Err(Errno::ENOENT) => own_proc("self/attr/exec"),
        other => other,
    };
    let file = file.during(step)?;
    write(&file, text.as_bytes()).during(step).map(drop)
}

/// Opens a file of `/proc` for writing, which must be the kernel's: somebody in the
/// container may have mounted another over it.
fn own_proc(path: &str) -> nix::Result<OwnedFd> {
    const PROC: FsType = FsType(0x9fa0);
    const ROOT_INODE: u64 = 1;
    let proc = open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if fstatfs(&proc)?.filesystem_type() != PROC || fstat(&proc)?.st_ino != ROOT_INODE {
        return Err(Errno::EXDEV);
    }
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(&proc, path, how)
}
