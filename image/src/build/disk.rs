//! The disk image: partition table, selector, slot `a`.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use bootloader::uki::Uki;

use super::guest::Programs;
use super::usr::partition_uuids;
use super::{Job, SOURCE_DATE_EPOCH, source_dir};
use crate::tools::run_logged;

/// Identifies the disk and the partitions that have no identity of their own.
const SEED: &str = "5ac8941c-4fce-449a-b52b-62fde96152f1";

/// Writes `disk.img` after the definitions in `image/repart.d`.
pub fn make(job: &Job, programs: &Programs, hash: &str) -> Result<()> {
    let selector = job.out.join("selector.efi");
    fs::copy(&programs.selector, &selector)
        .with_context(|| format!("copying {}", programs.selector.display()))?;
    // FAT keeps the time of the file.
    fs::File::options()
        .write(true)
        .open(&selector)
        .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH + epoch()?))
        .with_context(|| format!("setting the time of {}", selector.display()))?;
    let definitions = job.scratch.join("repart.d");
    fs::create_dir_all(&definitions)?;
    let (usr, verity) = partition_uuids(hash);
    let boot = job.out.join("boot.efi");
    let kernel = fs::read(&boot).with_context(|| format!("reading {}", boot.display()))?;
    let kernel = Uki::parse(&kernel).with_context(|| format!("reading {}", boot.display()))?;
    let values = [
        ("@SELECTOR@", selector.display().to_string()),
        ("@BOOT@", boot.display().to_string()),
        ("@BOOT_UUID@", kernel.fingerprint().to_string()),
        ("@USR@", job.out.join("usr.img").display().to_string()),
        (
            "@USR_VERITY@",
            job.out.join("usr.verity").display().to_string(),
        ),
        ("@USR_UUID@", usr),
        ("@USR_VERITY_UUID@", verity),
    ];
    let source = source_dir().join("image/repart.d");
    for entry in fs::read_dir(&source).with_context(|| format!("reading {}", source.display()))? {
        let path = entry?.path();
        let mut text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        for (name, value) in &values {
            text = text.replace(name, value);
        }
        fs::write(definitions.join(path.file_name().unwrap_or_default()), text)?;
    }
    let mut repart = job.tools.command("systemd-repart");
    repart
        .args([
            "--empty=create",
            "--size=auto",
            "--dry-run=no",
            "--offline=yes",
        ])
        .args(["--sector-size=512", "--architecture=x86-64", "--no-pager"])
        .arg(format!("--seed={SEED}"))
        .arg(format!("--definitions={}", definitions.display()))
        .arg(job.out.join("disk.img"))
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        .env("TZ", "UTC");
    run_logged(&mut repart, "repart")
}

/// [`SOURCE_DATE_EPOCH`] as a duration.
fn epoch() -> std::io::Result<Duration> {
    let seconds = SOURCE_DATE_EPOCH.parse().map_err(std::io::Error::other)?;
    Ok(Duration::from_secs(seconds))
}
