//! A patch: makes blocks of a new `/usr` out of an earlier one.
//!
//! Its file is a file of frames, like the image's own: one after the other they stand for
//! all blocks of the new image, each is fetched and read by itself, and a host asks for
//! those that stand for a block it lacks. But a frame only *makes* the blocks that the
//! earlier image has nowhere, each of them once.
//!
//! A frame is one frame of zstd. What is in it, after the lengths of its four parts:
//!
//! | part | content |
//! |---|---|
//! | runs | pairs: blocks passed over, blocks made |
//! | steps | triples: how the place in the earlier image moves, sums, bytes taken over |
//! | sums | bytes that are added to those at the place in the earlier image |
//! | bytes | bytes that are taken over as they are |
//!
//! A step makes its sums first. Steps are `bsdiff`'s (Colin Percival, "Naive differences
//! of executable code"); places move from where the last sum ended and are counted in
//! the whole earlier image. Numbers are LEB128, moves with the sign in the lowest bit.
//!
//! Nothing in a patch is believed. What it makes is taken where it has the signed hash.

use std::ops::Range;

use crate::plan::MAX_RUN;
use crate::release::BLOCK;

/// Bytes of a frame, at most.
pub const MAX_FRAME: usize = 2 << 20;

/// Bytes of what is in a frame, at most: also a bound for what it makes.
pub const MAX_CONTENT: usize = 8 << 20;

/// Bytes of memory that a frame takes at most, with what is in it.
pub const MAX_MEMORY: u64 = (MAX_FRAME + MAX_CONTENT) as u64;

/// What is wrong with a frame of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchFault {
    /// Not zstd, damaged, or it does not say how much it holds.
    #[error("it does not decompress")]
    Compressed,
    /// Holds more than a host has memory for.
    #[error("it holds {bytes} bytes, at most {MAX_CONTENT} are read")]
    TooLong {
        /// What it says.
        bytes: u64,
    },
    /// A part ends before what is needed of it.
    #[error("its {part} end too early")]
    Short {
        /// The part.
        part: &'static str,
    },
    /// Bytes that nothing refers to.
    #[error("its {part} go on behind what is needed")]
    Surplus {
        /// The part.
        part: &'static str,
    },
    /// Makes blocks that it does not stand for.
    #[error("it makes blocks that are not its own")]
    Foreign,
    /// Leads out of the earlier image.
    #[error("it refers to bytes that the earlier release does not have")]
    Outside,
}

/// Decompresses a frame to `content`.
pub fn decompress(
    zstd: &mut zstd::bulk::Decompressor<'_>,
    frame: &[u8],
    content: &mut Vec<u8>,
) -> Result<(), PatchFault> {
    let size = zstd::zstd_safe::get_frame_content_size(frame);
    let bytes = size.ok().flatten().ok_or(PatchFault::Compressed)?;
    if bytes > MAX_CONTENT as u64 {
        return Err(PatchFault::TooLong { bytes });
    }
    content.clear();
    content.resize(bytes as usize, 0);
    match zstd.decompress_to_buffer(frame, &mut content[..]) {
        Ok(length) if length == content.len() => Ok(()),
        _ => Err(PatchFault::Compressed),
    }
}

/// What a frame makes, piece by piece.
#[derive(Debug)]
pub struct Pieces<'a> {
    runs: Part<'a>,
    steps: Part<'a>,
    sums: Part<'a>,
    bytes: Part<'a>,
    /// Blocks that the frame stands for.
    blocks: usize,
    /// Bytes of the earlier image.
    old_size: u64,
    /// The next block, and where the run that it is in ends.
    at: Range<usize>,
    /// Place in the earlier image.
    place: u64,
    /// What is left of the step under way.
    step: Step,
}

/// A step, or what is left of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Step {
    sums: u64,
    bytes: u64,
}

impl<'a> Pieces<'a> {
    /// Opens what is in a frame that stands for `blocks` blocks, made for an image of
    /// `old_size` bytes.
    pub fn open(content: &'a [u8], blocks: usize, old_size: u64) -> Result<Self, PatchFault> {
        let mut rest = Part::new("lengths", content);
        let mut lengths = [0; 4];
        for length in &mut lengths {
            *length = rest.number()?;
        }
        let [runs, steps, sums, bytes] = lengths;
        let opened = Self {
            runs: rest.part("runs", runs)?,
            steps: rest.part("steps", steps)?,
            sums: rest.part("sums", sums)?,
            bytes: rest.part("bytes", bytes)?,
            blocks,
            old_size,
            at: 0..0,
            place: 0,
            step: Step::default(),
        };
        rest.finish()?;
        Ok(opened)
    }

    /// Makes the next blocks, at most [`MAX_RUN`], in `piece`, and returns the number of
    /// the first one, counted from the frame's first. `None` is the end.
    ///
    /// `old` fills its buffer with bytes of the earlier image; it is asked only for bytes
    /// inside that.
    pub fn next<E: From<PatchFault>>(
        &mut self,
        piece: &mut Vec<u8>,
        mut old: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        if self.at.is_empty() && !self.next_run()? {
            return Ok(None);
        }
        let count = self.at.len().min(MAX_RUN);
        piece.clear();
        piece.resize(count * BLOCK, 0);
        let mut rest = piece.as_mut_slice();
        while !rest.is_empty() {
            if self.step == Step::default() {
                self.next_step()?;
                continue;
            }
            let made = self.make(rest, &mut old)?;
            rest = &mut rest[made..];
        }
        let first = self.at.start;
        self.at.start += count;
        Ok(Some(first))
    }

