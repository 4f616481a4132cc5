//! How long to wait before something is tried again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// A random number from 0 up to 1, for spreading what hosts do. Not for secrets: it is
/// what the standard library keys its hash tables with.
pub fn random() -> f64 {
    f64::from(RandomState::new().hash_one(0_u8) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// The pause after `failures` in a row: `first` after one, twice as long after each
/// further one, `most` at the most.
pub fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(most)
}

/// `length`, longer or shorter by up to `part` of it, by `random` (0 up to 1).
pub fn jittered(length: Duration, part: f64, random: f64) -> Duration {
    let factor = 1.0 - part + 2.0 * part * random.clamp(0.0, 1.0);
    // Longer than the clock can count means never.
    let seconds = (length.as_secs_f64() * factor).min(f64::from(u32::MAX));
    Duration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = (0..=6).map(|n| backoff(5 * SECOND, 60 * SECOND, n).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [5, 5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff(SECOND, Duration::MAX, u32::MAX), 65_536 * SECOND);
        assert_eq!(backoff(Duration::MAX, 9 * SECOND, 9), 9 * SECOND);
    }

    #[test]
    fn jitter_goes_both_ways() {
        assert_eq!(jittered(10 * SECOND, 0.5, 0.0), 5 * SECOND);
        assert_eq!(jittered(10 * SECOND, 0.5, 0.5), 10 * SECOND);
        assert!(jittered(10 * SECOND, 0.5, 0.999) < 15 * SECOND);
        assert!((0.0..1.0).contains(&random()));
        assert!(jittered(Duration::MAX, 0.1, 1.0) > SECOND);
    }
}
