//! `rocket run` and `rocket run-prepared`.

use std::process::ExitCode;

use anyhow::bail;
use uuid::Uuid;

use super::prepare;
use super::which::Which;
use crate::detach;
use crate::dirs::Dirs;
use crate::options::{PodArguments, Restart};
use crate::pod::{self, Pods, State, Wait};

/// Makes a pod of images and runs it.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rocket run [OPTIONS] IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]")]
pub struct Args {
    #[command(flatten)]
    pod: PodArguments,
    /// Runs in a unit of its own, and prints the pod's UUID
    #[arg(long)]
    detach: bool,
    /// When a detached pod is started again
    #[arg(long, value_enum, default_value_t = Restart::No, requires = "detach")]
    restart: Restart,
}

/// Runs a pod that was prepared.
#[derive(Debug, clap::Args)]
pub struct PreparedArgs {
    #[command(flatten)]
    which: Which,
    /// Leaves the pod to the unit that this runs in, when it is started
    #[arg(long, hide = true)]
    leave: bool,
    /// Also a pod that has run: its apps start again with the files they left
    #[arg(long)]
    again: bool,
}

impl Args {
    /// What follows the pod's options.
    #[cfg(test)]
    pub fn pod_words(&self) -> &[String] {
        &self.pod.words
    }
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let mut pod = prepare::prepare(dirs, &args.pod)?;
    if args.detach {
        pod.advance(State::Prepared)?;
        let manifest = pod.manifest()?;
        drop(pod);
        if let Err(error) = detach::start(dirs.root(), &manifest, args.restart) {
            forget(dirs, manifest.uuid);
            return Err(error);
        }
        println!("{}", manifest.uuid);
        return Ok(ExitCode::SUCCESS);
    }
    let status = pod::run(dirs, &mut pod, Wait::ForApps)?;
    Ok(ExitCode::from(status))
}

/// Removes a pod that no unit has started: the failure is what the caller has to know.
fn forget(dirs: &Dirs, uuid: Uuid) {
    let found = Pods::open(dirs).and_then(|pods| pods.get(uuid));
    if let Ok(mut pod) = found
        && pod.state() == State::Prepared
        && pod.lock().is_ok()
    {
        let _ = pod.remove();
    }
}

pub fn run_prepared(dirs: &Dirs, args: &PreparedArgs) -> anyhow::Result<ExitCode> {
    let mut pod = args.which.only(&Pods::open(dirs)?)?;
    pod.lock()?;
    if pod.state() == State::Preparing {
        bail!(
            "pod {} was given up before it was prepared; `rocket gc` removes it",
            pod.uuid()
        );
    }
    if args.again {
        pod::again(dirs, &mut pod)?;
    }
    let wait = if args.leave {
        Wait::Never
    } else {
        Wait::ForApps
    };
    Ok(ExitCode::from(pod::run(dirs, &mut pod, wait)?))
}

/// What a unit calls when its pod has ended.
#[derive(Debug, clap::Args)]
pub struct FinishArgs {
    /// The pod's UUID
    uuid: String,
}

/// systemd says how the main process ended: systemd.exec(5), `$EXIT_CODE`.
pub fn finish(dirs: &Dirs, args: &FinishArgs) -> anyhow::Result<ExitCode> {
    let code = std::env::var("EXIT_CODE").unwrap_or_default();
    let status = std::env::var("EXIT_STATUS").unwrap_or_default();
    let status = match code.as_str() {
        "exited" => status.parse().ok(),
        "killed" | "dumped" => status_of_signal(&status),
        _ => None,
    };
    let pods = Pods::open(dirs)?;
    let pod = pods.find(&args.uuid)?;
    pod.wait_until_free()?;
    let pod = pods.get(pod.uuid())?;
    if pod.state() == State::Running {
        pod::end(dirs, pod, status)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `TERM` is 143.
fn status_of_signal(name: &str) -> Option<u8> {
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    u8::try_from(128 + signal as i32).ok()
}
