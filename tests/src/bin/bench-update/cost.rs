//! What fetching a release takes.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use image::tools::Tools;
use nix::sys::resource::Usage;
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

/// The most memory of this process that was resident, MiB. Not from `getrusage`, which
/// counts what was there before `execve(2)`, too: the memory of who started this.
pub fn peak_mib() -> Result<f64> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.with_context(|| format!("{path} has no VmHWM"))?;
    let kib: f64 = number.parse().context("reading VmHWM")?;
    Ok(kib / 1024.0)
}

/// A program of the tools that tells its CPU time at its end, for [`timed`]. Inside,
/// because what ran there is nobody's child here.
pub fn clocked(tools: &Tools, program: &str) -> Command {
    let mut command = tools.command("bash");
    let script = "LC_ALL=C TIMEFORMAT='%3U %3S'; time \"$@\"";
    command.args(["-c", script, "bash", program]);
    command
}

/// Runs what [`clocked`] made to its end; its CPU time and wall time in seconds.
pub fn timed(command: &mut Command) -> Result<(f64, f64)> {
    let began = Instant::now();
    let output = command.output().context("running a program of the tools")?;
    let wall = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {said}",
        output.status
    );
    let cpu = cpu_told(said).with_context(|| format!("no CPU time in {said:?}"))?;
    Ok((cpu, wall))
}

/// The sum of the two numbers in the last line.
fn cpu_told(said: &str) -> Option<f64> {
    let (user, system) = said.lines().last()?.split_once(' ')?;
    Some(user.parse::<f64>().ok()? + system.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_sum_of_user_and_system_time() {
        let said = "236+1 records out\n247 MB copied\n0.010 0.250";
        assert!((cpu_told(said).expect("times") - 0.26).abs() < 1e-9);
        for wrong in ["", "0.010", "236+1 records out"] {
            assert_eq!(cpu_told(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_peak_grows_with_what_is_touched() {
        let before = peak_mib().expect("peak");
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = peak_mib().expect("peak");
        assert!(after >= before.max(64.0), "{before} to {after}");
        drop(touched);
    }
}
