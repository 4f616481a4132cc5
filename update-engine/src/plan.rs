//! Which blocks of a new image are already there, and which parts of its file to ask
//! for. Pure.
//!
//! Blocks are told apart by their hashes alone. *Twins* are blocks of one image with
//! equal content: one of them is enough to have them all.

use std::collections::HashMap;
use std::ops::Range;

use crate::blocks::BlockHashes;
use crate::frames::FrameTable;

/// Most blocks that are copied at once: what bounds the memory of a copy.
pub const MAX_RUN: usize = 256;

/// The blocks of an image in the order of their hashes.
#[derive(Debug)]
pub struct Order<'a> {
    hashes: BlockHashes<'a>,
    /// By hash, equal ones by number.
    blocks: Vec<u32>,
    /// For every block its next twin, the first one for the last; a block without
    /// twins for itself.
    next: Vec<u32>,
}

impl<'a> Order<'a> {
    /// Sorts the blocks of an image. Takes 8 bytes of memory a block.
    pub fn new(hashes: BlockHashes<'a>) -> Self {
        let digests = hashes.digests();
        let mut blocks: Vec<u32> = (0..).take(digests.len()).collect();
        blocks.sort_unstable_by_key(|block| (&digests[*block as usize], *block));
        let mut next = vec![0; digests.len()];
        for twins in blocks.chunk_by(|a, b| digests[*a as usize] == digests[*b as usize]) {
            for (block, twin) in twins.iter().zip(twins.iter().cycle().skip(1)) {
                next[*block as usize] = *twin;
            }
        }
        Self {
            hashes,
            blocks,
            next,
        }
    }

    /// The image.
    pub fn hashes(&self) -> BlockHashes<'a> {
        self.hashes
    }

    /// All blocks with the hash `digest`, in order.
    pub fn with(&self, digest: &[u8; 32]) -> &[u32] {
        let digests = self.hashes.digests();
        let of = |block: &u32| &digests[*block as usize];
        let start = self.blocks.partition_point(|block| of(block) < digest);
        let equal = self.blocks[start..].partition_point(|block| of(block) == digest);
        &self.blocks[start..start + equal]
    }

    /// The twins of `block`, without itself.
    pub fn twins(&self, block: usize) -> impl Iterator<Item = usize> {
        let next = |block: &usize| self.next.get(*block).map(|twin| *twin as usize);
        std::iter::successors(next(&block), next).take_while(move |twin| *twin != block)
    }

    /// Every group of twins.
    fn groups(&self) -> impl Iterator<Item = &[u32]> {
        let digests = self.hashes.digests();
        self.blocks
            .chunk_by(move |a, b| digests[*a as usize] == digests[*b as usize])
    }
}

/// Where a block that is missing in the passive slot can be read on the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Block of the running slot's image.
    Active(usize),
    /// Block of the new image, right already.
    Passive(usize),
}

/// Blocks to copy: `blocks` of them from `from` on to `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// First block read.
    pub from: Place,
    /// First block written.
    pub to: usize,
    /// How many, at most [`MAX_RUN`].
    pub blocks: usize,
}

/// What to copy, where `right` says which blocks are right already: every missing
/// block that the disk has.
pub fn copies(new: &Order<'_>, right: &[bool], active: Option<&Order<'_>>) -> Vec<Copy> {
    let active = active.filter(|active| active.hashes().comparable(&new.hashes()));
    let twins = right_twins(new, right);
    let mut copies: Vec<Copy> = Vec::new();
    for to in 0..new.hashes().count() {
        if right.get(to) != Some(&false) {
            continue;
        }
        let last = copies.last().filter(|c| c.to + c.blocks == to);
        let follows = last.map(|c| advance(c.from, c.blocks));
        let on_passive = || twins.get(&to).copied().map(Place::Passive);
        let Some(from) = place(new, right, active, to, follows).or_else(on_passive) else {
            continue;
        };
        match copies.last_mut() {
            Some(c) if follows == Some(from) && c.blocks < MAX_RUN => c.blocks += 1,
            _ => copies.push(Copy {
                from,
                to,
                blocks: 1,
            }),
        }
    }
    copies
}

