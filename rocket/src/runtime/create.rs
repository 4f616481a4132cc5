//! Making a container, seen from outside of it.

mod making;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use oci_spec::runtime::{Hook, LinuxResources};

use super::cgroup::{Cgroup, How, systemd};
use super::container::{Container, ProcessPlan};
use super::error::{During, Error, Result};
use super::sources::{self, Sources};
use super::state::Status;
use super::sync::{Channel, Message};
use super::sys::process::{self, Made};
use super::{Exit, Plan, Root, hooks, users};
pub use making::Helper;
use making::{Making, open_joined};

/// A container that is there and whose program is not started yet. Dropped, it is killed.
#[derive(Debug)]
pub struct Created {
    process: Option<Made>,
    channel: Channel,
    cgroup: Option<Cgroup>,
    made_cgroup: bool,
    poststart: Vec<Hook>,
    state: String,
}

/// A container whose program runs. Dropped, it goes on.
#[derive(Debug)]
pub struct Running {
    pub(super) process: Made,
    pub(super) cgroup: Option<Cgroup>,
}

/// Makes a container. Errors of the new process come back from here.
pub fn create(plan: &Plan) -> Result<Created> {
    refuse_threads()?;
    let container = Container::of(&plan.spec)?;
    let resources = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    // Before there is a copy of us in a namespace of somebody else.
    process::set_dumpable(false).during(|| "hiding from the container".into())?;
    let sources = Sources::open(&container, &plan.root, &plan.identity.bundle)?;
    let joined = open_joined(&container)?;
    let cgroup = match &plan.cgroup {
        How::Path(path) => Some(Cgroup::make(path, resources)?),
        How::Caller | How::Scope(_) => {
            refuse_limits_of_caller(plan, resources)?;
            None
        }
    };
    let (mine, its) = Channel::pair().during(|| "making a socket".into())?;
    let made = Making {
        plan,
        container: &container,
        cgroup: cgroup.as_ref(),
    }
    .process(sources, joined, &mine, its);
    let mut created = Created {
        process: None,
        channel: mine,
        made_cgroup: cgroup.is_some(),
        cgroup,
        poststart: container.hooks.poststart().clone().unwrap_or_default(),
        state: String::new(),
    };
    // From here on whatever fails takes the process and the cgroup with it.
    created.process = Some(made?);
    created.prepare(plan, &container, resources)?;
    Ok(created)
}

/// What another thread is doing is not known to the copy: locks it holds stay locked.
pub fn refuse_threads() -> Result<()> {
    match process::threads().during(|| "counting threads".into())? {
        1 => Ok(()),
        count => Err(Error::refused(
            "making a container",
            format!("this process has {count} threads, it must have one"),
        )),
    }
}

fn refuse_limits_of_caller(plan: &Plan, resources: Option<&LinuxResources>) -> Result<()> {
    let limits = resources
        .map(super::cgroup::limits::files)
        .transpose()?
        .unwrap_or_default();
    let asked = limits.iter().find(|limit| !limit.optional);
    match (&plan.cgroup, asked) {
        (How::Caller, Some(limit)) => Err(Error::refused(
            format!("setting {}", limit.file),
            "the container is in the caller's cgroup: give it one of its own",
        )),
        _ => Ok(()),
    }
}

/// Whether the child has to wait for us before it begins.
fn waits(plan: &Plan, container: &Container) -> bool {
    let mapped = container
        .mounts
        .iter()
        .any(|mount| matches!(mount.kind, super::mounts::Kind::Bind { idmap: Some(_), .. }));
    let overlay = container.in_user_namespace() && matches!(plan.root, Root::Overlay { .. });
    container.mappings.is_some() || overlay || mapped || matches!(plan.cgroup, How::Scope(_))
}

impl Created {
    /// The parent's part, until the child says that it is ready.
    fn prepare(
        &mut self,
        plan: &Plan,
        container: &Container,
        resources: Option<&LinuxResources>,
    ) -> Result<()> {
        let pid = Pid::from_raw(self.pid());
        if let Some(mappings) = &container.mappings {
            users::map(pid, &mappings.users, &mappings.groups)?;
        }
        if let How::Scope(scope) = &plan.cgroup {
            self.cgroup = Some(systemd::start(scope, pid.as_raw(), resources)?);
            self.made_cgroup = true;
        }
        if let Some(score) = container.process.oom_score_adj {
            set_oom_score(pid, score)?;
        }
        if waits(plan, container) {
            self.send_mounts(plan, container)?;
            self.send(&Message::Go(String::new()))?;
        }
        self.wait_until_ready(plan, container)?;
        if container.in_user_namespace() {
            set_limits(pid, &container.process)?;
        }
        self.state = plan.identity.state(Status::Created, Some(pid.as_raw()))?;
        Ok(())
    }

    /// Mounts that need the container's user namespace.
    fn send_mounts(&self, plan: &Plan, container: &Container) -> Result<()> {
        let namespace = users::of(Pid::from_raw(self.pid()))?;
        if let (true, Root::Overlay { lower, upper }) = (container.in_user_namespace(), &plan.root)
        {
            let root = users::mapped_overlay(lower, upper.as_ref(), &namespace)?;
            self.send_mount(&root)?;
        }
        let binds = sources::mapped_binds(container, namespace.as_fd(), &plan.identity.bundle)?;
        binds.iter().try_for_each(|bind| self.send_mount(bind))
    }

