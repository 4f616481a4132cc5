//! One image that is being put together from blocks of any origin.

use super::writer::Writer;
use super::{InstallError, Watch};
use crate::blocks::BlockHashes;
use crate::fetch::Received;
use crate::frames::FrameTable;
use crate::patch::{self, PatchFault};
use crate::plan::{Copy, MAX_RUN, Order};
use crate::release::BLOCK;
use crate::slots::{Disarmed, Disk, Part, Slots};

/// Bytes that are read at once.
pub(super) const PART: usize = MAX_RUN * BLOCK;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    /// Not zstd, damaged, or longer than it may be.
    #[error("a frame does not decompress to at most {expected} bytes")]
    Compressed {
        /// Bytes that it should give.
        expected: usize,
        /// What the decompressor says.
        source: std::io::Error,
    },
    /// Shorter than it should be.
    #[error("a frame decompresses to {found} bytes, not {expected}")]
    Length {
        /// Bytes that it gives.
        found: usize,
        /// Bytes that it should give.
        expected: usize,
    },
    /// Other content.
    #[error("block {block} of the image is not the one that was signed")]
    Block {
        /// Number of the block.
        block: usize,
    },
}

/// An image in the passive slot, and which of its blocks are right.
pub(super) struct Image<'a> {
    part: Part,
    size: u64,
    order: Order<'a>,
    right: Vec<bool>,
}

impl<'a> Image<'a> {
    /// An image of `size` bytes with the given hashes, of which nothing is known yet.
    pub(super) fn new(part: Part, hashes: BlockHashes<'a>, size: u64) -> Self {
        Self {
            part,
            size,
            right: vec![false; hashes.count()],
            order: Order::new(hashes),
        }
    }

    pub(super) fn order(&self) -> &Order<'a> {
        &self.order
    }

    pub(super) fn right(&self) -> &[bool] {
        &self.right
    }

    pub(super) fn block_count(&self) -> usize {
        self.right.len()
    }

    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> u64 {
        self.right.len() as u64 * BLOCK as u64
    }

    fn hashes(&self) -> BlockHashes<'a> {
        self.order.hashes()
    }

    /// Finds the blocks that are right already. With a `hint` of what is in the slot,
    /// passes over those that it says are others.
    pub(super) fn look<D: Disk>(
        &mut self,
        slots: &mut Slots<'_, D>,
        hint: Option<BlockHashes<'_>>,
        watch: &Watch,
    ) -> Result<(), InstallError> {
        let hashes = self.hashes();
        let hint = hint.filter(|hint| hint.comparable(&hashes));
        let claimed = |block| hint.as_ref().and_then(|hint| hint.get(block));
        let promising = |block| claimed(block).is_none_or(|d| Some(d) == hashes.get(block));
        let zero = hashes.hash(&[0; BLOCK]);
        let (slot, part, right) = (slots.passive(), self.part, &mut self.right);
        in_parts(right.len(), watch, |first, buffer| {
            let blocks = first..first + buffer.len() / BLOCK;
            if !blocks.clone().any(promising) {
                return Ok(());
            }
            slots.read(slot, part, first, buffer)?;
            for (at, block) in blocks.zip(buffer.chunks_exact(BLOCK)) {
                // Empty slots are zeros: there is nothing to hash.
                right[at] = promising(at)
                    && match is_zero(block) {
                        true => hashes.get(at) == Some(&zero),
                        false => hashes.matches(at, block),
                    };
            }
            Ok(())
        })?;
        let kept = self.right.iter().filter(|right| **right).count();
        watch.update(|p| p.kept += kept as u64 * BLOCK as u64);
        Ok(())
    }

    /// Offers blocks of the same disk, through `buffer`. Returns bytes written.
    pub(super) fn copy<D: Disk>(
        &mut self,
        writer: &mut Writer<'_, '_, D>,
        copy: Copy,
        buffer: &mut Vec<u8>,
    ) -> Result<u64, InstallError> {
        let mut blocks = copy.to..copy.to + copy.blocks;
        if blocks.all(|block| self.right.get(block) == Some(&true)) {
            return Ok(0);
        }
        buffer.resize(copy.blocks * BLOCK, 0);
        writer.read(self.part, copy.from, buffer)?;
        Ok(self.offer(writer, copy.to, buffer)?.written)
    }

    /// Decompresses a frame and offers its blocks. Returns bytes written.
    pub(super) fn unpack<D: Disk>(
        &mut self,
        writer: &mut Writer<'_, '_, D>,
        unpacker: &mut Unpacker,
        table: &FrameTable,
        frame: &Received,
    ) -> Result<Result<u64, FrameFault>, InstallError> {
        let expected = table.content(frame.frame, self.size);
        let content = match unpacker.unpack(&frame.bytes, expected) {
            Ok(content) => content,
            Err(fault) => return Ok(Err(fault)),
        };
        let offer = self.offer(writer, table.blocks(frame.frame).start, content)?;
        Ok(match offer.wrong {
            None => Ok(offer.written),
            Some(block) => Err(FrameFault::Block { block }),
        })
    }

    /// Takes of `bytes`, candidates for the blocks from `first` on, those that are missing
    /// and the signed ones, for their missing twins too.
    pub(super) fn offer<D: Disk>(
        &mut self,
        writer: &mut Writer<'_, '_, D>,
        first: usize,
        bytes: &[u8],
    ) -> Result<Offer, InstallError> {
        let mut offer = Offer::default();
        let mut good = Vec::new();
        for (at, block) in bytes.chunks_exact(BLOCK).enumerate() {
            if self.right.get(first + at) != Some(&false) {
                continue;
            }
            if self.hashes().matches(first + at, block) {
                good.push(at);
            } else {
                offer.wrong.get_or_insert(first + at);
            }
        }
        for run in good.chunk_by(|a, b| a + 1 == *b) {
            let (start, end) = (run[0], run[0] + run.len());
            let data = &bytes[start * BLOCK..end * BLOCK];
            writer.put(self.part, first + start, data)?;
            self.right[first + start..first + end].fill(true);
            offer.written += data.len() as u64;
        }
        for at in good {
            let block = &bytes[at * BLOCK..(at + 1) * BLOCK];
            for twin in self.missing_twins(first + at) {
                writer.put(self.part, twin, block)?;
                self.right[twin] = true;
                offer.written += BLOCK as u64;
            }
        }
        Ok(offer)
    }

    fn missing_twins(&self, block: usize) -> Vec<usize> {
        let twins = self.order.twins(block);
        twins.filter(|twin| !self.right[*twin]).collect()
    }

    /// Reads all blocks back from the device and compares them.
    pub(super) fn check<D: Disk>(
        &self,
        slots: &mut Disarmed<'_, D>,
        watch: &Watch,
    ) -> Result<(), InstallError> {
        let label = self.part.label(slots.passive());
        in_parts(self.right.len(), watch, |first, buffer| {
            slots.reread(self.part, first, buffer)?;
            let mut blocks = buffer.chunks_exact(BLOCK).enumerate();
            match blocks.find(|(at, block)| !self.hashes().matches(first + at, block)) {
                None => Ok(()),
                Some((at, _)) => Err(InstallError::NotKept {
                    label,
                    block: first + at,
                }),
            }
        })
    }
}

