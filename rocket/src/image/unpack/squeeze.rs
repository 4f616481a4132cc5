//! Decompression, in a thread of its own: it takes as long as making the files.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::bufread::MultiGzDecoder;

use super::super::digest::Hashing;
use super::{Expected, Limits, UnpackError};

/// Bytes that are passed on at once, and how many of these pieces may be on their way.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// What is unpacked is not compared with what it was before there is so much of it: an
/// empty file of this length in a layer is no attack.
const UNSUSPICIOUS: u64 = 1 << 30;

/// Zstandard's window, as a power of two: memory that a layer may demand (128 MiB).
const MAX_WINDOW: u32 = 27;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By Zstandard.
    Zstd,
}

impl Compression {
    /// Told by the first bytes. What manifests say of it is wrong too often.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A frame to be skipped, with which some tools begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not compressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Reads what is in compressed bytes, whatever they are compressed with.
pub fn decoder<'a>(source: impl Read + 'a) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let mut source = BufReader::with_capacity(PIECE, source);
    let compression = Compression::of(source.fill_buf()?);
    let reader: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(MAX_WINDOW)?;
            Box::new(decoder)
        }
    };
    Ok((compression, reader))
}

/// A way for bytes from one thread to another.
pub fn pipe() -> (SyncSender<Vec<u8>>, Pipe) {
    let (send, receive) = sync_channel(PIECES);
    let pipe = Pipe {
        receive,
        piece: io::Cursor::new(Vec::new()),
    };
    (send, pipe)
}

/// Where the bytes come out.
pub struct Pipe {
    receive: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if !buffer.is_empty() => match self.receive.recv() {
                    Ok(piece) => self.piece = io::Cursor::new(piece),
                    // The other side has come to the end, or failed and says so itself.
                    Err(_) => return Ok(0),
                },
                count => return Ok(count),
            }
        }
    }
}

/// How passing bytes on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of them were passed on, and were the right ones.
    Whole,
    /// The other side wants no more, and says why itself.
    Unread,
}

/// Decompresses a source into the pipe, and compares its bytes with what they must be.
pub fn run(
    source: impl Read,
    expected: &Expected,
    limits: &Limits,
    send: &SyncSender<Vec<u8>>,
) -> Result<End, UnpackError> {
    // One byte more than there should be is enough to see that there are too many.
    let mut hashing = Hashing::new(source.take(expected.size.saturating_add(1)));
    let passed = pass(&mut hashing, expected.size, limits, send);
    match &passed {
        // Bytes that cannot be decompressed are the wrong ones as a rule, and then that is
        // to be told.
        Ok(End::Whole) | Err(UnpackError::Decompress(..)) => {}
        _ => return passed,
    }
    io::copy(&mut hashing, &mut io::sink()).map_err(UnpackError::Read)?;
    let (digest, size) = hashing.finish();
    expected.check(digest, size)?;
    passed
}

fn pass(
    source: impl Read,
    size: u64,
    limits: &Limits,
    send: &SyncSender<Vec<u8>>,
) -> Result<End, UnpackError> {
    let (compression, mut archive) = decoder(source).map_err(UnpackError::Read)?;
    let most = size.saturating_mul(limits.ratio).max(UNSUSPICIOUS);
    let mut total = 0u64;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = archive.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        read.map_err(|error| match compression {
            Compression::None => UnpackError::Read(error),
            _ => UnpackError::Decompress(compression, error),
        })?;
        if piece.is_empty() {
            return Ok(End::Whole);
        }
        total += piece.len() as u64;
        if total > limits.bytes {
            return Err(UnpackError::Bytes(limits.bytes));
        }
        if total > most {
            return Err(UnpackError::Ratio(limits.ratio));
        }
        if send.send(piece).is_err() {
            return Ok(End::Unread);
        }
    }
}
