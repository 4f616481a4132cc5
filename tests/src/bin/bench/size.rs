//! Sizes of what a release is made of.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use image::tools::Tools;
use object::{Object, ObjectSection};

use crate::baseline::Baseline;
use crate::measure::Sizes;

/// How the disk image is compressed before its size is taken.
pub const COMPRESSION: [&str; 3] = ["-12", "--long", "-T2"];

/// Measures our release in `release` and the baseline's kernel image.
pub fn measure(tools: &Tools, release: &Path, baseline: &Baseline) -> Result<Sizes> {
    let ours = release.join("boot.efi");
    Ok(Sizes {
        disk_compressed: compressed(tools, &release.join("disk.img"))?,
        uki: [bytes(&ours)?, bytes(&baseline.uki)?],
        initrd: [initrd(&ours)?, initrd(&baseline.uki)?],
        usr: bytes(&release.join("usr.img"))?,
    })
}

fn bytes(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(meta.len())
}

/// Size of a UKI's `.initrd` section (UAPI.5 Unified Kernel Image).
fn initrd(uki: &Path) -> Result<u64> {
    let reading = || format!("reading {}", uki.display());
    let content = fs::read(uki).with_context(reading)?;
    let file = object::File::parse(content.as_slice()).with_context(reading)?;
    let section = file
        .section_by_name(".initrd")
        .with_context(|| format!("{} has no section .initrd", uki.display()))?;
    Ok(section.size())
}

fn compressed(tools: &Tools, path: &Path) -> Result<u64> {
    let mut child = tools
        .command("zstd")
        .args(COMPRESSION)
        .args(["--quiet", "--stdout"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting zstd")?;
    let mut stdout = child.stdout.take().context("zstd has no output")?;
    let size = io::copy(&mut stdout, &mut io::sink()).context("reading from zstd")?;
    let status = child.wait().context("waiting for zstd")?;
    ensure!(
        status.success(),
        "zstd of {} failed ({status})",
        path.display()
    );
    Ok(size)
}
