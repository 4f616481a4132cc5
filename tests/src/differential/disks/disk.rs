//! An image as a block device.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use image::host::capture;
use image::tools::Tools;

/// A loop device with the partitions of its image's table; gone when dropped.
///
/// The kernel is told of partitions by `partx`: those of build machines need not read GPTs
/// by themselves.
pub struct Disk {
    tools: Tools,
    node: PathBuf,
}

impl Disk {
    /// Attaches `image`, with logical blocks of `block_size` bytes.
    pub fn attach(tools: &Tools, image: &Path, block_size: u32) -> Result<Self> {
        let directory = image.parent().context("an image is in a directory")?;
        let tools = tools.clone().bind(directory);
        let mut losetup = tools.command("losetup");
        losetup
            .args(["--find", "--show", "--sector-size", &block_size.to_string()])
            .arg(image);
        let said = capture(&mut losetup).context("disks to compare need loop devices")?;
        let node = PathBuf::from(said.trim());
        ensure!(node.starts_with("/dev"), "losetup says {said:?}");
        let disk = Self { tools, node };
        // There is none yet, or none at all.
        disk.quietly("partx", &["--add"]);
        Ok(disk)
    }

    /// Its node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    fn quietly(&self, program: &str, arguments: &[&str]) {
        let mut command: Command = self.tools.command(program);
        // What it could not do shows later.
        let _ = command.args(arguments).arg(&self.node).output();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.quietly("partx", &["--delete"]);
        self.quietly("losetup", &["--detach"]);
    }
}
