//! `rocket gc`.

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};

use crate::dirs::Dirs;
use crate::pod::{Keep, Pods, collect};

/// Removes pods that ended a while ago, pods that were prepared and not run, what was given up
/// while it was made, and addresses of pods that are gone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long pods that ended are kept, for instance 30m or 24h
    #[arg(long, value_name = "TIME", default_value = "30m")]
    grace_period: SignedDuration,
    /// How long pods that were prepared and not run are kept
    #[arg(long, value_name = "TIME", default_value = "24h")]
    expire_prepared: SignedDuration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pods = Pods::open(dirs)?;
    let keep = Keep {
        exited: args.grace_period,
        prepared: args.expire_prepared,
    };
    let done = collect(dirs, &pods, keep, Timestamp::now())?;
    if args.json {
        super::print_json(&done)?;
    } else {
        for uuid in &done.marked {
            println!("{uuid} ended");
        }
        for uuid in &done.removed {
            println!("{uuid} removed");
        }
    }
    for (uuid, error) in &done.failed {
        eprintln!("rocket: pod {uuid}: {error}");
    }
    Ok(if done.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::FAILED)
    })
}
