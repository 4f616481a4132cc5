//! What time it is, for a host whose clock may be wrong.
//!
//! Metadata says until when it may be believed, so the clock decides whether an old
//! state of the repository passes for the newest one.
//!
//! - A clock in the past would let expired metadata pass. The time is therefore at
//!   least that of the release's build and that of the last attempt that found good
//!   metadata. The later of these and the clock counts, so a host without a battery
//!   for its clock still updates; what it can be kept from is bounded by that time.
//! - A clock in the future makes good metadata look expired, which is refused. Such a
//!   time is *not* remembered: a time is remembered only once metadata was found good
//!   at it, so it lies before the signed expiry of that metadata. Once the clock is
//!   set right, updates go on.

use jiff::Timestamp;

/// What is known about the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// What the host's clock says.
    pub(crate) now: Timestamp,
    /// A time that has certainly passed.
    pub(crate) passed: Timestamp,
}

impl Clock {
    pub(crate) fn new(now: Timestamp, built: Timestamp, latest: Option<Timestamp>) -> Self {
        let passed = latest.map_or(built, |latest| latest.max(built));
        Self { now, passed }
    }

    /// The time that counts.
    pub(crate) fn effective(&self) -> Timestamp {
        self.now.max(self.passed)
    }

    /// The first of these that has expired.
    pub(crate) fn expired<R>(
        &self,
        roles: impl IntoIterator<Item = (R, Timestamp)>,
    ) -> Option<(R, Timestamp)> {
        roles
            .into_iter()
            .find(|(_, expires)| *expires <= self.effective())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_clock_in_the_past_does_not_count() {
        let clock = Clock::new(at(10), at(100), None);
        assert_eq!(
            clock.expired([("timestamp", at(99))]),
            Some(("timestamp", at(99)))
        );
        assert_eq!(clock.expired([("timestamp", at(100))]).unwrap().1, at(100));
        assert_eq!(clock.expired([("timestamp", at(101))]), None);
    }

    #[test]
    fn the_latest_of_all_times_counts() {
        assert_eq!(Clock::new(at(1), at(2), Some(at(3))).effective(), at(3));
        assert_eq!(Clock::new(at(1), at(3), Some(at(2))).effective(), at(3));
        assert_eq!(Clock::new(at(3), at(1), Some(at(2))).effective(), at(3));
    }
}
