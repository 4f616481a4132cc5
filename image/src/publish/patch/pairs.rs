//! Which part of an earlier image a part of a new one is compared with. Pure.

use std::collections::HashMap;
use std::ops::Range;

use update_engine::release::BLOCK;

use crate::publish::erofs::FileExtent;

/// Bytes of both images that are compared with each other: ranges that count as one
/// after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// In the earlier image.
    pub old: Vec<Range<usize>>,
    /// In the new one.
    pub new: Vec<Range<usize>>,
}

/// An image as it is compared: its length and its files, by where they start.
pub struct Layout<'a> {
    pub size: usize,
    pub files: &'a [FileExtent],
}

/// Pairs for every part of the new image that holds a block for which `missing` is true.
///
/// A file is compared with the file of the same path, or else of the same path when
/// numbers do not count (a kernel's modules, a library's versions), or else of the same
/// name. All that is not in files (inodes, directories, ends of files) is compared as one.
pub fn pairs(old: &Layout<'_>, new: &Layout<'_>, missing: impl Fn(usize) -> bool) -> Vec<Pair> {
    let touched = |range: &Range<usize>| {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        blocks.into_iter().any(&missing)
    };
    let known = Known::new(old.files);
    let files = new.files.iter().filter_map(|file| {
        let range = bytes(file);
        let other = known.like(&file.path).filter(|_| touched(&range))?;
        Some(Pair {
            old: vec![bytes(other)],
            new: vec![range],
        })
    });
    let mut pairs: Vec<Pair> = files.collect();
    let rest = between(new);
    if rest.iter().any(touched) {
        let old = between(old);
        pairs.push(Pair { old, new: rest });
    }
    pairs
}

fn bytes(file: &FileExtent) -> Range<usize> {
    let start = file.start * BLOCK;
    start..start + file.blocks * BLOCK
}

/// What is not in files.
fn between(layout: &Layout<'_>) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut at = 0;
    let end = std::iter::once(layout.size..layout.size);
    for file in layout.files.iter().map(bytes).chain(end) {
        if at < file.start {
            gaps.push(at..file.start);
        }
        at = at.max(file.end);
    }
    gaps
}

/// The earlier image's files by what they are called.
struct Known<'a> {
    paths: HashMap<&'a str, &'a FileExtent>,
    shapes: HashMap<String, &'a FileExtent>,
    names: HashMap<String, &'a FileExtent>,
}

impl<'a> Known<'a> {
    fn new(files: &'a [FileExtent]) -> Self {
        let mut known = Self {
            paths: HashMap::new(),
            shapes: HashMap::new(),
            names: HashMap::new(),
        };
        for file in files {
            known.paths.insert(&file.path, file);
            known.shapes.entry(shape(&file.path)).or_insert(file);
            known.names.entry(shape(name(&file.path))).or_insert(file);
        }
        known
    }

    fn like(&self, path: &str) -> Option<&'a FileExtent> {
        let by_path = self.paths.get(path);
        let by_shape = || self.shapes.get(&shape(path));
        let by_name = || self.names.get(&shape(name(path)));
        by_path.or_else(by_shape).or_else(by_name).copied()
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path without its numbers.
fn shape(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, start: usize, blocks: usize) -> FileExtent {
        FileExtent {
            path: path.to_string(),
            start,
            blocks,
            bytes: blocks * BLOCK - 10,
        }
    }

    fn blocks(range: Range<usize>) -> Range<usize> {
        range.start * BLOCK..range.end * BLOCK
    }

    #[test]
    fn files_are_compared_with_those_of_their_path_shape_or_name() {
        let old = [
            file("lib/modules/6.12.1/kernel/net/a.ko", 2, 1),
            file("lib/modules/6.12.1/kernel/fs/a.ko", 3, 2),
            file("bin/tool", 5, 1),
            file("sbin/moved", 6, 1),
        ];
        let new = [
            file("bin/tool", 1, 1),
            file("bin/moved", 2, 1),
            file("lib/modules/6.12.34/kernel/fs/a.ko", 4, 3),
            file("bin/new", 7, 1),
        ];
        let old = Layout {
            size: 8 * BLOCK,
            files: &old,
        };
        let new = Layout {
            size: 9 * BLOCK,
            files: &new,
        };
        let pair = |old: Vec<_>, new: Vec<_>| Pair { old, new };
        let found = pairs(&old, &new, |_| true);
        let rest = pair(
            vec![blocks(0..2), blocks(7..8)],
            vec![blocks(0..1), blocks(3..4), blocks(8..9)],
        );
        assert_eq!(
            found,
            [
                pair(vec![blocks(5..6)], vec![blocks(1..2)]),
                pair(vec![blocks(6..7)], vec![blocks(2..3)]),
                pair(vec![blocks(3..5)], vec![blocks(4..7)]),
                rest,
            ]
        );
        let found = pairs(&old, &new, |block| block == 5);
        assert_eq!(found, [pair(vec![blocks(3..5)], vec![blocks(4..7)])]);
    }
}
