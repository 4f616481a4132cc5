//! Line and column of every offset of a text, without reading all that comes before it:
//! a config may be one line of many megabytes, with an entry to place every few bytes.

use std::ops::Range;

/// Bytes between two places up to which characters were counted.
const STEP: usize = 4096;

/// The lines of a text, which is not kept.
#[derive(Debug, Default)]
pub struct Lines {
    /// Where each line starts.
    starts: Vec<usize>,
    /// Characters that start before each multiple of [`STEP`].
    counted: Vec<usize>,
}

impl Lines {
    /// Those of `text`.
    pub fn new(text: &str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut counted = vec![0];
        for chunk in text.as_bytes().chunks(STEP) {
            let before = counted.last().copied().unwrap_or(0);
            counted.push(before + characters(chunk));
        }
        Self {
            counted,
            starts: std::iter::once(0).chain(newlines).collect(),
        }
    }

    /// Line and column of `offset`, both from 1; columns in characters. `text` is the one
    /// these lines are of.
    pub fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let before = |offset| self.before(text, offset);
        let column = before(offset) - before(self.starts.get(line).copied().unwrap_or(0));
        (line + 1, column + 1)
    }

    /// The bytes of the line that has `offset`, without its end.
    pub fn around(&self, text: &str, offset: usize) -> Range<usize> {
        let line = self.line(offset);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let end = self.starts.get(line + 1).map(|next| next - 1);
        start..end.unwrap_or(text.len())
    }

    /// Its number, from 0.
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }

    /// Characters that start before `offset`.
    fn before(&self, text: &str, offset: usize) -> usize {
        let step = offset / STEP;
        let rest = text.as_bytes().get(step * STEP..offset);
        self.counted.get(step).copied().unwrap_or(0) + characters(rest.unwrap_or_default())
    }
}

/// All bytes of UTF-8 but those that continue a character.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| *byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slowly(text: &str, offset: usize) -> (usize, usize) {
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    proptest! {
        #[test]
        fn positions_are_those_of_counting_from_the_start(
            parts in prop::collection::vec(("[aä€\n]{0,9}", 0_usize..3000), 0..6),
            at in any::<prop::sample::Index>(),
        ) {
            let text: String = parts.iter().map(|(part, times)| part.repeat(*times)).collect();
            let mut offset = at.index(text.len() + 1);
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            let lines = Lines::new(&text);
            prop_assert_eq!(lines.position(&text, offset), slowly(&text, offset));
            let around = &text[lines.around(&text, offset)];
            let (line, _) = slowly(&text, offset);
            prop_assert_eq!(Some(around), text.split('\n').nth(line - 1));
        }
    }

    #[test]
    fn ends_of_texts_and_steps_have_positions() {
        let text = format!("{}\n", "ä".repeat(STEP));
        let lines = Lines::new(&text);
        assert_eq!(lines.position(&text, STEP), (1, STEP / 2 + 1));
        assert_eq!(lines.position(&text, text.len()), (2, 1));
        assert_eq!(Lines::new("").position("", 0), (1, 1));
        let exact = "a".repeat(STEP);
        assert_eq!(Lines::new(&exact).position(&exact, STEP), (1, STEP + 1));
    }
}
