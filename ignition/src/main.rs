//! The program that the initrd runs; see the library for how it works.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use ignition::cli::{Args, normalise};
use ignition::stage::{self, StageError};
use ignition::{failure, log};

/// Exit status: 0 done, 1 failed, 2 wrong usage.
fn main() -> ExitCode {
    #[cfg(feature = "tools")]
    if let Some(code) = ignition::tools::run(std::env::args_os()) {
        return code;
    }
    let args = Args::parse_from(normalise(std::env::args_os()));
    if args.version {
        println!("Ignition {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if args.log_to_stdout {
        log::to_stdout();
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{error:#}");
            log::write(log::Level::Error, &message);
            let stage = error.downcast_ref::<StageError>();
            failure::announce(&message, stage.is_some_and(StageError::is_final));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let Some(stage) = args.stage else {
        anyhow::bail!("no stage: give --stage");
    };
    if args.clear_cache && args.config_cache.exists() {
        std::fs::remove_file(&args.config_cache)
            .with_context(|| format!("removing {}", args.config_cache.display()))?;
    }
    stage::run(stage, &args.settings()?)?;
    Ok(())
}
