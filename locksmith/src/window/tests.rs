use daemon::policy::reboot::Strategy;
use proptest::prelude::*;
use proptest::strategy::Strategy as Strategy_;

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn window(text: &str) -> Window {
    toml::from_str(text).unwrap()
}

fn windows(texts: &[&str]) -> Windows {
    let policy = Reboot {
        windows: Some(texts.iter().map(|text| window(text)).collect()),
        ..Reboot::default()
    };
    Windows::of(&policy, "x", &TimeZone::UTC)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn open(until: &str) -> Opening {
    let until = Some(at(until));
    Opening::Open { until }
}

fn closed(until: &str) -> Opening {
    let until = Some(at(until));
    Opening::Closed { until }
}

#[test]
fn a_window_on_some_days() {
    // 2026-11-21 is a Saturday.
    let weekend = windows(&["days = [\"Sat\", \"Sun\"]\nstart = \"02:30\"\nlength = \"2h\""]);
    for (now, expected) in [
        ("2026-11-20T12:00:00Z", closed("2026-11-21T02:30:00Z")),
        ("2026-11-21T02:29:59Z", closed("2026-11-21T02:30:00Z")),
        ("2026-11-21T02:30:00Z", open("2026-11-21T04:30:00Z")),
        ("2026-11-21T04:29:59Z", open("2026-11-21T04:30:00Z")),
        ("2026-11-21T04:30:00Z", closed("2026-11-22T02:30:00Z")),
        ("2026-11-22T05:00:00Z", closed("2026-11-28T02:30:00Z")),
    ] {
        assert_eq!(weekend.at(at(now)), expected, "{now}");
    }
}

#[test]
fn a_window_that_spans_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = windows(&["days = [\"Fri\"]\nstart = \"23:00\"\nlength = \"3h\""]);
    assert_eq!(
        night.at(at("2026-11-21T01:59:00Z")),
        open("2026-11-21T02:00:00Z")
    );
    assert_eq!(
        night.at(at("2026-11-20T01:00:00Z")),
        closed("2026-11-20T23:00:00Z")
    );
}

#[test]
fn windows_that_overlap_or_touch_are_one() {
    let both = windows(&[
        "start = \"02:00\"\nlength = \"1h\"",
        "start = \"02:30\"\nlength = \"1h\"",
        "start = \"03:30\"\nlength = \"30min\"",
    ]);
    assert_eq!(
        both.at(at("2026-11-20T02:10:00Z")),
        open("2026-11-20T04:00:00Z")
    );
    let all_day = windows(&["start = \"00:00\"\nlength = \"24h\""]);
    let always = Opening::Open { until: None };
    assert_eq!(all_day.at(at("2026-11-20T02:10:00Z")), always);
    assert_eq!(windows(&[]).at(at("2026-11-20T02:10:00Z")), always);
}

#[test]
fn clocks_that_are_put_forward_delay_a_window_by_what_they_skip() {
    // On 2026-03-29 clocks in Paris go from 02:00 to 03:00, that is 01:00 UTC.
    let paris = windows(&["start = \"02:30\"\nlength = \"1h\"\ntime_zone = \"Europe/Paris\""]);
    assert_eq!(
        paris.at(at("2026-03-29T00:00:00Z")),
        closed("2026-03-29T01:30:00Z")
    );
    assert_eq!(
        paris.at(at("2026-03-29T01:30:00Z")),
        open("2026-03-29T02:30:00Z")
    );
    // One that was open is open for its whole length.
    let early = windows(&["start = \"01:30\"\nlength = \"2h\"\ntime_zone = \"Europe/Paris\""]);
    assert_eq!(
        early.at(at("2026-03-29T00:30:00Z")),
        open("2026-03-29T02:30:00Z")
    );
}

#[test]
fn clocks_that_are_put_back_open_a_window_once() {
    // On 2026-10-25 clocks in Paris show 02:00 to 03:00 twice, from 00:00 UTC on.
    let paris = windows(&["start = \"02:30\"\nlength = \"20min\"\ntime_zone = \"Europe/Paris\""]);
    assert_eq!(
        paris.at(at("2026-10-25T00:30:00Z")),
        open("2026-10-25T00:50:00Z")
    );
    assert_eq!(
        paris.at(at("2026-10-25T01:30:00Z")),
        closed("2026-10-26T01:30:00Z")
    );
}

#[test]
fn without_a_policy_every_host_has_an_hour_of_the_night() {
    let policy = Reboot::default();
    let mut starts = std::collections::BTreeSet::new();
    for host in 0..100 {
        let id = format!("{host:032x}");
        let windows = Windows::of(&policy, &id, &zone("America/New_York"));
        let Opening::Closed { until: Some(start) } = windows.at(at("2026-11-20T20:00:00Z")) else {
            panic!("open at noon");
        };
        let local = start.to_zoned(zone("America/New_York"));
        assert!((2..5).contains(&local.hour()), "{local}");
        let end = start + SignedDuration::from_hours(1);
        assert_eq!(windows.at(start), Opening::Open { until: Some(end) });
        assert_eq!(
            windows,
            Windows::of(&policy, &id, &zone("America/New_York"))
        );
        starts.insert(start);
    }
    assert!(starts.len() > 50, "{} starts", starts.len());
}

