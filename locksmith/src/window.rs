//! Reboot windows: whether one is open, for how long still, when the next one opens. Pure.
//!
//! A window begins at a time of day as clocks on the wall show it, and is open for a length
//! of real time. Where clocks skip that time, it begins as much later as they skip; where
//! they show it twice, it begins the first time.

use daemon::policy::reboot::{LONGEST, Reboot, Strategy, TimeOfDay, Window};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use sha2::{Digest as _, Sha256};

/// When the nightly window begins, in minutes after midnight.
const NIGHT: u16 = 2 * 60;

/// How much later it begins on some hosts, in minutes.
const SPREAD: u16 = 3 * 60;

/// How long it is for a host that asks nobody.
const ALONE: SignedDuration = SignedDuration::from_hours(1);

/// How long it is for hosts that share a lock: that spreads them.
const SHARED: SignedDuration = SignedDuration::from_hours(4);

/// Days that are looked ahead. Every window begins within eight, and may last seven.
const AHEAD: i32 = 16;

/// When a host may reboot.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// None of them: at any time.
    rules: Vec<Rule>,
}

/// One window that comes again.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// None of them: every day.
    days: Vec<Weekday>,
    start: Time,
    length: SignedDuration,
    zone: TimeZone,
}

/// What windows say about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// One is open.
    Open {
        /// Until then; nothing if no end is in sight.
        until: Option<Timestamp>,
    },
    /// None is open.
    Closed {
        /// Until then; nothing if the calendar ends before.
        until: Option<Timestamp>,
    },
}

impl Opening {
    /// One is open.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// When this changes.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Open { until } | Self::Closed { until } => until,
        }
    }
}

impl Windows {
    /// At any time.
    pub fn always() -> Self {
        Self { rules: Vec::new() }
    }

    /// The windows of `policy`, on the host `machine_id` with the time zone `local`.
    pub fn of(policy: &Reboot, machine_id: &str, local: &TimeZone) -> Self {
        let rules = match &policy.windows {
            Some(windows) => windows.iter().map(|window| rule(window, local)).collect(),
            None => vec![nightly(policy.strategy, machine_id, local)],
        };
        Self { rules }
    }

    /// What they say about `now`.
    pub fn at(&self, now: Timestamp) -> Opening {
        if self.rules.is_empty() {
            return Opening::Open { until: None };
        }
        let mut openings: Vec<_> = self
            .rules
            .iter()
            .flat_map(|rule| rule.around(now))
            .filter(|(_, end)| *end > now)
            .collect();
        openings.sort_unstable();
        let Some(&(first, mut end)) = openings.first() else {
            return Opening::Closed { until: None };
        };
        if first > now {
            return Opening::Closed { until: Some(first) };
        }
        // Those that touch or overlap are one.
        for (start, next) in openings {
            if start > end {
                break;
            }
            end = end.max(next);
        }
        let sight = now.checked_add(SignedDuration::from_hours(24 * 8));
        Opening::Open {
            until: sight.is_ok_and(|sight| end <= sight).then_some(end),
        }
    }
}

impl Rule {
    /// The times in which it is open, from those that may still be at `now`.
    fn around(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        let today = now.to_zoned(self.zone.clone()).date();
        let back = self.length.as_hours() / 24 + 2;
        let shift = move |days: i32| today.checked_add(Span::new().try_days(days).ok()?).ok();
        (-i32::try_from(back).unwrap_or(9)..AHEAD)
            .filter_map(shift)
            .filter(|date| self.days.is_empty() || self.days.contains(&date.weekday()))
            .filter_map(|date| self.on(date))
    }

    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let start = self.zone.to_ambiguous_zoned(date.to_datetime(self.start));
        let start = start.compatible().ok()?.timestamp();
        Some((start, start.checked_add(self.length).ok()?))
    }
}

fn rule(window: &Window, local: &TimeZone) -> Rule {
    let zone = window.time_zone.as_ref().map(|zone| zone.zone());
    let length = SignedDuration::try_from(window.length.duration());
    Rule {
        days: window.days.iter().map(|day| day.weekday()).collect(),
        start: window.start.time(),
        length: length.unwrap_or(SignedDuration::from_secs(
            LONGEST.duration().as_secs() as i64
        )),
        zone: zone.unwrap_or(local).clone(),
    }
}

/// What counts if the policy says nothing: an hour of the night that is this host's own. A
/// lock spreads hosts by itself.
fn nightly(strategy: Strategy, machine_id: &str, local: &TimeZone) -> Rule {
    let (later, length) = match strategy {
        Strategy::EtcdLock | Strategy::FleetLock => (0, SHARED),
        Strategy::Reboot | Strategy::Off => (spread(machine_id), ALONE),
    };
    Rule {
        days: Vec::new(),
        start: TimeOfDay::from_minutes(NIGHT + later).time(),
        length,
        zone: local.clone(),
    }
}

/// The same for one host always, and another for most hosts.
fn spread(machine_id: &str) -> u16 {
    let hash = Sha256::digest(machine_id.trim());
    u16::from_be_bytes([hash[0], hash[1]]) % SPREAD
}

#[cfg(test)]
mod tests;
