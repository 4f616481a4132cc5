//! `rocket rm`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::dirs::Dirs;
use crate::pod::{Liveness, Phase, Pod, Pods, State, phase, release};

/// Removes pods that do not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UUIDs, or their beginnings
    #[arg(required_unless_present = "uuid_file")]
    uuids: Vec<String>,
    /// Reads a UUID from this file, as --uuid-file-save wrote it
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// Also pods that run: their processes are killed; and pods of which what is kept is damaged
    #[arg(long)]
    force: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pods = Pods::open(dirs)?;
    let mut wanted = args.uuids.clone();
    if let Some(path) = &args.uuid_file {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("reading {}", path.display()))?;
        wanted.push(text.trim().to_owned());
    }
    for uuid in &wanted {
        remove(dirs, pods.find(uuid)?, args.force)
            .with_context(|| format!("removing pod {uuid}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(dirs: &Dirs, mut pod: Pod, force: bool) -> anyhow::Result<()> {
    let live = Liveness::of_this_boot()?;
    let record = match pod.record() {
        Err(_) if force => None,
        record => record?,
    };
    match phase(&pod, record.as_ref(), &live) {
        Phase::Running | Phase::Starting if !force => {
            bail!("it runs; stop it first, or use --force");
        }
        Phase::Running => {
            super::stop::kill(&pod, &live)?;
            // The rocket that runs it sees it end, and lets go of it.
            pod = super::stop::settled(dirs, pod)?;
        }
        _ => {}
    }
    pod.lock()?;
    if pod.state() == State::Running {
        match release(dirs, &pod) {
            Err(error) if !force => return Err(error),
            _ => {}
        }
    }
    println!("{}", pod.uuid());
    pod.remove()?;
    Ok(())
}
