//! Disks as arrays of equal blocks.

use alloc::{boxed::Box, vec, vec::Vec};
use core::{error::Error, fmt, ops::Range};

#[cfg(any(test, feature = "std"))]
mod file;
#[cfg(any(test, feature = "std"))]
pub use file::FileDisk;

/// A disk that is read and written in whole blocks.
///
/// Buffers must be a multiple of [`block_size`](Self::block_size) long; anything
/// else, and any block past the end, is an error and moves no data.
pub trait BlockIo {
    /// Bytes in one block, the same for the life of the value.
    fn block_size(&self) -> u32;

    /// Blocks on the disk; the last one has the address `block_count() - 1`.
    fn block_count(&self) -> u64;

    /// Fills `buffer` from the blocks that start at `lba`.
    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError>;

    /// Writes `data` to the blocks that start at `lba`. Durable only after
    /// [`flush`](Self::flush).
    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError>;

    /// Returns once everything written so far would survive a power cut.
    fn flush(&mut self) -> Result<(), BlockError>;
}

/// What a disk was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading blocks.
    Read,
    /// Writing blocks.
    Write,
    /// Making written blocks durable.
    Flush,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Flush => "flushing",
        })
    }
}

/// A disk did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {bytes} bytes at block {lba}")]
pub struct BlockError {
    /// What was asked.
    pub operation: Operation,
    /// First block concerned; 0 for a flush.
    pub lba: u64,
    /// Bytes concerned; 0 for a flush.
    pub bytes: usize,
    /// What the disk, or the operating system or firmware below it, answered.
    #[source]
    pub cause: Box<dyn Error + Send + Sync>,
}

impl BlockError {
    /// An error of `operation` on `bytes` bytes at block `lba`.
    pub fn new(
        operation: Operation,
        lba: u64,
        bytes: usize,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            operation,
            lba,
            bytes,
            cause: cause.into(),
        }
    }
}

/// Byte range of a transfer of `bytes` bytes at `lba`, or why there is none on a
/// disk of `count` blocks of `block_size` bytes.
///
/// Every implementation of [`BlockIo`] asks this before it touches its disk.
pub fn transfer(
    operation: Operation,
    lba: u64,
    bytes: usize,
    block_size: u32,
    count: u64,
) -> Result<Range<u64>, BlockError> {
    let size = u64::from(block_size).max(1);
    let length = bytes as u64;
    let refuse = |why: &'static str| Err(BlockError::new(operation, lba, bytes, why));
    if !length.is_multiple_of(size) {
        return refuse("not a whole number of blocks");
    }
    match lba.checked_add(length / size) {
        Some(end) if end <= count => {}
        _ => return refuse("past the end of the disk"),
    }
    match lba.checked_mul(size) {
        Some(start) if start.checked_add(length).is_some() => Ok(start..start + length),
        _ => refuse("past the end of the disk"),
    }
}

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    block_size: u32,
    bytes: Vec<u8>,
}

impl MemoryDisk {
    /// A disk of `block_count` zeroed blocks of `block_size` bytes.
    pub fn new(block_size: u32, block_count: usize) -> Self {
        Self::from_bytes(block_size, vec![0; block_size as usize * block_count])
    }

    /// A disk that holds `bytes`; a last incomplete block is cut off.
    pub fn from_bytes(block_size: u32, mut bytes: Vec<u8>) -> Self {
        let whole = bytes.len() - bytes.len() % (block_size.max(1) as usize);
        bytes.truncate(whole);
        Self { block_size, bytes }
    }

    /// The content of the whole disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content of the whole disk, to change it below any partition table.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn range(&self, op: Operation, lba: u64, bytes: usize) -> Result<Range<usize>, BlockError> {
        let range = transfer(op, lba, bytes, self.block_size, self.block_count())?;
        // Inside `self.bytes`, so both ends fit a usize.
        Ok(range.start as usize..range.end as usize)
    }
}

impl BlockIo for MemoryDisk {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.bytes.len() as u64 / u64::from(self.block_size.max(1))
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let range = self.range(Operation::Read, lba, buffer.len())?;
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let range = self.range(Operation::Write, lba, data.len())?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_stay_inside_the_disk() {
        let mut disk = MemoryDisk::new(512, 4);
        let mut two = [0; 1024];
        assert!(disk.write(2, &[7; 1024]).is_ok());
        assert!(disk.read(2, &mut two).is_ok());
        assert_eq!(two, [7; 1024]);
        assert!(disk.read(3, &mut two).is_err(), "one block past the end");
        assert!(disk.read(u64::MAX, &mut two).is_err(), "address overflow");
        assert!(disk.write(0, &[0; 100]).is_err(), "part of a block");
        assert!(disk.read(4, &mut []).is_ok(), "nothing at the very end");
    }
}
