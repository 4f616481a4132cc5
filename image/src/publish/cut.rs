//! Where an image is cut into frames.
//!
//! A host fetches every frame that holds a block it lacks. What hosts have is known when
//! a release is published: the releases before it. So the cuts are those that make the
//! fetches of hosts on these releases small: runs of blocks that are new are kept apart
//! from runs that are not, unless the run is so short that a further cut costs more. For
//! hosts that come from somewhere else, and for the first release, frames of about
//! 128 KiB that begin where files begin are the best guess.

use update_engine::release::MAX_FRAME_BLOCKS;

/// Bytes of a compressed block that a frame is charged with, roughly what zstd makes of
/// programs and kernel modules.
const PER_BLOCK: u64 = 1100;

/// Bytes that one frame more costs: what the compressor had to learn again, its header,
/// its line in the descriptor.
const PER_FRAME: u64 = 4000;

/// What a host on the newest release before counts, on the one before that, and so on,
/// in units of one host that comes from somewhere else.
const WEIGHTS: [u64; 4] = [16, 8, 4, 2];

/// Releases before that are looked at, at most.
pub const RELEASES: usize = WEIGHTS.len();

/// For that other host: frames of `n` blocks cost `n² + FRAME`, so that 32 blocks, 128
/// KiB, are the cheapest.
const FRAME: u64 = 32 * 32;

/// Extra for a cut inside a file, with the other host in mind.
const INSIDE_FILE: u64 = 600;

/// What is known of an image's blocks.
pub struct Blocks<'a> {
    /// How many.
    pub count: usize,
    /// First blocks of files, ascending.
    pub files: &'a [usize],
    /// For each release before, the newest first: which of the blocks it has.
    pub known: &'a [Vec<bool>],
}

/// Cuts an image: the number of blocks of each frame, in order.
///
/// Finds the cheapest of all ways, in time proportional to the number of blocks.
pub fn plan(blocks: &Blocks<'_>) -> Vec<u32> {
    let missing: Vec<Vec<u32>> = blocks
        .known
        .iter()
        .take(RELEASES)
        .map(|k| sums(k))
        .collect();
    let mut starts = vec![false; blocks.count + 1];
    for file in blocks.files {
        if let Some(start) = starts.get_mut(*file) {
            *start = true;
        }
    }
    // best[j]: the lowest cost of cutting the first j blocks, and its last frame.
    let mut best = vec![(0_u64, 0_usize); blocks.count + 1];
    for end in 1..=blocks.count {
        let first = end.saturating_sub(MAX_FRAME_BLOCKS as usize);
        let cheapest = (first..end).map(|start| {
            let inside = start > 0 && !starts[start];
            let cost = cost(&missing, start, end) + if inside { INSIDE_FILE } else { 0 };
            (best[start].0 + cost, end - start)
        });
        best[end] = cheapest.min().unwrap_or_default();
    }
    let mut frames = Vec::new();
    let mut end = blocks.count;
    while end > 0 {
        frames.push(best[end].1 as u32);
        end -= best[end].1;
    }
    frames.reverse();
    frames
}

/// For each number of blocks, how many of the first so many are missing.
fn sums(known: &[bool]) -> Vec<u32> {
    let mut sum = 0;
    let count = known.iter().map(|known| {
        sum += u32::from(!known);
        sum
    });
    [0].into_iter().chain(count).collect()
}

/// What the frame of the blocks `start..end` costs all hosts together.
fn cost(missing: &[Vec<u32>], start: usize, end: usize) -> u64 {
    let length = (end - start) as u64;
    let fetch = PER_FRAME + PER_BLOCK * length;
    let fetched: u64 = missing
        .iter()
        .zip(WEIGHTS)
        .filter(|(sums, _)| sums[start] != sums[end])
        .map(|(_, weight)| weight)
        .sum();
    // Bytes weigh as they are for the newest release before; the other host's 64 a
    // block are then a seventeenth of that.
    fetched * fetch / 16 + length * length + FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(count: usize, files: &[usize], known: &[Vec<bool>]) -> Vec<u32> {
        plan(&Blocks {
            count,
            files,
            known,
        })
    }

    #[test]
    fn without_history_frames_are_of_128_kib() {
        let small: Vec<usize> = (0..320).collect();
        assert_eq!(frames(320, &small, &[]), [32; 10]);
        assert_eq!(frames(320, &[], &[]), [40; 8], "within a file a bit more");
        assert!(frames(0, &[], &[]).is_empty());
    }

    #[test]
    fn without_history_cuts_are_where_files_begin() {
        let files = [0, 29, 61, 97];
        assert_eq!(frames(130, &files, &[]), [29, 32, 36, 33]);
    }

    #[test]
    fn what_is_new_is_kept_apart_from_what_is_not() {
        let known = (0..400).map(|i| !(100..140).contains(&i)).collect();
        let frames = frames(400, &[], &[known]);
        let cuts: Vec<u32> = frames
            .iter()
            .scan(0, |at, n| {
                *at += n;
                Some(*at)
            })
            .collect();
        assert!(cuts.contains(&100) && cuts.contains(&140), "{cuts:?}");
    }

    #[test]
    fn a_short_known_run_is_no_reason_to_cut() {
        let known = (0..64).map(|i| i == 31).collect();
        assert_eq!(frames(64, &[], &[known]).len(), 1);
    }

    proptest! {
        #[test]
        fn frames_cover_the_image_and_are_short_enough(
            known in prop::collection::vec(any::<bool>(), 0..700),
            files in prop::collection::vec(0..800_usize, 0..20),
        ) {
            let frames = frames(known.len(), &files, std::slice::from_ref(&known));
            prop_assert_eq!(frames.iter().sum::<u32>() as usize, known.len());
            prop_assert!(frames.iter().all(|n| (1..=MAX_FRAME_BLOCKS).contains(n)));
        }
    }
}
