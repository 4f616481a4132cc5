//! The program that the initrd runs; see the library for how it works.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use ignition::cli::{Args, normalise};
use ignition::report::{self, Outcome, Watch};
use ignition::{cluster, failure, log, stage};

/// Exit status: 0 done, 1 failed, 2 wrong usage.
fn main() -> ExitCode {
    if let Some(code) = report::show(std::env::args_os()) {
        return code;
    }
    if let Some(code) = cluster::run(std::env::args_os()) {
        return code;
    }
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
    run(args).unwrap_or_else(|error| {
        let message = format!("{error:#}");
        log::write(log::Level::Error, &message);
        failure::announce(&message, false);
        ExitCode::FAILURE
    })
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(stage) = args.stage else {
        anyhow::bail!("no stage: give --stage");
    };
    if args.clear_cache && args.config_cache.exists() {
        std::fs::remove_file(&args.config_cache)
            .with_context(|| format!("removing {}", args.config_cache.display()))?;
    }
    let settings = args.settings()?;
    let watch = Watch::start(stage);
    let Err(error) = stage::run(stage, &settings) else {
        report::record(&settings, watch, Outcome::Done);
        return Ok(ExitCode::SUCCESS);
    };
    let is_final = error.is_final();
    let message = format!("{:#}", anyhow::Error::from(error));
    log::write(log::Level::Error, &message);
    failure::announce(&message, is_final);
    if let Some(attempt) = report::record(&settings, watch, Outcome::Failed) {
        report::tell(&settings, &attempt, &message, is_final);
    }
    Ok(ExitCode::FAILURE)
}
