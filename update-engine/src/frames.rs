//! Where an image's frames are, in the image and in its file.

use std::ops::Range;

use crate::release::{BLOCK, Frame};

/// A list of frames with the places that follow from it.
#[derive(Debug, Clone)]
pub struct FrameTable {
    /// First block and first byte of every frame, and the end of the last one.
    starts: Vec<(usize, u64)>,
}

impl FrameTable {
    /// The table of `frames`, which were checked with their descriptor.
    pub fn new(frames: &[Frame]) -> Self {
        let mut at = (0, 0);
        let mut starts = vec![at];
        for Frame(blocks, bytes) in frames {
            at = (at.0 + *blocks as usize, at.1 + u64::from(*bytes));
            starts.push(at);
        }
        Self { starts }
    }

    /// How many frames there are.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Blocks of the image.
    pub fn block_count(&self) -> usize {
        self.starts.last().map_or(0, |end| end.0)
    }

    /// Bytes of the file that `frames` takes; empty if there are no such frames.
    pub fn bytes(&self, frames: Range<usize>) -> Range<u64> {
        let at = |frame: usize| self.starts.get(frame).map_or(0, |start| start.1);
        at(frames.start)..at(frames.end)
    }

    /// Blocks of the image that `frame` holds; none if there is no such frame.
    pub fn blocks(&self, frame: usize) -> Range<usize> {
        match self.starts.get(frame..frame + 2) {
            Some([start, end]) => start.0..end.0,
            _ => 0..0,
        }
    }

    /// Bytes of an image of `size` bytes that `frame` holds: its blocks, but the last
    /// one may go beyond the image.
    pub fn content(&self, frame: usize, size: u64) -> usize {
        let blocks = self.blocks(frame);
        let end = (blocks.end as u64 * BLOCK as u64).min(size);
        end.saturating_sub(blocks.start as u64 * BLOCK as u64) as usize
    }

    /// The frame that holds `block`.
    pub fn holding(&self, block: usize) -> usize {
        self.starts.partition_point(|start| start.0 <= block) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_each_other() {
        let table = FrameTable::new(&[Frame(2, 100), Frame(1, 50), Frame(3, 7)]);
        assert_eq!(table.count(), 3);
        assert_eq!(table.block_count(), 6);
        assert_eq!(table.blocks(1), 2..3);
        assert_eq!(table.bytes(1..3), 100..157);
        let held: Vec<usize> = (0..6).map(|block| table.holding(block)).collect();
        assert_eq!(held, [0, 0, 1, 2, 2, 2]);
        assert_eq!(table.content(0, 5 * 4096 + 1), 8192);
        assert_eq!(table.content(2, 5 * 4096 + 1), 2 * 4096 + 1);
        assert_eq!(table.blocks(3), 0..0);
    }
}
