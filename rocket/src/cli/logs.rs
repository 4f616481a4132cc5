//! `rocket logs`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::dirs::Dirs;
use crate::pod::Pods;

/// Shows what a detached or declared pod wrote: the journal's entries with its UUID, or of its
/// unit since it started.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pod's UUID, or its beginning, or the name of a declared pod
    uuid: String,
    /// Only what this container of a declared pod wrote
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Goes on as the pod writes
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "NUMBER")]
    lines: Option<u32>,
    /// As journalctl(1) writes it: short, cat, json and others
    #[arg(long, short, value_name = "FORMAT", default_value = "cat")]
    output: String,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pod = Pods::open(dirs)?.find(&args.uuid)?;
    let record = pod
        .record()?
        .with_context(|| format!("pod {} was not started", pod.uuid()))?;
    let Some(unit) = &record.unit else {
        bail!(
            "pod {} is not detached: what it wrote went to whoever ran it",
            pod.uuid()
        );
    };
    let mut command = Command::new("journalctl");
    command
        .arg("--quiet")
        .arg(format!("--output={}", args.output));
    if args.follow {
        command.arg("--follow");
    }
    if let Some(lines) = args.lines {
        command.arg(format!("--lines={lines}"));
    }
    // What systemd says of the unit has the pod's field too.
    command.arg("_TRANSPORT=stdout");
    match (pod.name()?, &args.app) {
        (Some(_), app) => {
            command.arg(format!("_SYSTEMD_UNIT={unit}"));
            command.arg(format!("--since=@{}", record.started.as_second()));
            command.args(app.as_ref().map(|app| format!("SYSLOG_IDENTIFIER={app}")));
        }
        (None, Some(_)) => bail!("--app is for declared pods; this one writes for all its apps"),
        (None, None) => {
            command.arg(format!("ROCKET_POD={}", pod.uuid()));
        }
    }
    Err(command.exec()).context("starting journalctl")
}
