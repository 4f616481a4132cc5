//! Content of files, with holes where there is nothing but zeros.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::entries::Entry;

/// How much is read at once.
const CHUNK: usize = 128 << 10;

/// What file systems leave out.
const BLOCK: usize = 4096;

/// Shorter files are written as they are.
const WORTH_HOLES: u64 = 64 << 10;

/// Writes all content of an entry into a new file.
pub fn write(file: &File, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
    let mut end = 0;
    match &entry.pieces {
        None => end = piece(file, content, 0, entry.size, entry.size >= WORTH_HOLES)?,
        Some(pieces) => {
            for (offset, length) in pieces {
                end = piece(file, content, *offset, *length, false)?;
            }
        }
    }
    if end < entry.size {
        file.set_len(entry.size)?;
    }
    Ok(())
}

/// Writes `length` bytes at `offset`. Returns where the file ends; what is missing is zero.
fn piece(
    file: &File,
    content: &mut impl Read,
    offset: u64,
    length: u64,
    holes: bool,
) -> io::Result<u64> {
    let size = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
    let mut buffer = vec![0; size];
    let (mut at, mut end) = (offset, offset);
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..count];
        content.read_exact(chunk)?;
        if holes {
            end = around_holes(file, chunk, at)?.unwrap_or(end);
        } else {
            file.write_all_at(chunk, at)?;
            end = at + count as u64;
        }
        at += count as u64;
        left -= count as u64;
    }
    Ok(end)
}

/// Writes the blocks that are not zero, those beside each other together. Returns where the
/// last one ends.
fn around_holes(file: &File, chunk: &[u8], at: u64) -> io::Result<Option<u64>> {
    let mut end = None;
    let mut start = None;
    let blocks = chunk.len().div_ceil(BLOCK);
    for number in 0..=blocks {
        let from = (number * BLOCK).min(chunk.len());
        let block = &chunk[from..(from + BLOCK).min(chunk.len())];
        let hole = block.iter().all(|byte| *byte == 0);
        match (start, hole) {
            (None, false) => start = Some(from),
            (Some(begin), true) => {
                file.write_all_at(&chunk[begin..from], at + begin as u64)?;
                end = Some(at + from as u64);
                start = None;
            }
            _ => {}
        }
    }
    Ok(end)
}
