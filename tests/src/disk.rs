//! Disks of machines that are off: read, written and damaged.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bootloader::block::FileDisk;
use bootloader::gpt::Partition;
use bootloader::{Gpt, SlotTable};
use image::host::capture;

/// Bytes in a block of every disk here.
const BLOCK: u64 = 512;

/// A raw disk file.
pub struct Disk(PathBuf);

impl Disk {
    /// A copy of `image`, as large as `gib`.
    ///
    /// Like a host's disk, it is larger than the image that was written to it:
    /// the backup of the partition table is not at its end yet.
    pub fn copy(image: &Path, to: PathBuf, gib: u64) -> Result<Self> {
        // Keeps the holes, which are most of an image.
        let mut cp = Command::new("cp");
        cp.args(["--sparse=always", "--reflink=auto", "--"])
            .args([image, &to]);
        image::host::capture(&mut cp)?;
        let disk = Self(to);
        disk.enlarge(gib)?;
        Ok(disk)
    }

    /// A disk that is there, or will be when a machine has started.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it `gib` large.
    pub fn enlarge(&self, gib: u64) -> Result<()> {
        let file = self.open()?;
        ensure!(
            file.metadata()?.len() <= gib << 30,
            "{} is larger than {gib} GiB",
            self.0.display()
        );
        file.set_len(gib << 30)
            .with_context(|| format!("enlarging {}", self.0.display()))
    }

    /// The partition table as it is.
    pub fn table(&self) -> Result<Gpt> {
        let mut disk = FileDisk::open_read_only(&self.0, BLOCK as u32)
            .with_context(|| format!("opening {}", self.0.display()))?;
        Gpt::read(&mut disk).with_context(|| format!("reading {}", self.0.display()))
    }

    /// Changes the partition table, both copies.
    pub fn edit_table(&self, change: impl FnOnce(&mut Gpt) -> Result<()>) -> Result<()> {
        let mut disk = FileDisk::open(&self.0, BLOCK as u32)
            .with_context(|| format!("opening {}", self.0.display()))?;
        let mut gpt = Gpt::read(&mut disk)?;
        gpt.repair(&mut disk)?;
        change(&mut gpt)?;
        gpt.commit(&mut disk)
            .with_context(|| format!("writing the table of {}", self.0.display()))
    }

    /// The state of the slots.
    pub fn slots(&self) -> Result<SlotTable> {
        Ok(SlotTable::from_gpt(&self.table()?)?)
    }

    /// Changes the state of the slots.
    pub fn edit_slots(&self, change: impl FnOnce(&mut SlotTable)) -> Result<()> {
        self.edit_table(|gpt| {
            let mut slots = SlotTable::from_gpt(gpt)?;
            change(&mut slots);
            Ok(slots.store(gpt)?)
        })
    }

    /// The partition with this label.
    pub fn partition(&self, label: &str) -> Result<Partition> {
        self.find(label)?
            .with_context(|| format!("{} has no partition {label}", self.0.display()))
    }

    /// The partition with this label, if there is one.
    pub fn find(&self, label: &str) -> Result<Option<Partition>> {
        Ok(self.table()?.partitions().find(|p| p.name == label))
    }

    /// Writes into the partition `label`, `offset` bytes from its start.
    pub fn write(&self, label: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let partition = self.partition(label)?;
        let room = partition.block_count() * BLOCK;
        ensure!(
            offset + bytes.len() as u64 <= room,
            "{label} has only {room} bytes"
        );
        self.write_at(partition.first_lba * BLOCK + offset, bytes)
    }

