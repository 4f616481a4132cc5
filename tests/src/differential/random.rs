//! Numbers from a seed.

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// The numbers of the config `number` of `seed`.
    pub fn new(seed: u64, number: u64) -> Self {
        // Mixed twice: the numbers of one config must not be those of the next one, one later.
        Self(Self(Self(seed).next() ^ number).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `from`, which has some.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Some of `from`, each once, in any order.
    pub fn some<T: Copy>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let mut left = from.to_vec();
        let count = self.below(most.min(left.len()) + 1);
        let take = |_| left.swap_remove(self.below(left.len()));
        (0..count).map(take).collect()
    }
}
