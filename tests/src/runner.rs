//! Runs steps and scenarios.

use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use qemu::deadline::scaled;

use crate::context::Context;
use crate::report::{End, Outcome, Report, show_console};
use crate::results::Results;
use crate::scenario::Scenario;
use crate::trial::Prepared;

/// Runs all tests that need no virtual machine, with their output as it comes.
pub fn unit() -> Outcome {
    println!("e2e: cargo test --workspace");
    step(|| {
        image::host::ensure_programs()?;
        if !image::host::is_root() {
            println!("e2e: without rocket's unit tests that need root");
        }
        succeed(&mut cargo_test())
    })
}

/// `cargo test` of the workspace, with the same features for every step: with others, or with
/// one crate alone, what tests share would be compiled again.
pub fn cargo_test() -> Command {
    let features = match image::host::is_root() {
        true => "ignition/tools,rocket/privileged",
        false => "ignition/tools",
    };
    let mut cargo = image::host::cargo();
    cargo.args(["test", "--workspace", "--features", features, "--quiet"]);
    cargo.current_dir(image::build::source_dir());
    cargo
}

/// Runs tests, with their output as it comes.
pub fn succeed(cargo: &mut Command) -> Result<()> {
    let status = cargo
        .stdin(Stdio::null())
        .status()
        .context("starting cargo test")?;
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

/// Runs one step.
pub fn step<T: Into<End>>(run: impl FnOnce() -> T) -> Outcome {
    let start = Instant::now();
    let result = run();
    Outcome {
        end: result.into(),
        took: start.elapsed(),
    }
}

/// Runs scenarios on `workers` threads, in order of their start.
pub fn scenarios(
    scenarios: &[Scenario],
    prepared: &Prepared,
    results: &Results,
    workers: usize,
    report: &mut Report,
) {
    let queue = Mutex::new(scenarios.iter());
    let report = Mutex::new(report);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(scenario) = next else { return };
                    println!("e2e: start  {}", scenario.name);
                    let outcome = run(scenario, prepared, results);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    let failed = matches!(outcome.end, End::Failed(_));
                    report.add(scenario.name, outcome);
                    if failed {
                        show_console(&results.of(scenario.name).join("console.log"));
                    }
                }
            });
        }
    });
}

fn run(scenario: &Scenario, prepared: &Prepared, results: &Results) -> Outcome {
    let start = Instant::now();
    let result = within_deadline(scenario, prepared, results);
    Outcome {
        end: result.into(),
        took: start.elapsed(),
    }
}

/// A scenario that overruns is left alone: its machines end with this process.
fn within_deadline(scenario: &Scenario, prepared: &Prepared, results: &Results) -> Result<()> {
    let context = Context::new(prepared, &results.of(scenario.name), &results.work())?;
    let (done, outcome) = channel();
    let run = scenario.run;
    thread::Builder::new()
        .name(scenario.name.to_string())
        .spawn(move || {
            let _ = done.send(run(&context));
        })?;
    let limit = scaled(scenario.deadline);
    match outcome.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(anyhow!("not done after {} s", limit.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err(anyhow!("the scenario panicked")),
    }
}
