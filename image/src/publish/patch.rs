//! Making a patch: the blocks of a new `/usr` that an earlier one lacks, as differences
//! to it, cut into frames.

mod differences;
mod pairs;

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use update_engine::patch::{Draft, MAX_CONTENT, MAX_FRAME, Origin};
use update_engine::release::{BLOCK, Digest, Frame};
use zstd::zstd_safe::CParameter;

use crate::durable;
use crate::parallel;
use differences::{Difference, differences};

/// Level of zstd: the best. What is in a frame fits the window, hosts need no more for it.
const LEVEL: i32 = 22;

/// Base-2 logarithm of the window: [`MAX_CONTENT`].
const WINDOW_LOG: u32 = MAX_CONTENT.ilog2();

/// Blocks that a frame makes, at most: what leaves room for the steps.
const MAX_BLOCKS: usize = (MAX_CONTENT - (1 << 20)) / BLOCK;

/// Two images and what is known of them.
pub struct Images<'a> {
    /// The earlier `/usr`.
    pub old: &'a [u8],
    /// The new one.
    pub new: &'a [u8],
    /// The hash of each block of the new one.
    pub digests: &'a [[u8; 32]],
    /// Whether the earlier one has it.
    pub known: &'a [bool],
}

/// A patch's file, not named yet.
pub struct Made {
    pub file: NamedTempFile,
    pub size: u64,
    pub sha256: Digest,
    pub frames: Vec<Frame>,
    /// See [`update_engine::release::Patch::memory`].
    pub memory: u64,
}

/// Makes the patch into a file in `dir`. `None` if the earlier image has every block.
pub fn make(images: &Images<'_>, dir: &Path) -> Result<Option<Made>> {
    if images.known.iter().all(|known| *known) {
        return Ok(None);
    }
    let differences = differences(images)?;
    let maker = Maker {
        images,
        differences: &differences,
    };
    let parts = maker.parts();
    let frames: Vec<Packed> = parallel::map(&parts, |part| maker.pack(part.clone()))
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat();
    write(&frames, dir).map(Some)
}

fn write(frames: &[Packed], dir: &Path) -> Result<Made> {
    let mut file = durable::partial(dir)?;
    let mut hash = Sha256::new();
    let mut made = Vec::new();
    for frame in frames {
        file.write_all(&frame.bytes).context("writing a patch")?;
        hash.update(&frame.bytes);
        let blocks = u32::try_from(frame.blocks)?;
        made.push(Frame(blocks, u32::try_from(frame.bytes.len())?));
    }
    let memory = frames.iter().map(|f| f.bytes.len() + f.content).max();
    Ok(Made {
        file,
        size: frames.iter().map(|frame| frame.bytes.len() as u64).sum(),
        sha256: Digest(hash.finalize().into()),
        frames: made,
        memory: memory.unwrap_or_default() as u64,
    })
}

/// A frame.
#[derive(Clone)]
struct Packed {
    /// Blocks that it stands for.
    blocks: usize,
    bytes: Vec<u8>,
    /// Bytes of what is in it.
    content: usize,
}

struct Maker<'a> {
    images: &'a Images<'a>,
    /// In the order of the new image.
    differences: &'a [Difference],
}

impl Maker<'_> {
    /// The blocks of the new image in parts of at most [`MAX_BLOCKS`] to be made.
    fn parts(&self) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let (mut start, mut count) = (0, 0);
        for (block, known) in self.images.known.iter().enumerate() {
            if *known {
                continue;
            }
            if count == MAX_BLOCKS {
                parts.push(start..block);
                (start, count) = (block, 0);
            }
            count += 1;
        }
        parts.push(start..self.images.known.len());
        parts
    }

    /// The frame of the blocks `part`, or more than one if it would be too large.
    fn pack(&self, part: Range<usize>) -> Result<Vec<Packed>> {
        let wanted = self.wanted(part.clone());
        let content = self.content(part.start, &wanted);
        if content.len() <= MAX_CONTENT {
            let bytes = compress(&content)?;
            if bytes.len() <= MAX_FRAME {
                let (blocks, content) = (part.len(), content.len());
                return Ok(vec![Packed {
                    blocks,
                    bytes,
                    content,
                }]);
            }
        }
        ensure!(wanted.len() > 1, "a block does not fit into a frame");
        let middle = wanted[wanted.len() / 2];
        let mut frames = self.pack(part.start..middle)?;
        frames.extend(self.pack(middle..part.end)?);
        Ok(frames)
    }

    /// The blocks to make among `part`: of equal ones the first.
    fn wanted(&self, part: Range<usize>) -> Vec<usize> {
        let mut seen = HashSet::new();
        part.filter(|block| !self.images.known[*block] && seen.insert(self.images.digests[*block]))
            .collect()
    }

    fn content(&self, first: usize, wanted: &[usize]) -> Vec<u8> {
        let mut draft = Draft::default();
        for run in wanted.chunk_by(|a, b| a + 1 == *b) {
            let (start, end) = (run[0], run[0] + run.len());
            draft.run(start - first..end - first);
            self.add(&mut draft, start * BLOCK..end * BLOCK);
        }
        draft.finish()
    }

    /// Adds these bytes of the new image.
    fn add(&self, draft: &mut Draft, bytes: Range<usize>) {
        let Images { old, new, .. } = self.images;
        let before = |d: &Difference| d.at.end <= bytes.start;
        let first = self.differences.partition_point(before);
        let mut at = bytes.start;
        for difference in &self.differences[first..] {
            if difference.at.start >= bytes.end {
                break;
            }
            let start = difference.at.start.max(at);
            let end = difference.at.end.min(bytes.end);
            draft.add(&new[at..start], Origin::New, &[]);
            let from = difference.from + (start - difference.at.start);
            let origin = Origin::Old(from as u64);
            draft.add(&new[start..end], origin, &old[from..from + end - start]);
            at = end;
        }
        draft.add(&new[at..bytes.end], Origin::New, &[]);
    }
}

fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let work = || {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        zstd.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        zstd.compress(content)
    };
    work().context("compressing a patch")
}

#[cfg(test)]
mod tests;
