//! How long a container waits before it is started again.

use std::time::Duration;

/// The first wait that is one.
const FIRST: Duration = Duration::from_secs(10);

/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

/// A container that ran this long starts from the beginning.
const LONG: Duration = Duration::from_secs(600);

/// The next wait of a container.
#[derive(Debug, Clone, Default)]
pub struct Backoff(Duration);

impl Backoff {
    /// The wait after an end, when it ran for `ran`: none the first time, then 10 seconds,
    /// doubling up to five minutes; none again after ten minutes of running.
    pub fn wait(&mut self, ran: Duration) -> Duration {
        if ran >= LONG {
            self.0 = Duration::ZERO;
        }
        let now = self.0;
        self.0 = (now * 2).clamp(FIRST, LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_again_after_ten() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| backoff.wait(Duration::ZERO).as_secs())
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.wait(LONG).as_secs(), 0);
        assert_eq!(backoff.wait(Duration::ZERO).as_secs(), 10);
    }
}
