//! Which bytes of a new image are nearly those of an earlier one, and where.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::Images;
use super::pairs::{Layout, Pair, pairs};
use crate::parallel;
use crate::publish::erofs;

/// Bytes of the new image that are made from bytes of the earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where in the new image.
    pub at: Range<usize>,
    /// From where on in the earlier one.
    pub from: usize,
}

/// All of them, in the order of the new image, for the parts that hold blocks which the
/// earlier image lacks. An image whose files are not known is compared as a whole.
pub fn differences(images: &Images<'_>) -> Result<Vec<Difference>> {
    let files = |image| erofs::files(image).unwrap_or_default();
    let (old_files, new_files) = (files(images.old), files(images.new));
    let layout = |image: &[u8], files| Layout {
        size: image.len(),
        files,
    };
    let old = layout(images.old, &old_files);
    let new = layout(images.new, &new_files);
    let mut pairs = pairs(&old, &new, |block| images.known.get(block) == Some(&false));
    // The largest first, so that no processor has nothing to do in the end.
    pairs.sort_by_key(|pair| std::cmp::Reverse(length(&pair.new) + length(&pair.old)));
    let found = parallel::map(&pairs, |pair| compare(pair, images.old, images.new));
    let found: Vec<_> = found.into_iter().collect::<Result<_>>()?;
    let mut found = found.concat();
    found.sort_by_key(|difference| difference.at.start);
    Ok(found)
}

fn length(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(ExactSizeIterator::len).sum()
}

fn compare(pair: &Pair, old: &[u8], new: &[u8]) -> Result<Vec<Difference>> {
    let mut steps = Vec::new();
    bsdiff::diff(&joined(&pair.old, old), &joined(&pair.new, new), &mut steps)
        .context("comparing two releases")?;
    let mut differences = Vec::new();
    let (mut at, mut from) = (0, 0_i64);
    let mut rest = steps.as_slice();
    while let Some((head, after)) = rest.split_first_chunk::<24>() {
        let [sums, bytes, seek] = numbers(head);
        let (sums, bytes) = (usize::try_from(sums)?, usize::try_from(bytes)?);
        let start = usize::try_from(from)?;
        split(pair, at, start, sums, &mut differences);
        at += sums + bytes;
        from += sums as i64 + seek;
        rest = after.get(sums + bytes..).context("bsdiff ended early")?;
    }
    ensure!(
        rest.is_empty() && at == length(&pair.new),
        "bsdiff made {at} bytes of {}",
        length(&pair.new)
    );
    Ok(differences)
}

/// The three numbers of a step, as bsdiff writes them: the highest bit is the sign.
fn numbers(head: &[u8; 24]) -> [i64; 3] {
    let (numbers, _) = head.as_chunks::<8>();
    let number = |index: usize| {
        let bits = u64::from_le_bytes(numbers[index]);
        let value = (bits & (u64::MAX >> 1)) as i64;
        if bits >> 63 == 0 { value } else { -value }
    };
    std::array::from_fn(number)
}

/// Ranges of an image, one after the other.
fn joined<'a>(ranges: &[Range<usize>], image: &'a [u8]) -> Cow<'a, [u8]> {
    match ranges {
        [one] => Cow::Borrowed(&image[one.clone()]),
        ranges => {
            let parts = ranges.iter().map(|range| &image[range.clone()]);
            Cow::Owned(parts.collect::<Vec<_>>().concat())
        }
    }
}

/// Takes `length` bytes that follow each other in the joined ranges apart where a range
/// ends in either image.
fn split(pair: &Pair, at: usize, from: usize, length: usize, out: &mut Vec<Difference>) {
    let (mut at, mut from, mut left) = (at, from, length);
    while left > 0 {
        let (Some(new), Some(old)) = (place(&pair.new, at), place(&pair.old, from)) else {
            return;
        };
        let length = left.min(new.len()).min(old.len());
        out.push(Difference {
            at: new.start..new.start + length,
            from: old.start,
        });
        at += length;
        from += length;
        left -= length;
    }
}

/// Where the joined byte `at` is in the image, to the end of its range.
fn place(ranges: &[Range<usize>], mut at: usize) -> Option<Range<usize>> {
    for range in ranges {
        if at < range.len() {
            return Some(range.start + at..range.end);
        }
        at -= range.len();
    }
    None
}
