//! `rocket rm`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::which::Which;
use crate::dirs::Dirs;
use crate::pod::{Liveness, Phase, Pod, Pods, phase, settle};

/// Removes pods that do not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Also pods that run: their processes are killed; pods of which what is kept is damaged;
    /// and pods whose network a plugin does not take back, which `rocket gc` tries again
    #[arg(long)]
    force: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pods = Pods::open(dirs)?;
    for uuid in &args.which.uuids()? {
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
    match settle(dirs, &pod) {
        Err(error) if !force => return Err(error),
        Err(error) => eprintln!("rocket: pod {}: {error:#}", pod.uuid()),
        Ok(()) => {}
    }
    println!("{}", pod.uuid());
    pod.remove()?;
    Ok(())
}
