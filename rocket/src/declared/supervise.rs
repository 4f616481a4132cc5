//! Runs a declared pod: this process is the parent of all its containers as long as it lives.
//!
//! It has one thread, since containers can only be made by such a process: whatever takes time
//! (programs, connections of probes, waits) is polled for in one place.

mod attempt;
mod backoff;
mod home;
mod journal;
mod make;
mod member;
mod output;
mod pod;
mod tracker;
mod volumes;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::state::{self, PodState, Standing};
use super::{CONTAINER_FAILED, Declared, Set, WRONG, unit};
use crate::dirs::Dirs;
use crate::image::{Image, Store};
use crate::notify;
use crate::pod::{self as pods, Ended, Exit, Liveness, Phase, Pod, Pods, State};
pub use home::GROUP;
use home::Home;
use pod::Supervisor;

/// Runs the declared pod `name` until it has ended, or a signal asks it to. Returns the exit
/// status: 0, [`CONTAINER_FAILED`] or [`WRONG`].
///
/// # Errors
/// The pod could not be made; it may be another time.
pub fn run(dirs: &Dirs, name: &str) -> anyhow::Result<u8> {
    let set = Set::load(dirs)?;
    let Some(declared) = set.pod(name) else {
        return Ok(tell_wrong(&set, name));
    };
    let mut state = PodState {
        name: name.to_owned(),
        hash: declared.hash.clone(),
        file: declared.file.clone(),
        uuid: None,
        standing: Standing::Starting,
        status: "fetching images".into(),
        containers: Vec::new(),
    };
    state::write(dirs, &state)?;
    tell(&state.status);
    let ended = supervise(dirs, declared, &mut state);
    let (standing, status) = match &ended {
        Ok(0) => (Standing::Ended, "ended".to_owned()),
        Ok(_) => (
            Standing::Failed,
            "a container failed and is not started again".into(),
        ),
        Err(error) => (Standing::Failed, format!("{error:#}")),
    };
    (state.standing, state.status) = (standing, status);
    state::write(dirs, &state)?;
    tell(&state.status);
    match ended {
        Err(error) if error.is::<make::Never>() => {
            eprintln!("rocket: {error:#}");
            Ok(WRONG)
        }
        ended => ended,
    }
}

/// What is wrong with a pod that cannot run.
fn tell_wrong(set: &Set, name: &str) -> u8 {
    let text = match set.broken(name) {
        Some(broken) => {
            for problem in &broken.problems {
                eprintln!("{problem}");
            }
            let first = broken.problems.first().map(ToString::to_string);
            first.unwrap_or_default()
        }
        None => {
            let text = format!("no file declares a pod {name:?}; see `rocket pods status`");
            eprintln!("rocket: {text}");
            text
        }
    };
    tell(&text);
    WRONG
}

/// A line for `systemctl status`.
fn tell(status: &str) {
    let line = status.lines().next().unwrap_or_default();
    // A service manager that is gone has nobody to show it to.
    let _ = notify::send(&format!("STATUS={line}"));
}

fn supervise(dirs: &Dirs, declared: &Declared, state: &mut PodState) -> anyhow::Result<u8> {
    clear(dirs, &state.name)?;
    let store = Store::open(dirs)?;
    let images = make::images(dirs, &store, &declared.pod)?;
    let (mut pod, manifest) = make::pod(dirs, &store, &declared.pod, &images)?;
    state.uuid = Some(pod.uuid());
    // From here on a signal is a wish: before, it just ends this process.
    let signals = signals()?;
    match live(dirs, declared, &pod, &images, signals, state) {
        Ok((status, ended)) => {
            finish(dirs, &mut pod, ended)?;
            Ok(status)
        }
        Err(error) => {
            pods::give_up(dirs, &mut pod, &manifest);
            Err(error)
        }
    }
}

/// What asks a pod to stop, held back from now on.
fn signals() -> anyhow::Result<SignalFd> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect();
    set.thread_block().context("blocking signals")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).context("watching signals")
}

/// Ends what an earlier supervisor of this pod left when it was killed: its address and its
/// ports are needed now.
fn clear(dirs: &Dirs, name: &str) -> anyhow::Result<()> {
    let live = Liveness::of_this_boot()?;
    for pod in Pods::open(dirs)?.in_state(State::Running)? {
        if pod.name()?.as_deref() != Some(name) {
            continue;
        }
        match pods::phase(&pod, pod.record()?.as_ref(), &live) {
            Phase::Aborted => pods::end(dirs, pod, None)?,
            phase => bail!(
                "pod {} is {phase} under this name already; stop {} first",
                pod.uuid(),
                unit(name)
            ),
        }
    }
    Ok(())
}

/// The pod from its volumes to its last container. Returns the exit status and how its
/// containers ended.
fn live(
    dirs: &Dirs,
    declared: &Declared,
    pod: &Pod,
    images: &[Image],
    signals: SignalFd,
    state: &mut PodState,
) -> anyhow::Result<(u8, Vec<Ended>)> {
    volumes::make(&declared.pod, &make::below(pod))?;
    let home = Home::make(dirs, &declared.pod, pod, images)?;
    Supervisor::new(&home, dirs, signals, state).run()
}

fn finish(dirs: &Dirs, pod: &mut Pod, apps: Vec<Ended>) -> anyhow::Result<()> {
    pod.write_exit(&Exit {
        finished: Timestamp::now(),
        apps,
    })?;
    let released = pods::release(dirs, pod);
    pod.advance(State::Exited)?;
    // What its containers did counts; the rest is for `rocket gc`.
    if let Err(error) = released {
        eprintln!("rocket: pod {}: {error:#}", pod.uuid());
    }
    Ok(())
}