    /// Begins the next run; false if there is none.
    fn next_run(&mut self) -> Result<bool, PatchFault> {
        if self.runs.is_empty() {
            self.steps.finish()?;
            self.sums.finish()?;
            self.bytes.finish()?;
            return Ok(false);
        }
        let left = self.blocks - self.at.end;
        let inside = |n: u64, left: usize| usize::try_from(n).ok().filter(|n| *n <= left);
        let gap = inside(self.runs.number()?, left).ok_or(PatchFault::Foreign)?;
        let count = inside(self.runs.number()?, left - gap).filter(|n| *n > 0);
        let start = self.at.end + gap;
        self.at = start..start + count.ok_or(PatchFault::Foreign)?;
        Ok(true)
    }

    fn next_step(&mut self) -> Result<(), PatchFault> {
        let sign = self.steps.number()?;
        let distance = (sign >> 1) as i64;
        let distance = if sign & 1 == 0 { distance } else { !distance };
        let place = self.place.checked_add_signed(distance);
        self.place = place.ok_or(PatchFault::Outside)?;
        self.step = Step {
            sums: self.steps.number()?,
            bytes: self.steps.number()?,
        };
        let end = self.place.checked_add(self.step.sums);
        match end.is_some_and(|end| end <= self.old_size) {
            true => Ok(()),
            false => Err(PatchFault::Outside),
        }
    }

    /// Goes on with the step under way, to the end of `room` at most.
    fn make<E: From<PatchFault>>(
        &mut self,
        room: &mut [u8],
        old: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let most = |left: u64| left.min(room.len() as u64) as usize;
        if self.step.sums == 0 {
            let length = most(self.step.bytes);
            room[..length].copy_from_slice(self.bytes.take(length)?);
            self.step.bytes -= length as u64;
            return Ok(length);
        }
        let length = most(self.step.sums);
        let (room, sums) = (&mut room[..length], self.sums.take(length)?);
        old(self.place, room)?;
        for (byte, sum) in room.iter_mut().zip(sums) {
            *byte = byte.wrapping_add(*sum);
        }
        self.place += length as u64;
        self.step.sums -= length as u64;
        Ok(length)
    }
}

/// What is left of a part.
#[derive(Debug)]
struct Part<'a> {
    name: &'static str,
    rest: &'a [u8],
}

impl<'a> Part<'a> {
    fn new(name: &'static str, rest: &'a [u8]) -> Self {
        Self { name, rest }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PatchFault> {
        let part = self.name;
        let split = self.rest.split_at_checked(length);
        let (taken, rest) = split.ok_or(PatchFault::Short { part })?;
        self.rest = rest;
        Ok(taken)
    }

    fn part(&mut self, name: &'static str, length: u64) -> Result<Self, PatchFault> {
        let short = PatchFault::Short { part: name };
        let length = usize::try_from(length).map_err(|_| short)?;
        let bytes = self.take(length).map_err(|_| short)?;
        Ok(Self::new(name, bytes))
    }

    fn number(&mut self) -> Result<u64, PatchFault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        let part = self.name;
        Err(PatchFault::Surplus { part })
    }

    fn finish(&self) -> Result<(), PatchFault> {
        let part = self.name;
        match self.is_empty() {
            true => Ok(()),
            false => Err(PatchFault::Surplus { part }),
        }
    }
}

/// Where bytes of a new image come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From this place in the earlier image on, with differences.
    Old(u64),
    /// From nowhere else.
    New,
}

/// What goes into a frame: the writing side.
#[derive(Debug, Default)]
pub struct Draft {
    runs: Vec<u8>,
    steps: Vec<u8>,
    sums: Vec<u8>,
    bytes: Vec<u8>,
    /// End of the last run.
    end: usize,
    /// Place in the earlier image after the steps that are written.
    place: u64,
    /// The step that is not written yet, and where in the earlier image it begins.
    step: Step,
    from: u64,
}

impl Draft {
    /// Says that the next bytes are those of the blocks `run`, counted from the frame's
    /// first. Runs are not empty and in order.
    pub fn run(&mut self, run: Range<usize>) {
        put_number(&mut self.runs, (run.start - self.end) as u64);
        put_number(&mut self.runs, run.len() as u64);
        self.end = run.end;
    }

    /// Adds the bytes `new`; `old` are those at their origin, if they have one.
    pub fn add(&mut self, new: &[u8], origin: Origin, old: &[u8]) {
        let length = new.len() as u64;
        match origin {
            Origin::New => {
                self.bytes.extend_from_slice(new);
                self.step.bytes += length;
            }
            Origin::Old(at) => {
                let follows = self.step.bytes == 0 && self.from + self.step.sums == at;
                if !follows {
                    self.end_step();
                    self.from = at;
                }
                let sums = new.iter().zip(old).map(|(new, old)| new.wrapping_sub(*old));
                self.sums.extend(sums);
                self.step.sums += length;
            }
        }
    }

    fn end_step(&mut self) {
        if self.step == Step::default() {
            return;
        }
        let distance = self.from.wrapping_sub(self.place) as i64;
        let sign = (distance << 1) ^ (distance >> 63);
        put_number(&mut self.steps, sign as u64);
        put_number(&mut self.steps, self.step.sums);
        put_number(&mut self.steps, self.step.bytes);
        self.place = self.from + self.step.sums;
        self.from = self.place;
        self.step = Step::default();
    }

    /// Bytes so far, a little less than those of the content.
    pub fn length(&self) -> usize {
        self.runs.len() + self.steps.len() + self.sums.len() + self.bytes.len()
    }

    /// The content of the frame.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_step();
        let parts = [self.runs, self.steps, self.sums, self.bytes];
        let mut content = Vec::new();
        for part in &parts {
            put_number(&mut content, part.len() as u64);
        }
        content.extend(parts.concat());
        content
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests;
