//! When a probe is asked, and what its answers mean.

use std::time::{Duration, Instant};

use crate::declared::model::Probe;

/// One probe of one run of a container.
#[derive(Debug, Clone)]
pub struct Tracker {
    probe: Probe,
    next: Instant,
    good: u32,
    bad: u32,
    verdict: Option<Verdict>,
}

/// What answers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    Yes,
    /// It is not.
    No,
}

impl Tracker {
    /// A probe of a container that started at `start`.
    pub fn new(probe: &Probe, start: Instant) -> Self {
        Self {
            next: start + Duration::from_secs(probe.delay),
            probe: probe.clone(),
            good: 0,
            bad: 0,
            verdict: None,
        }
    }

    /// The probe.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// When it is asked next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// What is known so far.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// It is asked now.
    pub fn asked(&mut self, now: Instant) {
        self.next = now + Duration::from_secs(self.probe.period);
    }

    /// An answer. Says what is known from now on.
    pub fn answered(&mut self, is_good: bool) -> Option<Verdict> {
        if is_good {
            self.bad = 0;
            self.good = self.good.saturating_add(1);
            if self.good >= self.probe.successes {
                self.verdict = Some(Verdict::Yes);
            }
        } else {
            self.good = 0;
            self.bad = self.bad.saturating_add(1);
            if self.bad >= self.probe.failures {
                self.verdict = Some(Verdict::No);
            }
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::model::Check;

    fn tracker(successes: u32, failures: u32) -> Tracker {
        let probe = Probe {
            check: Check::Exec(vec!["true".into()]),
            delay: 3,
            period: 10,
            timeout: 1,
            successes,
            failures,
        };
        Tracker::new(&probe, Instant::now())
    }

    fn after(mut tracker: Tracker, answers: &[bool]) -> Option<Verdict> {
        let last = answers
            .iter()
            .map(|answer| tracker.answered(*answer))
            .last();
        last.flatten()
    }

    #[test]
    fn only_answers_in_a_row_change_what_is_known() {
        let (yes, no) = (Some(Verdict::Yes), Some(Verdict::No));
        assert_eq!(after(tracker(2, 3), &[true, false, true]), None);
        assert_eq!(after(tracker(2, 3), &[true, true]), yes);
        assert_eq!(after(tracker(2, 3), &[true, true, false, false]), yes);
        assert_eq!(after(tracker(2, 3), &[true, true, false, false, false]), no);
        assert_eq!(after(tracker(2, 3), &[false, false, false, true]), no);
        assert_eq!(
            after(tracker(2, 3), &[false, false, false, true, true]),
            yes
        );
    }

    #[test]
    fn the_delay_comes_first_and_the_period_between() {
        let start = Instant::now();
        let mut tracker = Tracker::new(tracker(1, 1).probe(), start);
        assert_eq!(tracker.next(), start + Duration::from_secs(3));
        tracker.asked(tracker.next());
        assert_eq!(tracker.next(), start + Duration::from_secs(13));
    }
}
