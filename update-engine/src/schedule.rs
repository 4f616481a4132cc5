//! When the server is asked next.

use std::time::Duration;

use daemon::pause::{backoff, jittered};

/// First pause after a failure; it doubles with every further one.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// How long after its start the engine asks for the first time, at the earliest: a network
/// takes a while.
const SETTLE: Duration = Duration::from_secs(10);

/// How much later, at most: hosts that start together do not ask together.
const SPREAD: Duration = Duration::from_secs(60);

/// How long to wait before the server is asked again: the policy's `poll`, or less after
/// `failures` in a row, a tenth more or less by `random` (0 up to 1).
pub fn pause(poll: Duration, failures: u32, random: f64) -> Duration {
    let base = match failures {
        0 => poll,
        n => backoff(FIRST_RETRY, poll.max(FIRST_RETRY), n),
    };
    jittered(base, 0.1, random)
}

/// How long to wait after the engine started.
pub fn first_pause(poll: Duration, random: f64) -> Duration {
    SETTLE + SPREAD.min(poll).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn hosts_spread_a_tenth_around_the_interval() {
        assert_eq!(pause(HOUR, 0, 0.0), Duration::from_secs(3240));
        assert_eq!(pause(HOUR, 0, 0.5), HOUR);
        assert!(pause(HOUR, 0, 0.999) < Duration::from_secs(3960));
        assert_eq!(first_pause(HOUR, 0.0), SETTLE);
        assert_eq!(first_pause(HOUR, 1.0), SETTLE + SPREAD);
        assert_eq!(
            first_pause(Duration::from_secs(5), 1.0),
            Duration::from_secs(15)
        );
    }

    #[test]
    fn failures_are_retried_soon_and_then_less_often_up_to_the_interval() {
        let pauses: Vec<_> = (1..=8).map(|n| pause(HOUR, n, 0.5).as_secs()).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pause(HOUR, u32::MAX, 0.5), HOUR);
        assert_eq!(pause(Duration::from_secs(5), 3, 0.5), FIRST_RETRY);
        assert!(pause(Duration::MAX, 0, 1.0) > HOUR);
    }
}