/// What became of blocks that were offered.
#[derive(Default)]
pub(super) struct Offer {
    /// Bytes written, twins included.
    pub(super) written: u64,
    /// The first one that was wanted and is another one.
    pub(super) wrong: Option<usize>,
}

/// Decompresses frames into memory that is reused.
pub(super) struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
}

impl Unpacker {
    pub(super) fn new() -> Result<Self, InstallError> {
        let zstd = zstd::bulk::Decompressor::new().map_err(InstallError::Memory)?;
        let buffer = Vec::new();
        Ok(Self { zstd, buffer })
    }

    /// The content of a frame, `expected` bytes, with zeros up to a whole block.
    ///
    /// Stops at that length, whatever the frame says about itself.
    fn unpack(&mut self, frame: &[u8], expected: usize) -> Result<&[u8], FrameFault> {
        self.buffer.clear();
        self.buffer.resize(expected.next_multiple_of(BLOCK), 0);
        let room = &mut self.buffer[..expected];
        match self.zstd.decompress_to_buffer(frame, room) {
            Err(source) => Err(FrameFault::Compressed { expected, source }),
            Ok(found) if found != expected => Err(FrameFault::Length { found, expected }),
            Ok(_) => Ok(&self.buffer),
        }
    }

    /// The content of a frame of a patch.
    pub(super) fn unpack_patch(&mut self, frame: &[u8]) -> Result<&[u8], PatchFault> {
        patch::decompress(&mut self.zstd, frame, &mut self.buffer)?;
        Ok(&self.buffer)
    }
}

/// Hands out `blocks` blocks in parts of at most [`PART`] bytes: the first block and a
/// buffer of the part's length.
pub(super) fn in_parts(
    blocks: usize,
    watch: &Watch,
    mut each: impl FnMut(usize, &mut [u8]) -> Result<(), InstallError>,
) -> Result<(), InstallError> {
    let mut buffer = vec![0; PART.min(blocks * BLOCK)];
    for first in (0..blocks).step_by(MAX_RUN) {
        watch.check()?;
        let length = (blocks - first).min(MAX_RUN) * BLOCK;
        each(first, &mut buffer[..length])?;
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}
