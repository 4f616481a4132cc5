//! `delete`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::store::{Container, Store};
use crate::runtime::cgroup::{Cgroup, mount_point, systemd};
use crate::runtime::state::Status;
use crate::runtime::{hooks, pidfd_open, pidfd_signal};

/// A process that was killed ends within this time, or the kernel holds it.
const END: Duration = Duration::from_secs(10);

/// Removes a container: its processes, control group and record; then `poststop` hooks run.
pub fn delete(store: &Store, id: &str, force: bool) -> anyhow::Result<()> {
    if store.remove_remains(id)? {
        return Ok(());
    }
    let locked = match store.lock(id) {
        Err(_) if force && store.get(id).is_err() => return Ok(()),
        other => other?,
    };
    let container = &locked.container;
    match container.status() {
        Status::Running | Status::Paused if !force => {
            let status = container.status();
            bail!("cannot delete container {id} that is not stopped: {status}");
        }
        Status::Stopped | Status::Creating => {}
        _ => kill(container)?,
    }
    remove_group(container)?;
    let spec = container.spec()?;
    let poststop = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststop().as_deref());
    let state = container.identity().state(Status::Stopped, None)?;
    let ran = hooks::run_all("poststop", poststop.unwrap_or_default(), &state);
    container.forget()?;
    // A warning: the container is gone whatever they say.
    if let Err(error) = ran {
        eprintln!("{}: {error}", super::NAME);
    }
    Ok(())
}

/// Kills a container whose start has failed.
pub fn end(store: &Store, id: &str) -> anyhow::Result<()> {
    kill(&store.get(id)?)
}

/// Kills the first process, and with it all of its namespace, and waits for its end.
fn kill(container: &Container) -> anyhow::Result<()> {
    let pid = container.record.pid;
    let killing = || format!("killing process {pid}");
    let pidfd = match pidfd_open(Pid::from_raw(pid)) {
        Err(nix::Error::ESRCH) => return Ok(()),
        other => other.with_context(killing)?,
    };
    // The number may have been given to somebody else since the last look.
    if container.status() == Status::Stopped {
        return Ok(());
    }
    match pidfd_signal(&pidfd, libc::SIGKILL) {
        Err(nix::Error::ESRCH) => return Ok(()),
        other => other.with_context(killing)?,
    }
    if let Some(group) = container.cgroup() {
        // What is frozen cannot end.
        let _ = group.kill();
    }
    use std::os::fd::AsFd as _;
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(END).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout).with_context(killing)? {
        0 => bail!("{}: it has not ended after 10 s", killing()),
        _ => Ok(()),
    }
}

fn remove_group(container: &Container) -> anyhow::Result<()> {
    if let Some(path) = &container.record.cgroup {
        match Cgroup::open(path) {
            Ok(group) => group.remove()?,
            Err(_) if !path.exists() || mount_point().is_err() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(scope) = &container.record.scope {
        systemd::stop(scope)?;
    }
    Ok(())
}