/// For missing blocks that have twins that are right, the first of these.
fn right_twins(new: &Order<'_>, right: &[bool]) -> HashMap<usize, usize> {
    let is = |block: usize, state: bool| right.get(block) == Some(&state);
    let mut twins = HashMap::new();
    for group in new.groups().filter(|group| group.len() > 1) {
        let blocks = || group.iter().map(|block| *block as usize);
        if let Some(first) = blocks().find(|block| is(*block, true)) {
            let missing = blocks().filter(|block| is(*block, false));
            twins.extend(missing.map(|block| (block, first)));
        }
    }
    twins
}

fn advance(place: Place, blocks: usize) -> Place {
    match place {
        Place::Active(block) => Place::Active(block + blocks),
        Place::Passive(block) => Place::Passive(block + blocks),
    }
}

/// Where the disk has what belongs at block `to`: at `wanted`, or else in the running slot.
fn place(
    new: &Order<'_>,
    right: &[bool],
    active: Option<&Order<'_>>,
    to: usize,
    wanted: Option<Place>,
) -> Option<Place> {
    let digest = new.hashes().get(to)?;
    let is_there = |place: Place| match place {
        Place::Active(block) => active.and_then(|a| a.hashes().get(block)) == Some(digest),
        Place::Passive(block) => {
            right.get(block) == Some(&true) && new.hashes().get(block) == Some(digest)
        }
    };
    let on_active = || {
        active?
            .with(digest)
            .first()
            .map(|b| Place::Active(*b as usize))
    };
    wanted.filter(|place| is_there(*place)).or_else(on_active)
}

/// The frames to fetch so that every block that is not `right` comes, in order. Each of
/// them holds a missing block; of missing twins one is enough.
pub fn frames(new: &Order<'_>, right: &[bool], table: &FrameTable) -> Vec<usize> {
    let is_missing = |block: &usize| right.get(*block) == Some(&false);
    let holders = |group: &[u32]| {
        let missing = group.iter().map(|b| *b as usize).filter(is_missing);
        let mut frames: Vec<usize> = missing.map(|block| table.holding(block)).collect();
        frames.dedup();
        frames
    };
    let mut chosen = vec![false; table.count()];
    let mut open = Vec::new();
    for frames in new.groups().map(holders) {
        match frames[..] {
            [] => {}
            [only] => mark(&mut chosen, only),
            _ => open.push(frames),
        }
    }
    for frames in open {
        let has = |frame: &usize| chosen.get(*frame) == Some(&true);
        if !frames.iter().any(has)
            && let Some(first) = frames.first()
        {
            mark(&mut chosen, *first);
        }
    }
    (0..chosen.len()).filter(|frame| chosen[*frame]).collect()
}

fn mark(chosen: &mut [bool], frame: usize) {
    if let Some(place) = chosen.get_mut(frame) {
        *place = true;
    }
}

/// One range to ask a server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The frames in it, wanted or not; the first and the last one are wanted.
    pub frames: Range<usize>,
    /// Its bytes of the file.
    pub bytes: Range<u64>,
}

/// How frames become requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that nobody wants, between two wanted frames, that are rather fetched than
    /// spared with a request of their own.
    pub gap: u64,
    /// Bytes of a request from which on no further frame is added to it.
    pub request: u64,
}

