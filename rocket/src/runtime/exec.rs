//! Another program in a container that is there.
//!
//! A helper enters the container's namespaces and makes the new process as its sibling, our
//! child: in the container's namespace of processes from its first instruction, and seen by
//! nobody there before. All of this is hidden from the container's programs: none may look
//! into the new process before it has become the program.

use std::convert::Infallible;
use std::fs;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxSeccomp, Process};

use super::cgroup::Cgroup;
use super::container::ProcessPlan;
use super::create::{Helper, Running, refuse_threads, set_limits, set_oom_score, started};
use super::error::{During, Error, Result};
use super::init::{self, credentials, program, terminal};
use super::seccomp::{self, Filter};
use super::sync::{Channel, Message};
use super::sys::process::{self, Forked, Made};
use super::{Keyring, Session, Streams, users};

/// A program for a container that is there.
#[derive(Debug)]
pub struct Entry {
    /// The container's first process.
    pub pid: i32,
    /// The same as a handle.
    pub pidfd: OwnedFd,
    /// The program.
    pub process: Process,
    /// Which system calls it may make.
    pub seccomp: Option<LinuxSeccomp>,
    /// The execution domain of the container.
    pub personality: Option<u32>,
    /// Its standard streams, unless it has a terminal of its own.
    pub streams: Streams,
    /// Where the master of its own terminal is sent; it has one if this is given.
    pub console: Option<OwnedFd>,
    /// Whether it has a session of its own.
    pub session: Session,
    /// Whose session keyring it has.
    pub keyring: Keyring,
    /// Whether it is killed when this process ends.
    pub dies_with_parent: bool,
    /// Descriptors after the standard streams that it gets.
    pub preserved: u32,
}

/// Names of namespaces in `/proc/PID/ns`, and their flags.
const KINDS: [(&str, libc::c_int); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

impl Entry {
    /// An entry for a program that belongs to the caller like any other child.
    pub fn new(pid: i32, process: Process) -> Result<Self> {
        let pidfd = process::pidfd_open(Pid::from_raw(pid))
            .during(|| format!("opening process {pid} of the container"))?;
        Ok(Self {
            pid,
            pidfd,
            process,
            seccomp: None,
            personality: None,
            streams: Streams::default(),
            console: None,
            session: Session::Caller,
            keyring: Keyring::New,
            dies_with_parent: true,
            preserved: 0,
        })
    }

    /// Runs the program. Comes back when it has begun.
    pub fn run(&self) -> Result<Running> {
        refuse_threads()?;
        let plan = ProcessPlan::of("process", &self.process)?;
        let filter = self.seccomp.as_ref().map(seccomp::compile).transpose()?;
        process::set_dumpable(false).during(|| "hiding from the container".into())?;
        let flags = self.namespaces()?;
        // On a host that has only old hierarchies there is no group to go into.
        let cgroup = Cgroup::of_process(self.pid).ok();
        let (mine, its) = Channel::pair().during(|| "making a socket".into())?;
        let entering = Entering {
            entry: self,
            plan: &plan,
            filter: filter.as_ref(),
            flags,
        };
        let made = entering.process(&mine, its, cgroup.as_ref())?;
        let mut guard = Guard(Some(made));
        guard.prepare(&plan, &mine, flags & libc::CLONE_NEWUSER != 0)?;
        let process = guard.0.take().ok_or(Error::Vanished)?;
        Ok(Running {
            process,
            cgroup: None,
        })
    }

    /// Flags of the namespaces that are not ours: a process cannot enter its own.
    fn namespaces(&self) -> Result<libc::c_int> {
        let mut flags = 0;
        for (name, flag) in KINDS {
            let link = |whose: &str| fs::read_link(format!("/proc/{whose}/ns/{name}"));
            let its = link(&self.pid.to_string())
                .during(|| format!("looking at the {name} namespace of process {}", self.pid))?;
            if link("self").during(|| "looking at our namespaces".into())? != its {
                flags |= flag;
            }
        }
        Ok(flags)
    }
}

struct Entering<'a> {
    entry: &'a Entry,
    plan: &'a ProcessPlan,
    filter: Option<&'a Filter>,
    flags: libc::c_int,
}