#[test]
fn hosts_that_share_a_lock_have_the_night_together() {
    let policy = Reboot {
        strategy: Strategy::EtcdLock,
        ..Reboot::default()
    };
    let windows = Windows::of(&policy, "x", &TimeZone::UTC);
    assert_eq!(
        windows.at(at("2026-11-20T02:00:00Z")),
        open("2026-11-20T06:00:00Z")
    );
}

#[test]
fn the_ends_of_the_calendar_are_no_trouble() {
    let daily = windows(&["start = \"02:00\"\nlength = \"1h\"\ntime_zone = \"Asia/Tokyo\""]);
    for now in [Timestamp::MIN, Timestamp::MAX] {
        let _ = daily.at(now);
    }
}

/// The slow way: every minute is looked at, clocks are read off the zone.
struct Oracle<'a>(&'a Rule);

impl Oracle<'_> {
    /// When the window of `date` begins: the first minute at which clocks show its time,
    /// or, if none does, when they would show it without their change.
    fn start(&self, date: Date) -> Timestamp {
        let wanted = date.to_datetime(self.0.start);
        let mut minute = date
            .at(0, 0, 0, 0)
            .to_zoned(TimeZone::UTC)
            .unwrap()
            .timestamp()
            - SignedDuration::from_hours(30);
        let mut before = minute;
        for _ in 0..90 * 60 {
            let shown = minute.to_zoned(self.0.zone.clone()).datetime();
            if shown == wanted {
                return minute;
            }
            if shown < wanted {
                before = minute;
            }
            minute += MINUTE;
        }
        let offset = before.to_zoned(self.0.zone.clone()).offset();
        offset.to_timestamp(wanted).unwrap()
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(self.0.zone.clone()).date();
        (-9..=2).any(|days| {
            let date = today + Span::new().days(days);
            let on = self.0.days.is_empty() || self.0.days.contains(&date.weekday());
            on && {
                let start = self.start(date);
                start <= now && now < start + self.0.length
            }
        })
    }
}

fn rules() -> impl Strategy_<Value = Rule> {
    let zones = [
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/Sao_Paulo",
        "Africa/Casablanca",
    ];
    let days = prop::collection::vec(0_i8..7, 0..3);
    (0..zones.len(), days, 0_u16..1440, 1_i64..60 * 30).prop_map(
        move |(zone_number, days, start, minutes)| Rule {
            days: days
                .into_iter()
                .map(|day| Weekday::from_monday_zero_offset(day).unwrap())
                .collect(),
            start: TimeOfDay::from_minutes(start).time(),
            length: SignedDuration::from_mins(minutes),
            zone: zone(zones[zone_number]),
        },
    )
}

/// Minutes around changes of clocks, and anywhere else.
fn moments() -> impl Strategy_<Value = Timestamp> {
    let changes = [
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-04-04T15:00:00Z",
        "2026-10-03T15:30:00Z",
        "2026-02-15T02:00:00Z",
        "2018-11-04T03:00:00Z",
    ];
    let near = (0..changes.len(), -2880_i64..2880).prop_map(move |(change, minutes)| {
        at(changes[change]) + SignedDuration::from_mins(minutes)
    });
    let any = (0_i64..1_000_000)
        .prop_map(|minutes| at("2025-01-01T00:00:00Z") + SignedDuration::from_mins(minutes));
    prop_oneof![near, any]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_is_as_the_slow_way_says(rules in prop::collection::vec(rules(), 1..3), now in moments()) {
        let windows = Windows { rules: rules.clone() };
        let slow = |now: Timestamp| rules.iter().any(|rule| Oracle(rule).is_open(now));
        let found = windows.at(now);
        prop_assert_eq!(found.is_open(), slow(now));
        if let Some(until) = found.until() {
            // It changes there, and not a minute before.
            prop_assert!(until > now);
            prop_assert_eq!(slow(until), !found.is_open());
            let before = until - MINUTE;
            prop_assert!(before < now || slow(before) == found.is_open());
            prop_assert_eq!(windows.at(until).is_open(), !found.is_open());
        }
    }

    #[test]
    fn nothing_changes_between_now_and_then(rules in prop::collection::vec(rules(), 1..4), now in moments(), part in 0.0..1.0_f64) {
        let windows = Windows { rules };
        let found = windows.at(now);
        let until = found.until().unwrap_or(now + SignedDuration::from_hours(24 * 8));
        let between = now + SignedDuration::from_secs((until.duration_since(now).as_secs_f64() * part) as i64);
        let later = windows.at(between.min(until - SignedDuration::from_secs(1)));
        prop_assert_eq!(later.is_open(), found.is_open());
    }
}
