//! `kill`, `pause` and `resume`.

use anyhow::{Context as _, bail};
use nix::libc;
use nix::unistd::Pid;
use oci_spec::runtime::LinuxNamespaceType;

use super::args;
use super::signals;
use super::store::{Container, Store};
use crate::runtime::state::Status;
use crate::runtime::{pidfd_open, pidfd_signal};

/// Sends a signal.
pub fn kill(store: &Store, args: &args::Kill) -> anyhow::Result<()> {
    let signal = signals::parse(&args.signal)?;
    let container = store.get(&args.id)?;
    if args.all {
        return kill_all(&container, signal);
    }
    let pid = container.record.pid;
    if pid == 0 {
        bail!("container not running");
    }
    let pidfd = match pidfd_open(Pid::from_raw(pid)) {
        Err(nix::Error::ESRCH) => bail!("container not running"),
        other => other.with_context(|| format!("opening process {pid}"))?,
    };
    // After it was opened: now the number cannot be given to somebody else.
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    // Nobody ends with a first process that shares its namespace with others.
    if signal == libc::SIGKILL && !has_own_processes(&container)? {
        return kill_all(&container, signal);
    }
    match pidfd_signal(&pidfd, signal) {
        Err(nix::Error::ESRCH) => bail!("container not running"),
        other => other.with_context(|| format!("sending signal {signal} to process {pid}")),
    }
}

fn has_own_processes(container: &Container) -> anyhow::Result<bool> {
    let spec = container.spec()?;
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_deref());
    let mut own = namespaces
        .unwrap_or_default()
        .iter()
        .filter(|namespace| namespace.path().is_none());
    Ok(own.any(|namespace| namespace.typ() == LinuxNamespaceType::Pid))
}

fn kill_all(container: &Container, signal: i32) -> anyhow::Result<()> {
    let Some(group) = container.cgroup() else {
        // Without a group there is nobody left.
        return Ok(());
    };
    if signal == libc::SIGKILL {
        return Ok(group.kill()?);
    }
    for pid in group.processes()? {
        match pidfd_open(Pid::from_raw(pid)).and_then(|pidfd| pidfd_signal(&pidfd, signal)) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("sending signal {signal} to process {pid}"));
            }
        }
    }
    Ok(())
}

/// Stops all processes of a container or lets them go on.
pub fn freeze(store: &Store, id: &str, frozen: bool) -> anyhow::Result<()> {
    let locked = store.lock(id)?;
    let container = &locked.container;
    match (container.status(), frozen) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => {}
        (_, true) => bail!("container not running"),
        (_, false) => bail!("container not paused"),
    }
    let group = container
        .cgroup()
        .context("the container has no cgroup of its own")?;
    Ok(group.freeze(frozen)?)
}