    /// Writes `offset` bytes from the start of the disk.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.open()?
            .write_all_at(bytes, offset)
            .with_context(|| format!("writing {}", self.0.display()))
    }

    /// Reads from the partition `label`, `offset` bytes from its start; also of a machine
    /// that is on, as far as it has written.
    pub fn read(&self, label: &str, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let at = self.partition(label)?.first_lba * BLOCK + offset;
        File::open(&self.0)
            .and_then(|file| file.read_exact_at(bytes, at))
            .with_context(|| format!("reading {label} of {}", self.0.display()))
    }

    /// Changes one bit of the byte at `offset` of the partition `label`.
    pub fn flip(&self, label: &str, offset: u64) -> Result<()> {
        let at = self.partition(label)?.first_lba * BLOCK + offset;
        let mut byte = [0];
        self.open()?.read_exact_at(&mut byte, at)?;
        self.write(label, offset, &[byte[0] ^ 1])
    }

    /// Writes a whole file to the start of the partition `label`.
    pub fn write_file(&self, label: &str, file: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        self.write(label, 0, &bytes)
    }

    /// Writes a file to the ESP, into a directory that is not there yet.
    pub fn write_to_esp(
        &self,
        context: &crate::context::Context,
        directory: &str,
        file: &Path,
    ) -> Result<()> {
        let esp = self.partition("esp")?.first_lba * BLOCK;
        let image = format!("{}@@{esp}", self.0.display());
        let mut mmd = context.tool("mmd");
        capture(mmd.args(["-i", &image]).arg(format!("::{directory}")))?;
        let mut mcopy = context.tool("mcopy");
        mcopy.args(["-i", &image]).arg(file);
        capture(mcopy.arg(format!("::{directory}"))).map(drop)
    }

    /// What `debugfs` says to `request` about the host's own file system, as the next boot
    /// would find it: what is in the journal counts.
    pub fn debugfs(&self, context: &crate::context::Context, request: &str) -> Result<String> {
        let root = self.partition("root")?;
        // A copy: e2fsck opens the file again after the journal, without an offset.
        let copy = self.0.with_extension("root");
        let length = root.block_count() * BLOCK;
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", self.0.display()))
            .arg(format!("of={}", copy.display()))
            .arg(format!("skip={}", root.first_lba * BLOCK))
            .arg(format!("count={length}"))
            .args(["bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse"]);
        capture(&mut dd)?;
        let mut replay = context.tool("e2fsck");
        let output = replay
            .args(["-y", "-E", "journal_only"])
            .arg(&copy)
            .output()?;
        // 1: something was corrected.
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "replaying the journal: {}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        );
        let mut debugfs = context.tool("debugfs");
        // It ends with 0 whatever it finds; what is wrong is in its words.
        let output = debugfs.args(["-R", request]).arg(&copy).output()?;
        fs::remove_file(&copy).context("removing a copy of root")?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn open(&self) -> Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(&self.0);
        file.with_context(|| format!("opening {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootloader::gpt::{Geometry, Guid};

    #[test]
    fn partitions_are_written_within_their_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let mut file = FileDisk::open(&image, 512).unwrap();
        let geometry = Geometry {
            block_size: 512,
            block_count: 2048,
        };
        let mut gpt = Gpt::new(geometry, Guid::from_bytes([1; 16]), 128).unwrap();
        let first_lba = gpt.usable().0;
        gpt.set_partition(&Partition {
            number: 1,
            type_guid: Guid::from_bytes([2; 16]),
            guid: Guid::from_bytes([3; 16]),
            first_lba,
            last_lba: first_lba + 1,
            attributes: 0,
            name: "x".into(),
        })
        .unwrap();
        gpt.format(&mut file).unwrap();
        let disk = Disk::copy(&image, dir.path().join("disk"), 1).unwrap();
        disk.write("x", 1000, b"hello").unwrap();
        disk.flip("x", 1000).unwrap();
        let bytes = fs::read(disk.path()).unwrap();
        let at = first_lba as usize * 512 + 1000;
        assert_eq!(&bytes[at..at + 5], b"iello");
        assert!(disk.write("x", 1020, b"hello").is_err());
        assert!(disk.write("y", 0, b"").is_err());
        disk.edit_table(|gpt| Ok(gpt.set_name(1, "y")?)).unwrap();
        assert!(disk.table().unwrap().health().is_good());
        assert_eq!(disk.partition("y").unwrap().first_lba, first_lba);
    }
}