    fn send_mount(&self, mount: &OwnedFd) -> Result<()> {
        self.channel
            .send_mount(mount)
            .map_err(|_| self.failure().unwrap_or(Error::Vanished))
    }

    fn send(&self, message: &Message) -> Result<()> {
        self.channel
            .send(message)
            .map_err(|_| self.failure().unwrap_or(Error::Vanished))
    }

    /// What the child said before it ended.
    fn failure(&self) -> Option<Error> {
        match self.channel.receive() {
            Ok(Some((Message::Failed(why), _))) => Some(Error::Child(why)),
            _ => None,
        }
    }

    fn wait_until_ready(&self, plan: &Plan, container: &Container) -> Result<()> {
        loop {
            match self
                .channel
                .receive()
                .during(|| "listening to the container".into())?
            {
                Some((Message::Ready, _)) => return Ok(()),
                Some((Message::HooksDue, _)) => {
                    let pid = Some(self.pid());
                    let state = plan.identity.state(Status::Creating, pid)?;
                    run_creation_hooks(container, &state)?;
                    self.send(&Message::Go(state))?;
                }
                Some((Message::Failed(why), _)) => return Err(Error::Child(why)),
                Some(_) | None => return Err(Error::Vanished),
            }
        }
    }

    /// The number of its first process.
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |made| made.pid.as_raw())
    }

    /// The same as a handle.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|made| made.pidfd.as_fd())
    }

    /// Its control group, if it has one of its own.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Lets the program begin. Comes back when it has, or with the reason why not.
    pub fn start(mut self) -> Result<Running> {
        self.send(&Message::Start(self.state.clone()))?;
        started(&self.channel)?;
        hooks::run_all("poststart", &self.poststart, &self.state)?;
        self.made_cgroup = false;
        let process = self.process.take().ok_or(Error::Vanished)?;
        Ok(Running {
            process,
            cgroup: self.cgroup.take(),
        })
    }

    /// Leaves the container to whoever connects to its gate. Until then it ends with us.
    pub fn leave(mut self) -> Result<()> {
        self.send(&Message::Go(String::new()))?;
        self.made_cgroup = false;
        self.process = None;
        Ok(())
    }
}

/// Waits until the program has begun: then its end of the channel is closed.
pub fn started(channel: &Channel) -> Result<()> {
    match channel.receive() {
        Ok(None) => Ok(()),
        Ok(Some((Message::Failed(why), _))) => Err(Error::Child(why)),
        Ok(Some(_)) => Err(Error::refused(
            "starting the program",
            "a message out of order",
        )),
        Err(Errno::ECONNRESET) => Err(Error::Vanished),
        Err(error) => Err(error).during(|| "listening to the container".into()),
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(made) = self.process.take() {
            // It may have ended by itself.
            let _ = process::pidfd_signal(&made.pidfd, libc::SIGKILL);
            users::reap(&made.pidfd);
        }
        if let (true, Some(cgroup)) = (self.made_cgroup, &self.cgroup) {
            // What stays is empty.
            let _ = cgroup.remove();
        }
    }
}

impl Running {
    /// The number of its first process.
    pub fn pid(&self) -> i32 {
        self.process.pid.as_raw()
    }

    /// The same as a handle, for waiting beside other things.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Lets the program go on without being waited for.
    pub fn leave(self) {}

    /// Its control group, if it has one of its own.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: i32) -> Result<()> {
        process::pidfd_signal(&self.process.pidfd, signal)
            .during(|| format!("sending signal {signal} to process {}", self.process.pid))
    }

    /// Waits until the program has ended.
    pub fn wait(&self) -> Result<Exit> {
        wait(&self.process.pidfd)
    }
}

/// Waits until a child has ended.
pub fn wait(pidfd: &OwnedFd) -> Result<Exit> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, status)) => return Ok(Exit::Status(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
            Ok(other) => {
                return Err(Error::refused(
                    "waiting for the program",
                    format!("{other:?}"),
                ));
            }
            Err(error) => Err(error).during(|| "waiting for the program".into())?,
        }
    }
}

#[allow(deprecated)]
fn run_creation_hooks(container: &Container, state: &str) -> Result<()> {
    let prestart = container.hooks.prestart().as_deref().unwrap_or_default();
    hooks::run_all("prestart", prestart, state)?;
    let create = container
        .hooks
        .create_runtime()
        .as_deref()
        .unwrap_or_default();
    hooks::run_all("createRuntime", create, state)
}

/// How early the process is killed if memory is short.
pub fn set_oom_score(pid: Pid, score: i32) -> Result<()> {
    fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
        .during(|| format!("setting oomScoreAdj to {score}"))
}

/// Limits and priorities of a process (0 is this one) that only the host's root may raise.
pub fn set_limits(pid: Pid, wanted: &ProcessPlan) -> Result<()> {
    for &(resource, soft, hard) in &wanted.limits {
        process::limit(pid, resource, soft, hard)
            .during(|| format!("setting resource limit {resource} to {soft}:{hard}"))?;
    }
    if let Some(scheduling) = wanted.scheduling {
        process::schedule(pid, scheduling).during(|| "setting the scheduler".into())?;
    }
    if let Some((class, level)) = wanted.io_priority {
        process::io_priority(pid, class, level).during(|| "setting the I/O priority".into())?;
    }
    Ok(())
}
