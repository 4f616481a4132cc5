//! The unified kernel image: kernel, initrd, command line, os-release.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Job, SOURCE_DATE_EPOCH, stage};
use crate::tools::run_logged;

/// Words of the command line that every release has, before `usrhash=`.
pub fn command_line() -> Result<Vec<String>> {
    let path = super::source_dir().join("image/cmdline");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let words = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace);
    Ok(words.map(String::from).collect())
}

/// Writes `boot.efi`.
pub(super) fn make(job: &Job, stage: &Path, initrd: &Path, hash: &str) -> Result<()> {
    let mut words = command_line()?;
    words.push(format!("usrhash={hash}"));
    words.extend_from_slice(&job.cmdline);
    let cmdline = words.join(" ");
    let mut ukify = job.tools.command("ukify");
    ukify
        .arg("build")
        .arg(format!("--linux={}", job.scratch.join("vmlinuz").display()))
        .arg(format!("--initrd={}", initrd.display()))
        .arg(format!("--cmdline={cmdline}"))
        .arg(format!("--uname={}", stage::kernel_version(stage)?))
        .arg(format!(
            "--os-release=@{}",
            stage.join("usr/lib/os-release").display()
        ))
        .arg(format!("--output={}", job.out.join("boot.efi").display()))
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
    run_logged(&mut ukify, "ukify")
}
