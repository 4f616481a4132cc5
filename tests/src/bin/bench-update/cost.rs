//! What fetching a release takes.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::Serialize;

/// What it takes. What was not measured is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Bytes of all answers' bodies.
    pub bytes: u64,
    pub requests: Option<u64>,
    /// CPU time of the client, seconds.
    pub cpu: Option<f64>,
    /// Seconds.
    pub wall: Option<f64>,
    /// The most memory that was resident.
    pub memory_mib: Option<f64>,
}

/// Seconds of CPU time, of the program and of the kernel for it.
pub fn cpu_of(usage: &Usage) -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Runs a command to its end; its CPU time and wall time in seconds.
pub fn timed(command: &mut Command) -> Result<(f64, f64)> {
    let program = command.get_program().display().to_string();
    let children = || getrusage(UsageWho::RUSAGE_CHILDREN).context("reading usage");
    let before = cpu_of(&children()?);
    let began = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("running {program}"))?;
    let wall = began.elapsed().as_secs_f64();
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok((cpu_of(&children()?) - before, wall))
}
