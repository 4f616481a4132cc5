//! A part of an open file, read as it is wanted.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

use super::fetch::{FetchError, FetchStream};

/// Bytes in memory at a time.
const CHUNK: u64 = 128 * 1024;

/// Reads `length` bytes from `offset` on; fewer, without an error, where the file
/// ends before. Reading blocks: a local disk answers at once.
pub(crate) fn part(file: Arc<File>, offset: u64, length: u64, name: &str) -> FetchStream {
    let name = name.to_string();
    Box::pin(stream::try_unfold(
        (offset, length),
        move |(offset, left)| {
            let chunk = read(&file, offset, left).map_err(|e| FetchError::broken(&name, e));
            async move {
                let chunk = chunk?;
                let read = chunk.len() as u64;
                Ok((read > 0).then_some((chunk, (offset + read, left - read))))
            }
        },
    ))
}

fn read(file: &File, offset: u64, left: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(left.min(CHUNK)).map_err(io::Error::other)?];
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer.into());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
