//! The disk that the host was started from.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use bootloader::block::{BlockError, BlockIo, FileDisk, Operation, transfer};
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use super::Disk;

/// Alignment in memory that every block device takes for direct reads.
const ALIGN: usize = 4096;

/// Bytes of one direct read.
const DIRECT: usize = 1 << 20;

/// How often, and in which steps, a lock that someone else holds is waited for. udev
/// holds one for a moment after every change of the disk.
const LOCK_TRIES: u32 = 50;
const LOCK_STEP: Duration = Duration::from_millis(100);

/// A whole disk behind its device node, or an image of one in a file.
///
/// As long as it is open, the disk is locked against programs that follow systemd's
/// block device locking: udev does not look at partitions that are half written.
#[derive(Debug)]
pub struct HostDisk {
    cached: FileDisk,
    /// Carries the lock; for a device, reads past the page cache.
    direct: File,
    /// Where direct reads go, with room to align them.
    buffer: Vec<u8>,
}

impl HostDisk {
    /// Opens and locks the disk at `path`. Waits at most 5 s for the lock.
    pub fn open(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let is_device = metadata.file_type().is_block_device();
        let mut options = OpenOptions::new();
        options.read(true);
        if is_device {
            options.custom_flags(OFlag::O_DIRECT.bits());
        }
        let direct = options.open(path)?;
        lock(&direct)?;
        let block_size = if is_device {
            sector_size(metadata.rdev())?
        } else {
            512
        };
        Ok(Self {
            cached: FileDisk::open(path, block_size)?,
            direct,
            buffer: vec![0; DIRECT + ALIGN],
        })
    }
}

fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
            Err(fs::TryLockError::Error(why)) => return Err(why),
        }
    }
    let why = "another program keeps the disk locked (lslocks shows which one)";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
}

/// Logical sector size of a block device, from sysfs.
fn sector_size(device: u64) -> io::Result<u32> {
    let (major, minor) = (major(device), minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/queue/logical_block_size");
    let said = |why: String| io::Error::other(format!("reading {path}: {why}"));
    let text = fs::read_to_string(&path).map_err(|why| said(why.to_string()))?;
    text.trim()
        .parse()
        .map_err(|why: std::num::ParseIntError| said(why.to_string()))
}

impl BlockIo for HostDisk {
    fn block_size(&self) -> u32 {
        self.cached.block_size()
    }

    fn block_count(&self) -> u64 {
        self.cached.block_count()
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.cached.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        self.cached.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.cached.flush()
    }
}

impl Disk for HostDisk {
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let (size, count) = (self.block_size(), self.block_count());
        let range = transfer(Operation::Read, lba, buffer.len(), size, count)?;
        let start = self.buffer.as_ptr().align_offset(ALIGN).min(ALIGN);
        let mut at = range.start;
        for part in buffer.chunks_mut(DIRECT) {
            let aligned = &mut self.buffer[start..start + part.len()];
            self.direct
                .read_exact_at(aligned, at)
                .map_err(|cause| BlockError::new(Operation::Read, lba, part.len(), cause))?;
            part.copy_from_slice(aligned);
            at += part.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_reads_back_what_was_written_and_keeps_others_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let mut disk = HostDisk::open(file.path()).unwrap();
        let data: Vec<u8> = (0..2_u32 << 20).map(|i| (i / 512) as u8).collect();
        disk.write(1024, &data).unwrap();
        disk.flush().unwrap();
        let mut found = vec![0; data.len()];
        disk.reread(1024, &mut found).unwrap();
        assert!(found == data);
        assert!(disk.reread(4096, &mut found).is_err(), "past the end");

        let other = File::open(file.path()).unwrap();
        assert!(matches!(
            other.try_lock(),
            Err(fs::TryLockError::WouldBlock)
        ));
        drop(disk);
        other.try_lock().unwrap();
    }
}
