//! Making a container's process, in namespaces of its own and in given ones.

use std::fs;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::waits;
use crate::runtime::cgroup::Cgroup;
use crate::runtime::container::Container;
use crate::runtime::error::{During, Error, Result};
use crate::runtime::init::{self, Gate, Init};
use crate::runtime::sources::Sources;
use crate::runtime::sync::{Channel, Message};
use crate::runtime::sys::process::{self, Forked, Made};
use crate::runtime::{Plan, users};

/// Namespaces that are given by path.
pub(super) fn open_joined(container: &Container) -> Result<Vec<(u64, OwnedFd)>> {
    container
        .namespaces
        .joined
        .iter()
        .map(|(flag, path)| {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let fd = open(path, flags, Mode::empty())
                .during(|| format!("opening the namespace {}", path.display()))?;
            Ok((*flag, fd))
        })
        .collect()
}

/// Flags that `clone3` takes; the others are for `unshare`, once the time has come.
const CLONED: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNS;

pub(super) struct Making<'a> {
    pub plan: &'a Plan,
    pub container: &'a Container,
    pub cgroup: Option<&'a Cgroup>,
}

impl Making<'_> {
    pub fn process(
        &self,
        sources: Sources,
        joined: Vec<(u64, OwnedFd)>,
        mine: &Channel,
        its: Channel,
    ) -> Result<Made> {
        if self.container.namespaces.need_helper() {
            return self.by_helper(sources, joined, mine, its);
        }
        let flags = self.container.namespaces.new & CLONED as u64;
        match self.clone(flags)? {
            Forked::Parent(made) => Ok(made),
            Forked::Child => {
                mine.close_copy();
                self.init(sources, joined).run(its)
            }
        }
    }

    fn clone(&self, flags: u64) -> Result<Forked> {
        let directory = self.cgroup.map(Cgroup::directory);
        process::clone3(flags, directory).during(|| "making the container's process".into())
    }

    fn init(&self, sources: Sources, joined: Vec<(u64, OwnedFd)>) -> Init<'_> {
        Init {
            container: self.container,
            sources,
            gate: self.plan.gate.as_ref().map_or(Gate::Parent, Gate::Listener),
            joined,
            waits: waits(self.plan, self.container),
            streams: &self.plan.streams,
            console: self.plan.console.as_ref(),
            session: self.plan.session,
            dies_with_parent: self.plan.dies_with_parent,
            pivot: self.plan.pivot,
            keyring: self.plan.keyring,
            preserved: self.plan.preserved,
        }
    }

    /// A process that enters the given namespaces and makes the container's process as its
    /// sibling: our child. Both know the descriptors of each other, so that the one by which
    /// the new process is known arrives here.
    fn by_helper(
        &self,
        sources: Sources,
        joined: Vec<(u64, OwnedFd)>,
        mine: &Channel,
        its: Channel,
    ) -> Result<Made> {
        let helper = Helper::new()?;
        let forked = self.clone(libc::CLONE_FILES as u64)?;
        // Owned out here: what the helper drops, it closes for us as well.
        let mut parts = Some((sources, its));
        helper.make(forked, || {
            let flags = self.container.namespaces.new & CLONED as u64;
            enter(&joined, &self.container.time_offsets)?;
            let forked = process::clone3(flags | libc::CLONE_PARENT as u64, None)
                .during(|| "making the container's process".into())?;
            match forked {
                Forked::Parent(made) => Ok(made),
                Forked::Child => {
                    mine.close_copy();
                    if let Some((sources, its)) = parts.take() {
                        self.init(sources, Vec::new()).run(its);
                    }
                    process::exit_now(1)
                }
            }
        })
    }
}

/// How a helper tells what it made. The new process talks over another channel: it may be
/// faster.
#[derive(Debug)]
pub struct Helper {
    mine: Channel,
    its: Channel,
}

impl Helper {
    /// Before the helper is made.
    pub fn new() -> Result<Self> {
        let (mine, its) = Channel::pair().during(|| "making a socket".into())?;
        Ok(Self { mine, its })
    }

    /// In the helper: makes a process, tells of it, and ends. In its parent: what it told.
    pub fn make(self, forked: Forked, work: impl FnOnce() -> Result<Made>) -> Result<Made> {
        let helper = match forked {
            Forked::Parent(helper) => helper,
            Forked::Child => {
                use std::os::fd::IntoRawFd;
                let message = match work() {
                    Ok(made) => Message::Made(made.pid.as_raw(), made.pidfd.into_raw_fd()),
                    Err(error) => Message::Failed(error.in_one_line()),
                };
                let _ = self.its.send(&message);
                process::exit_now(0)
            }
        };
        users::reap(&helper.pidfd);
        match self
            .mine
            .received()
            .during(|| "listening to the helper".into())?
        {
            Some(Message::Made(pid, fd)) => Ok(Made {
                pid: Pid::from_raw(pid),
                pidfd: process::adopt(fd),
            }),
            Some(Message::Failed(why)) => Err(Error::Child(why)),
            // What it made, if anything, ends when it hears nothing from us.
            _ => Err(Error::Vanished),
        }
    }
}

/// Enters namespaces; a new one for time is for the processes made afterwards.
fn enter(joined: &[(u64, OwnedFd)], time_offsets: &[String]) -> Result<()> {
    for (flag, fd) in joined {
        let flags = CloneFlags::from_bits_retain(*flag as i32);
        setns(fd, flags).during(|| format!("entering a given namespace ({flag:#x})"))?;
        if *flag == libc::CLONE_NEWUSER as u64 {
            init::become_root()?;
        }
    }
    if !time_offsets.is_empty() {
        unshare(CloneFlags::from_bits_retain(0x80)).during(|| "making a time namespace".into())?;
        fs::write("/proc/self/timens_offsets", time_offsets.concat())
            .during(|| format!("setting clocks to {}", time_offsets.concat().trim_end()))?;
    }
    Ok(())
}
