//! What a root directory is on: memory, or a file system of its own on the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use image::host::capture;
use image::tools::{Tools, run_logged};

/// Bytes of the disk; most of them are never written.
const SIZE: u64 = 1 << 30;

/// A mounted file system, for one root directory at a time; unmounted when dropped.
///
/// It is no other's: flushing it waits for nobody else's writes.
pub struct Medium {
    point: PathBuf,
}

impl Medium {
    /// In memory: what is left is the programs' own time.
    pub fn memory(scratch: &Path) -> Result<Self> {
        Self::mount(
            scratch.join("memory"),
            &["-t", "tmpfs", "-o", "mode=0755", "tmpfs"],
        )
    }

    /// A new ext4 on a loop device, in a file of this machine's disk.
    pub fn disk(scratch: &Path, tools: &Tools) -> Result<Self> {
        let image = scratch.join("disk.img");
        let file =
            fs::File::create(&image).with_context(|| format!("creating {}", image.display()))?;
        file.set_len(SIZE)
            .with_context(|| format!("growing {}", image.display()))?;
        // All is laid out now: else the kernel does so in the background, while it is measured.
        let mut mkfs = tools.command("mkfs.ext4");
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image);
        run_logged(&mut mkfs, "bench-mkfs")?;
        let image = image.display().to_string();
        Self::mount(scratch.join("disk"), &["-t", "ext4", "-o", "loop", &image])
    }

    fn mount(point: PathBuf, arguments: &[&str]) -> Result<Self> {
        fs::create_dir_all(&point).with_context(|| format!("creating {}", point.display()))?;
        capture(Command::new("mount").args(arguments).arg(&point))
            .with_context(|| format!("mounting a file system at {}", point.display()))?;
        Ok(Self { point })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Returns when nothing waits to be written.
    pub fn settle(&self) -> Result<()> {
        capture(Command::new("sync").arg("--file-system").arg(&self.point)).map(drop)
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        unmount(&self.point);
    }
}

/// Unmounts what a run that was killed left in `scratch`.
pub fn clean_up(scratch: &Path) {
    for name in ["memory", "disk"] {
        unmount(&scratch.join(name));
    }
}

/// Says nothing if nothing is mounted there; what is in use goes with its last user.
fn unmount(point: &Path) {
    let _ = Command::new("umount")
        .args(["--lazy", "--quiet"])
        .arg(point)
        .stderr(std::process::Stdio::null())
        .status();
}
