//! `rocket stop`.

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use jiff::SignedDuration;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::which::Which;
use crate::detach;
use crate::dirs::Dirs;
use crate::pod::{Liveness, Phase, Pod, Pods, State, phase};
use crate::process::Handle;

/// Asks pods to stop, and ends them when they do not.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// How long they have until they are killed, for instance 30s
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: SignedDuration,
    /// Kills at once
    #[arg(long)]
    force: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pods = Pods::open(dirs)?;
    let live = Liveness::of_this_boot()?;
    for uuid in &args.which.uuids()? {
        let pod = pods.find(uuid)?;
        stop(&pod, &live, args).with_context(|| format!("stopping pod {uuid}"))?;
        settled(dirs, pod)?;
        println!("{uuid}");
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(pod: &Pod, live: &Liveness, args: &Args) -> anyhow::Result<()> {
    let record = pod.record()?;
    let state = phase(pod, record.as_ref(), live);
    let (Phase::Running, Some(record)) = (state, record) else {
        bail!("it does not run, it is {state}");
    };
    let unit = record.unit.as_deref();
    if args.force && unit.is_none() {
        return kill(pod, live);
    }
    let manifest = pod.manifest()?;
    let handles = handles(pod, live)?;
    // systemd has to know that it is not to start the pod again.
    if let Some(unit) = unit {
        detach::stop(unit)?;
    }
    for (name, handle) in handles.iter().filter(|_| unit.is_none()) {
        let app = manifest.apps.iter().find(|app| &app.name == name);
        let signal = app.map_or(Signal::SIGTERM as i32, |app| app.stop_signal);
        handle
            .signal(signal)
            .with_context(|| format!("sending signal {signal} to app {name}"))?;
    }
    let timeout = if args.force {
        SignedDuration::ZERO
    } else {
        args.timeout
    };
    let deadline = Instant::now().checked_add(timeout.try_into().unwrap_or_default());
    for (_, handle) in &handles {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map_or(PollTimeout::NONE, |left| {
            left.try_into().unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, left).context("waiting for the pod to stop")?;
    }
    kill(pod, live)
}

/// Kills what is left of a pod's apps, and waits until it is gone.
pub fn kill(pod: &Pod, live: &Liveness) -> anyhow::Result<()> {
    for (name, handle) in handles(pod, live)? {
        handle
            .signal(Signal::SIGKILL as i32)
            .with_context(|| format!("killing app {name}"))?;
        let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).with_context(|| format!("waiting for app {name}"))?;
    }
    Ok(())
}

/// Waits until the rocket that runs a pod has seen it end, and returns the pod as it is then.
/// If there is no such rocket, the pod is ended here.
pub fn settled(dirs: &Dirs, pod: Pod) -> anyhow::Result<Pod> {
    let uuid = pod.uuid();
    pod.wait_until_free()?;
    let pods = Pods::open(dirs)?;
    let pod = pods.get(uuid)?;
    if pod.state() == State::Running {
        crate::pod::end(dirs, pod, None)?;
    }
    Ok(pods.get(uuid)?)
}

fn handles(pod: &Pod, live: &Liveness) -> anyhow::Result<Vec<(String, Handle)>> {
    let Some(record) = pod.record()? else {
        return Ok(Vec::new());
    };
    let mut handles = Vec::new();
    for app in record.apps.iter().filter(|app| live.has(&record, app)) {
        // Opened first and looked at again: the number cannot be another process's now.
        if let Some(handle) = Handle::open(app.pid)?
            && live.has(&record, app)
        {
            handles.push((app.name.clone(), handle));
        }
    }
    Ok(handles)
}