impl Entering<'_> {
    fn process(&self, mine: &Channel, its: Channel, cgroup: Option<&Cgroup>) -> Result<Made> {
        let step = || "making the process".to_owned();
        if !self.plan.affinity.0.is_empty() {
            process::pin(&self.plan.affinity.0).during(|| "choosing CPUs".into())?;
        }
        let directory = cgroup.map(Cgroup::directory);
        let helper = Helper::new()?;
        let forked = process::clone3(libc::CLONE_FILES as u64, directory).during(step)?;
        // Owned out here: what the helper drops, it closes for us as well.
        let mut its = Some(its);
        helper.make(forked, || {
            self.enter()?;
            match process::clone3(libc::CLONE_PARENT as u64, None).during(step)? {
                Forked::Parent(made) => Ok(made),
                Forked::Child => {
                    mine.close_copy();
                    if let Some(its) = its.take() {
                        self.become_or_tell(its);
                    }
                    process::exit_now(1)
                }
            }
        })
    }

    fn enter(&self) -> Result<()> {
        if self.flags == 0 {
            return Ok(());
        }
        setns(&self.entry.pidfd, CloneFlags::from_bits_retain(self.flags))
            .during(|| format!("entering the namespaces of process {}", self.entry.pid))
    }

    fn become_or_tell(&self, mut channel: Channel) -> ! {
        let Err(error) = self.become_program(&mut channel);
        let _ = channel.send(&Message::Failed(error.in_one_line()));
        process::exit_now(1)
    }

    fn become_program(&self, channel: &mut Channel) -> Result<Infallible> {
        umask(Mode::empty());
        let user_namespace = self.flags & libc::CLONE_NEWUSER != 0;
        if user_namespace {
            init::become_root()?;
        }
        if self.entry.session == Session::New {
            nix::unistd::setsid().during(|| "making a session".into())?;
        }
        init::keyring(self.entry.keyring)?;
        let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .during(|| "opening the container's root".into())?;
        let receiver = self.entry.console.as_ref();
        let console = receiver
            .map(|receiver| terminal::pair(&root, receiver, self.plan))
            .transpose()?;
        let program = program::find(self.plan)?;
        channel
            .send(&Message::Ready)
            .during(|| "telling the parent".into())?;
        let (Message::Start(_), _) = init::next(channel)? else {
            return Err(init::unexpected());
        };
        if !self.plan.affinity.1.is_empty() {
            process::pin(&self.plan.affinity.1).during(|| "choosing CPUs".into())?;
        }
        terminal::set_streams(&self.entry.streams, console.as_ref(), self.entry.session)?;
        // From here on numbers of descriptors are given out anew: nothing may be closed by
        // who had one before.
        std::mem::forget((console, root));
        credentials::Start {
            process: self.plan,
            seccomp: self.filter,
            user_namespace,
            personality: self.entry.personality,
            dies_with_parent: self.entry.dies_with_parent,
            preserved: self.entry.preserved,
        }
        .execute(&program, channel, || Ok(()))
    }
}

/// Kills the process unless it is taken out.
struct Guard(Option<Made>);

impl Guard {
    fn prepare(&self, plan: &ProcessPlan, channel: &Channel, user_namespace: bool) -> Result<()> {
        let pid = self.0.as_ref().map_or(Pid::from_raw(0), |made| made.pid);
        match channel
            .receive()
            .during(|| "listening to the container".into())?
        {
            Some((Message::Ready, _)) => {}
            Some((Message::Failed(why), _)) => return Err(Error::Child(why)),
            _ => return Err(Error::Vanished),
        }
        if let Some(score) = plan.oom_score_adj {
            set_oom_score(pid, score)?;
        }
        if user_namespace {
            set_limits(pid, plan)?;
        }
        channel
            .send(&Message::Start(String::new()))
            .during(|| "starting the program".into())?;
        started(channel)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(made) = self.0.take() {
            // It may have ended by itself.
            let _ = process::pidfd_signal(&made.pidfd, libc::SIGKILL);
            users::reap(&made.pidfd);
        }
    }
}
