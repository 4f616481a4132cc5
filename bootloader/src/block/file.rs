//! A disk in a file or behind a block device node.

use super::{BlockError, BlockIo, Operation, transfer};
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

/// A disk image file, or a block device node.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    block_size: u32,
    block_count: u64,
}

impl FileDisk {
    /// Opens `path` for reading and writing as a disk of `block_size`-byte blocks.
    ///
    /// A last incomplete block is not part of the disk. For a block device,
    /// `block_size` must be its logical sector size.
    pub fn open(path: &Path, block_size: u32) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Self::new(file, block_size)
    }

    /// Opens `path` for reading only; every write fails.
    pub fn open_read_only(path: &Path, block_size: u32) -> io::Result<Self> {
        Self::new(File::open(path)?, block_size)
    }

    fn new(mut file: File, block_size: u32) -> io::Result<Self> {
        if block_size == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a block size of 0 bytes",
            ));
        }
        // Metadata has no length for block devices; the end of the file has.
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            block_size,
            block_count: length / u64::from(block_size),
        })
    }

    fn offset(&self, op: Operation, lba: u64, bytes: usize) -> Result<u64, BlockError> {
        let range = transfer(op, lba, bytes, self.block_size, self.block_count)?;
        Ok(range.start)
    }
}

impl BlockIo for FileDisk {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.block_count
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let offset = self.offset(Operation::Read, lba, buffer.len())?;
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|cause| BlockError::new(Operation::Read, lba, buffer.len(), cause))
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let offset = self.offset(Operation::Write, lba, data.len())?;
        self.file
            .write_all_at(data, offset)
            .map_err(|cause| BlockError::new(Operation::Write, lba, data.len(), cause))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.file
            .sync_data()
            .map_err(|cause| BlockError::new(Operation::Flush, 0, 0, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{Geometry, Gpt, Guid, Partition};

    #[test]
    fn a_file_is_a_disk_of_its_whole_blocks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4 * 512 + 100).unwrap();
        let mut disk = FileDisk::open(file.path(), 512).unwrap();
        assert_eq!(disk.block_count(), 4);
        disk.write(3, &[9; 512]).unwrap();
        disk.flush().unwrap();
        assert!(disk.write(4, &[9; 512]).is_err());
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(&bytes[3 * 512..4 * 512], &[9; 512]);

        let mut read_only = FileDisk::open_read_only(file.path(), 512).unwrap();
        let mut block = [0; 512];
        read_only.read(3, &mut block).unwrap();
        assert_eq!(block, [9; 512]);
        assert!(read_only.write(0, &block).is_err());
    }

    #[test]
    fn a_table_in_a_file_is_changed_in_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(200 * 512).unwrap();
        let mut disk = FileDisk::open(file.path(), 512).unwrap();
        let geometry = Geometry {
            block_size: 512,
            block_count: 200,
        };
        let mut gpt = Gpt::new(geometry, Guid::from_bytes([1; 16]), 128).unwrap();
        let (first_lba, last_lba) = gpt.usable();
        let partition = Partition {
            number: 1,
            type_guid: Guid::from_bytes([2; 16]),
            guid: Guid::from_bytes([3; 16]),
            first_lba,
            last_lba,
            attributes: 0,
            name: "old".into(),
        };
        gpt.set_partition(&partition).unwrap();
        gpt.format(&mut disk).unwrap();
        gpt.set_name(1, "new").unwrap();
        gpt.commit(&mut disk).unwrap();

        let mut disk = FileDisk::open_read_only(file.path(), 512).unwrap();
        let gpt = Gpt::read(&mut disk).unwrap();
        assert!(gpt.health().is_good());
        assert_eq!(gpt.partition(1).unwrap().name, "new");
    }
}