/// The requests for `wanted` frames, which are in order.
pub fn requests(wanted: &[usize], table: &FrameTable, limits: Limits) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for frame in wanted {
        let bytes = table.bytes(*frame..*frame + 1);
        match requests.last_mut() {
            Some(last)
                if bytes.start - last.bytes.end <= limits.gap
                    && last.bytes.end - last.bytes.start < limits.request =>
            {
                last.frames.end = frame + 1;
                last.bytes.end = bytes.end;
            }
            _ => requests.push(Request {
                frames: *frame..*frame + 1,
                bytes,
            }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Frame;

    /// An image whose blocks have the hashes `[letter; 32]`.
    fn digests(letters: &str) -> Vec<u8> {
        letters.bytes().flat_map(|letter| [letter; 32]).collect()
    }

    fn right(marks: &str) -> Vec<bool> {
        marks.chars().map(|mark| mark == '=').collect()
    }

    fn copied(new: &str, marks: &str, active: &str) -> Vec<Copy> {
        let (new, active) = (digests(new), digests(active));
        let active = Order::new(BlockHashes::new(b"salt", &active));
        let new = Order::new(BlockHashes::new(b"salt", &new));
        copies(&new, &right(marks), Some(&active))
    }

    fn fetched(new: &str, marks: &str, frames_of: &[Frame]) -> Vec<usize> {
        let new = digests(new);
        let new = Order::new(BlockHashes::new(b"", &new));
        frames(&new, &right(marks), &FrameTable::new(frames_of))
    }

    #[test]
    fn what_is_right_stays_and_what_is_active_is_copied_in_runs() {
        let copy = |from, to, blocks| Copy { from, to, blocks };
        assert_eq!(
            copied("abcdef", "=.....", "xbcdxxabc"),
            [copy(Place::Active(1), 1, 3)]
        );
        // A run goes on where it began, although `c` is also somewhere else.
        assert_eq!(copied("bc", "..", "cxbc"), [copy(Place::Active(2), 0, 2)]);
        assert_eq!(
            copied("aba", ".b=", "x"),
            [copy(Place::Passive(2), 0, 1)],
            "a twin in the same image is as good"
        );
        assert_eq!(copied("abc", "===", "abc"), []);
    }

    #[test]
    fn runs_are_bounded() {
        let letters = "a".repeat(MAX_RUN + 1);
        let runs = copied(&letters, &".".repeat(MAX_RUN + 1), &letters);
        assert!(runs.iter().all(|run| run.blocks <= MAX_RUN));
        assert_eq!(
            runs.iter().map(|run| run.blocks).sum::<usize>(),
            MAX_RUN + 1
        );
    }

    #[test]
    fn images_of_another_salt_are_no_source() {
        let blocks = digests("abc");
        let new = Order::new(BlockHashes::new(b"new", &blocks));
        let old = Order::new(BlockHashes::new(b"old", &blocks));
        assert_eq!(copies(&new, &[false; 3], Some(&old)), []);
    }

    #[test]
    fn twins_are_fetched_once() {
        let two = [Frame(2, 10), Frame(2, 10)];
        assert_eq!(fetched("abcd", "....", &two), [0, 1]);
        assert_eq!(fetched("abcd", "==..", &two), [1]);
        assert_eq!(fetched("abab", "....", &two), [0]);
        assert_eq!(
            fetched("abab", "=...", &two),
            [1],
            "a frame without a missing `a`"
        );
        // `c` is only in the second frame, which has `a` too.
        assert_eq!(fetched("aaca", "....", &two), [1]);
        assert_eq!(fetched("aaca", "====", &two), [] as [usize; 0]);
    }

    #[test]
    fn near_frames_are_one_request() {
        let table = FrameTable::new(&[
            Frame(1, 100),
            Frame(1, 10),
            Frame(1, 100),
            Frame(1, 11),
            Frame(1, 100),
        ]);
        let asked = |wanted: &[usize], gap, request| {
            requests(wanted, &table, Limits { gap, request })
                .into_iter()
                .map(|r| (r.frames, r.bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            asked(&[0, 2, 4], 10, 1000),
            [(0..3, 0..210), (4..5, 221..321)]
        );
        assert_eq!(asked(&[0, 1], 0, 100), [(0..1, 0..100), (1..2, 100..110)]);
        assert_eq!(asked(&[0, 1], 0, 101), [(0..2, 0..110)]);
        assert_eq!(asked(&[], 10, 1000), []);
    }
}
