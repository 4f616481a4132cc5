//! `rocket run` and `rocket run-prepared`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::prepare;
use crate::detach;
use crate::dirs::Dirs;
use crate::options::{PodOptions, Restart};
use crate::pod::{self, Pods, State, Wait};

/// Makes a pod of images and runs it.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rocket run [OPTIONS] IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]")]
pub struct Args {
    #[command(flatten)]
    pod: PodOptions,
    /// Runs in a unit of its own, and prints the pod's UUID
    #[arg(long)]
    detach: bool,
    /// When a detached pod is started again
    #[arg(long, value_enum, default_value_t = Restart::No, requires = "detach")]
    restart: Restart,
    /// Images, each with its options and arguments: `rocket run IMAGE --help` lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "IMAGE …"
    )]
    words: Vec<String>,
}

/// Runs a pod that was prepared.
#[derive(Debug, clap::Args)]
pub struct PreparedArgs {
    /// The pod's UUID, or its beginning
    #[arg(required_unless_present = "uuid_file")]
    uuid: Option<String>,
    /// Reads the UUID from this file, as --uuid-file-save wrote it
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
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
        &self.words
    }
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let mut pod = prepare::prepare(dirs, &args.pod, &args.words)?;
    if args.detach {
        pod.advance(State::Prepared)?;
        let manifest = pod.manifest()?;
        drop(pod);
        detach::start(dirs.root(), &manifest, args.restart)?;
        println!("{}", manifest.uuid);
        return Ok(ExitCode::SUCCESS);
    }
    let status = pod::run(dirs, &mut pod, Wait::ForApps)?;
    Ok(ExitCode::from(status))
}

pub fn run_prepared(dirs: &Dirs, args: &PreparedArgs) -> anyhow::Result<ExitCode> {
    let uuid = match (&args.uuid, &args.uuid_file) {
        (Some(uuid), _) => uuid.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("reading {}", path.display()))?
            .trim()
            .to_owned(),
        (None, None) => bail!("no pod given"),
    };
    let mut pod = Pods::open(dirs)?.find(&uuid)?;
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
