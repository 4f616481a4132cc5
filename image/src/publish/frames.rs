//! Compressing an image frame by frame, on all processors.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use update_engine::release::{BLOCK, Digest, Frame};

use crate::durable;
use crate::progress::Meter;

/// A file of frames, not named yet.
pub struct Packed {
    pub file: NamedTempFile,
    pub size: u64,
    pub sha256: Digest,
    pub frames: Vec<Frame>,
}

/// Compresses `image`, cut into frames of `cuts` blocks, into a file in `dir`.
///
/// The last frame ends where the image ends. Equal input gives equal bytes, however many
/// processors there are.
pub fn pack(image: &[u8], cuts: &[u32], level: i32, dir: &Path, what: &str) -> Result<Packed> {
    let parts = parts(image, cuts);
    let mut packed = Writer::new(dir)?;
    let mut meter = Meter::new(what, image.len() as u64);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // A worker waits while this many frames wait to be written.
    let (sender, receiver) = sync_channel(2 * workers);
    thread::scope(|scope| {
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(|| compress(&parts, &next, level, sender));
        }
        drop(sender);
        packed.write_all(receiver, &parts, &mut meter)
    })?;
    packed.finish(cuts)
}

/// The bytes of each frame.
fn parts<'a>(image: &'a [u8], cuts: &[u32]) -> Vec<&'a [u8]> {
    let mut rest = image;
    let mut parts = Vec::with_capacity(cuts.len());
    for blocks in cuts {
        let length = (*blocks as usize * BLOCK).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}

type Compressed = (usize, std::io::Result<Vec<u8>>);

/// One worker: takes the next frame until there is none.
fn compress(parts: &[&[u8]], next: &AtomicUsize, level: i32, sender: SyncSender<Compressed>) {
    let mut compressor = match zstd::bulk::Compressor::new(level) {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = sender.send((0, Err(error)));
            return;
        }
    };
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(part) = parts.get(index) else {
            return;
        };
        // The receiver is gone after an error of another worker.
        if sender.send((index, compressor.compress(part))).is_err() {
            return;
        }
    }
}

struct Writer {
    file: BufWriter<NamedTempFile>,
    hash: Sha256,
    sizes: Vec<u32>,
}

impl Writer {
    fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            file: BufWriter::new(durable::partial(dir)?),
            hash: Sha256::new(),
            sizes: Vec::new(),
        })
    }

    /// Writes the frames in order, whatever order they come in.
    fn write_all(
        &mut self,
        receiver: Receiver<Compressed>,
        parts: &[&[u8]],
        meter: &mut Meter,
    ) -> Result<()> {
        let mut waiting = BTreeMap::new();
        for (index, bytes) in receiver {
            waiting.insert(index, bytes.context("compressing a frame")?);
            while let Some(bytes) = waiting.remove(&self.sizes.len()) {
                self.write(&bytes)?;
                meter.add(parts[self.sizes.len() - 1].len() as u64);
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context("writing frames")?;
        self.hash.update(bytes);
        self.sizes.push(u32::try_from(bytes.len())?);
        Ok(())
    }

    fn finish(self, cuts: &[u32]) -> Result<Packed> {
        let file = self.file.into_inner().context("writing frames")?;
        let frame = |(blocks, bytes): (&u32, &u32)| Frame(*blocks, *bytes);
        Ok(Packed {
            file,
            size: self.sizes.iter().map(|n| u64::from(*n)).sum(),
            sha256: Digest(self.hash.finalize().into()),
            frames: cuts.iter().zip(&self.sizes).map(frame).collect(),
        })
    }
}

/// The image in `file`, a file of frames: at most `size` bytes of it.
pub fn unpack(file: &[u8], size: u64) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(file).context("decompressing frames")?;
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, size + 1), &mut image)
        .context("decompressing frames")?;
    anyhow::ensure!(
        image.len() as u64 == size,
        "frames hold another number of bytes than {size}"
    );
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn frames_are_the_image_and_each_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let image: Vec<u8> = (0..50 * BLOCK + 100).map(|i| (i / 999) as u8).collect();
        let cuts = [7, 1, 40, 3];
        let packed = pack(&image, &cuts, 3, dir.path(), "test").unwrap();
        let file = fs::read(packed.file.path()).unwrap();
        assert_eq!(file.len() as u64, packed.size);
        assert_eq!(packed.sha256.0, <[u8; 32]>::from(Sha256::digest(&file)));
        assert_eq!(unpack(&file, image.len() as u64).unwrap(), image);
        let mut at = (0, 0);
        for (part, Frame(blocks, bytes)) in parts(&image, &cuts).into_iter().zip(&packed.frames) {
            let frame = &file[at.1..at.1 + *bytes as usize];
            let size = zstd::zstd_safe::get_frame_content_size(frame).unwrap();
            assert_eq!(size, Some(part.len() as u64));
            assert_eq!(unpack(frame, part.len() as u64).unwrap(), part);
            at = (at.0 + *blocks, at.1 + *bytes as usize);
        }
        assert_eq!(at, (51, file.len()));
        assert!(unpack(&file, 50 * BLOCK as u64).is_err());
    }
}
