//! Where fetched bytes go; can forget an attempt that failed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::FetchError;

/// A writer that can go back to where it started.
pub trait Sink: Write {
    /// Drops everything written so far.
    fn reset(&mut self) -> io::Result<()>;
}

/// Memory, up to a limit.
pub struct Memory {
    bytes: Vec<u8>,
    limit: usize,
}

impl Memory {
    /// Takes up to `limit` bytes; the write that exceeds it fails.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for Memory {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buffer.len() > self.limit {
            let message = format!("larger than the limit of {} MiB", self.limit >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn reset(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }
}

/// The end of a file.
pub struct Tail<'a> {
    file: &'a mut File,
    start: u64,
}

impl<'a> Tail<'a> {
    /// Appends to `file`.
    pub fn new(file: &'a mut File) -> Result<Self, FetchError> {
        let start = file.seek(SeekFrom::End(0));
        let start = start.map_err(|source| FetchError::Store {
            name: "a file".to_owned(),
            source,
        })?;
        Ok(Self { file, start })
    }
}

impl Write for Tail<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Tail<'_> {
    fn reset(&mut self) -> io::Result<()> {
        self.file.set_len(self.start)?;
        self.file.seek(SeekFrom::Start(self.start)).map(drop)
    }
}
