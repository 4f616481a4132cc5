//! The blocks of a disk that no partition has.

/// Free blocks between the first and the last usable one.
#[derive(Debug, Clone)]
pub struct Space {
    /// Disjoint runs, ascending, first and last block of each.
    free: Vec<(u64, u64)>,
    /// Blocks that a default start is a multiple of.
    alignment: u64,
}

/// Why blocks cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSpace {
    /// No run of free blocks holds an aligned one.
    #[error("no free space is left")]
    Full,
    /// A size of 0 goes to the end of the largest run, and the start is not in it.
    #[error("its start does not lie in the largest free space, where a size of 0 would end")]
    OutsideLargest,
    /// Blocks that are taken, or not on the disk.
    #[error("these blocks are not all free, or beyond the end of the disk")]
    Taken,
}

impl Space {
    /// The `usable` blocks, first and last, without those of `taken`.
    pub fn new(
        usable: (u64, u64),
        alignment: u64,
        taken: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        let mut space = Self {
            free: vec![usable],
            alignment: alignment.max(1),
        };
        for (first, last) in taken {
            space.take(first, last);
        }
        space
    }

    /// The blocks of a partition that starts at `start` and has `size` blocks,
    /// where 0 stands for the start and the end of the largest free run, as
    /// with sgdisk. Takes nothing.
    pub fn place(&self, start: u64, size: u64) -> Result<(u64, u64), NoSpace> {
        let largest = self.largest();
        let first = match start {
            0 => largest.ok_or(NoSpace::Full)?.0,
            start => start,
        };
        let last = match size {
            0 => {
                let (_, last) = largest.ok_or(NoSpace::Full)?;
                if first > last || !self.is_free(first, last) {
                    return Err(NoSpace::OutsideLargest);
                }
                last
            }
            size => first.checked_add(size - 1).ok_or(NoSpace::Taken)?,
        };
        if self.is_free(first, last) {
            Ok((first, last))
        } else {
            Err(NoSpace::Taken)
        }
    }

    /// Makes the blocks from `first` to `last` taken, as far as they are free.
    pub fn take(&mut self, first: u64, last: u64) {
        let runs = std::mem::take(&mut self.free);
        for (start, end) in runs {
            if end < first || start > last {
                self.free.push((start, end));
                continue;
            }
            if start < first {
                self.free.push((start, first - 1));
            }
            if end > last {
                self.free.push((last + 1, end));
            }
        }
    }

    fn is_free(&self, first: u64, last: u64) -> bool {
        let holds = |run: &(u64, u64)| run.0 <= first && last <= run.1;
        first <= last && self.free.iter().any(holds)
    }

    /// The longest run from its first aligned block on; of equal ones the first.
    fn largest(&self) -> Option<(u64, u64)> {
        let mut best: Option<(u64, (u64, u64))> = None;
        for (first, last) in &self.free {
            let Some(aligned) = first.checked_next_multiple_of(self.alignment) else {
                continue;
            };
            let length = last - first;
            if aligned <= *last && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, (aligned, *last)));
            }
        }
        best.map(|(_, run)| run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_means_the_largest_run() {
        let space = Space::new((34, 9966), 100, [(1000, 1999), (5000, 5999)]);
        // Runs: 34 to 999, 2000 to 4999, 6000 to 9966.
        assert_eq!(space.place(0, 0), Ok((6000, 9966)));
        assert_eq!(space.place(0, 500), Ok((6000, 6499)));
        assert_eq!(space.place(7000, 0), Ok((7000, 9966)));
        assert_eq!(space.place(2000, 0), Err(NoSpace::OutsideLargest));
        assert_eq!(space.place(2000, 3000), Ok((2000, 4999)));
        assert_eq!(space.place(2000, 3001), Err(NoSpace::Taken));
        assert_eq!(space.place(9000, 967), Ok((9000, 9966)));
        assert_eq!(space.place(9000, 968), Err(NoSpace::Taken));
        assert_eq!(space.place(10, 5), Err(NoSpace::Taken));
        assert_eq!(space.place(7000, u64::MAX), Err(NoSpace::Taken));
    }

    #[test]
    fn a_run_without_an_aligned_block_is_none() {
        let mut space = Space::new((34, 9966), 2048, [(2048, 9966)]);
        assert_eq!(space.place(0, 0), Err(NoSpace::Full));
        space.take(0, u64::MAX);
        assert_eq!(space.place(0, 1), Err(NoSpace::Full));
    }

    proptest! {
        #[test]
        fn what_is_placed_was_free_and_is_taken_after(
            taken in prop::collection::vec((0_u64..900, 0_u64..200), 0..8),
            start in 0_u64..1100,
            size in 0_u64..1100,
        ) {
            let ends = taken.iter().map(|(first, length)| (*first, first + length));
            let mut space = Space::new((10, 999), 8, ends.clone());
            if let Ok((first, last)) = space.place(start, size) {
                prop_assert!(10 <= first && first <= last && last <= 999);
                for (other, end) in ends {
                    prop_assert!(last < other || end < first);
                }
                prop_assert!(start == 0 || first == start);
                prop_assert!(size == 0 || last - first + 1 == size);
                space.take(first, last);
                prop_assert!(space.place(first, last - first + 1).is_err());
            }
        }
    }
}
