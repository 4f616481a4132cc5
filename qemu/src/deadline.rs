//! Deadlines that fit the machine the tests run on.

use std::time::{Duration, Instant};

/// The environment variable that stretches every deadline, a decimal factor.
pub const SCALE_VARIABLE: &str = "BALLAST_DEADLINE_SCALE";

/// Used when [`SCALE_VARIABLE`] is unset or not a positive number.
pub const DEFAULT_SCALE: f64 = 5.0;

/// `nominal`, stretched by [`SCALE_VARIABLE`].
pub fn scaled(nominal: Duration) -> Duration {
    scale_by(nominal, std::env::var(SCALE_VARIABLE).ok().as_deref())
}

fn scale_by(nominal: Duration, setting: Option<&str>) -> Duration {
    let factor = setting
        .and_then(|s| s.trim().parse::<f64>().ok())
        .filter(|f| f.is_finite() && *f > 0.0)
        .unwrap_or(DEFAULT_SCALE);
    Duration::try_from_secs_f64(nominal.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// A point in time by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    /// `nominal` from now, scaled.
    pub fn after(nominal: Duration) -> Self {
        Self {
            start: Instant::now(),
            limit: scaled(nominal),
        }
    }

    /// What is left; `None` once it has passed.
    pub fn left(&self) -> Option<Duration> {
        self.limit
            .checked_sub(self.start.elapsed())
            .filter(|left| !left.is_zero())
    }

    /// The whole time that was given, after scaling.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_comes_from_the_setting_and_nonsense_is_ignored() {
        let second = Duration::from_secs(1);
        assert_eq!(scale_by(second, Some("2.5")), Duration::from_millis(2500));
        for odd in [
            None,
            Some(""),
            Some("-1"),
            Some("0"),
            Some("inf"),
            Some("x"),
        ] {
            assert_eq!(scale_by(second, odd), second.mul_f64(DEFAULT_SCALE));
        }
        assert_eq!(scale_by(second, Some("1e300")), Duration::MAX);
    }

    #[test]
    fn a_passed_deadline_has_nothing_left() {
        assert!(Deadline::after(Duration::ZERO).left().is_none());
        assert!(Deadline::after(Duration::from_secs(60)).left().is_some());
    }
}
