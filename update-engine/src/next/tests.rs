use super::*;
use crate::release::{SCHEMA, WaveStep, Waves};

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

/// A channel at `release` with steps, and minimum versions.
fn offer(release: &str, steps: &[&str], minimums: &[(&str, &str)]) -> Offer {
    Offer {
        channel: Some(Channel {
            schema: SCHEMA,
            channel: "stable".into(),
            release: v(release),
            steps: steps.iter().map(|s| v(s)).collect(),
            waves: None,
        }),
        releases: minimums.iter().map(|(a, b)| (v(a), v(b))).collect(),
    }
}

struct Case {
    running: Version,
    armed: Option<Version>,
    offer: Offer,
    denied: Vec<Denied>,
    held: Option<Hold>,
    allow_downgrade: bool,
}

impl Case {
    fn new(running: &str, offer: Offer) -> Self {
        Self {
            running: v(running),
            armed: None,
            offer,
            denied: Vec::new(),
            held: None,
            allow_downgrade: false,
        }
    }

    fn deny(mut self, version: &str) -> Self {
        self.denied.push(Denied {
            version: v(version),
            reason: "sshd".into(),
            since: Timestamp::UNIX_EPOCH,
        });
        self
    }

    fn next(&self, wish: &Wish) -> Next {
        let situation = Situation {
            running: &self.running,
            armed: self.armed.as_ref(),
            offer: &self.offer,
            denied: &self.denied,
            held: self.held.as_ref(),
            position: 50.0,
            allow_downgrade: self.allow_downgrade,
            now: Timestamp::UNIX_EPOCH,
        };
        next(&situation, wish)
    }
}

fn named(version: &str, downgrade: bool) -> Wish {
    Wish::Version {
        version: v(version),
        downgrade,
    }
}

fn plain() -> Offer {
    offer("0.3.0", &[], &[("0.3.0", "0.1.0"), ("0.2.0", "0.1.0")])
}

#[test]
fn a_newer_release_is_taken_and_the_same_is_not() {
    let case = Case::new("0.2.0", plain());
    assert_eq!(case.next(&Wish::Policy), Next::Take(v("0.3.0")));
    let case = Case::new("0.3.0", plain());
    assert_eq!(case.next(&Wish::Policy), Next::UpToDate);
    assert_eq!(case.next(&Wish::Channel), Next::UpToDate);
}

#[test]
fn an_older_release_is_taken_only_when_asked_for() {
    let mut case = Case::new("0.4.0", plain());
    assert_eq!(case.next(&Wish::Policy), Next::UpToDate);
    assert!(
        matches!(case.next(&named("0.2.0", false)), Next::Refused { reason, .. }
        if reason.contains("--allow-downgrade"))
    );
    assert_eq!(case.next(&named("0.2.0", true)), Next::Take(v("0.2.0")));
    case.allow_downgrade = true;
    assert_eq!(case.next(&Wish::Policy), Next::Take(v("0.3.0")));
}

#[test]
fn a_host_that_is_too_old_goes_in_steps() {
    let offer = || {
        offer(
            "0.9.0",
            &["0.3.0", "0.5.0", "0.7.0"],
            &[
                ("0.9.0", "0.7.0"),
                ("0.7.0", "0.5.0"),
                ("0.5.0", "0.2.0"),
                ("0.3.0", "0.1.0"),
            ],
        )
    };
    let way = [
        ("0.1.0", "0.3.0"),
        ("0.2.0", "0.5.0"),
        ("0.3.0", "0.5.0"),
        ("0.5.0", "0.7.0"),
        ("0.7.0", "0.9.0"),
        ("0.8.0", "0.9.0"),
    ];
    for (running, expected) in way {
        let case = Case::new(running, offer());
        assert_eq!(case.next(&Wish::Policy), Next::Take(v(expected)));
        assert_eq!(case.next(&named("0.9.0", false)), Next::Take(v(expected)));
    }
    let case = Case::new("0.0.1", offer());
    assert!(
        matches!(case.next(&Wish::Policy), Next::Refused { reason, .. }
        if reason.contains("needs at least 0.7.0"))
    );
}

#[test]
fn a_denied_release_is_refused_until_a_newer_one_appears() {
    let case = Case::new("0.2.0", plain()).deny("0.3.0");
    for wish in [Wish::Policy, Wish::Channel, named("0.3.0", true)] {
        assert!(matches!(case.next(&wish), Next::Refused { version, reason }
            if version == v("0.3.0") && reason.contains("updatectl allow 0.3.0")));
    }
    let newer = offer("0.4.0", &[], &[("0.4.0", "0.1.0")]);
    let case = Case::new("0.2.0", newer).deny("0.3.0");
    assert_eq!(case.next(&Wish::Policy), Next::Take(v("0.4.0")));
}

#[test]
fn a_hold_stops_the_policy_and_not_an_operator() {
    let mut case = Case::new("0.2.0", plain());
    case.held = Some(Hold {
        since: Timestamp::UNIX_EPOCH,
        reason: "audit".into(),
    });
    assert!(matches!(case.next(&Wish::Policy), Next::Held { reason, .. } if reason == "audit"));
    assert_eq!(case.next(&Wish::Channel), Next::Take(v("0.3.0")));
}

#[test]
fn waves_hold_the_policy_back_and_not_an_operator() {
    let mut offer = plain();
    if let Some(channel) = &mut offer.channel {
        channel.waves = Some(Waves {
            start: Timestamp::UNIX_EPOCH,
            steps: vec![
                WaveStep {
                    after: 0,
                    percent: 50,
                },
                WaveStep {
                    after: 60,
                    percent: 100,
                },
            ],
        });
    }
    let case = Case::new("0.2.0", offer);
    let until = Timestamp::from_second(60).ok();
    assert_eq!(
        case.next(&Wish::Policy),
        Next::Wait {
            version: v("0.3.0"),
            until
        }
    );
    assert_eq!(case.next(&Wish::Channel), Next::Take(v("0.3.0")));
}

#[test]
fn what_is_armed_is_not_fetched_again() {
    let mut case = Case::new("0.2.0", plain());
    case.armed = Some(v("0.3.0"));
    assert_eq!(case.next(&Wish::Policy), Next::Armed(v("0.3.0")));
    assert_eq!(case.next(&named("0.3.0", false)), Next::Armed(v("0.3.0")));
    case.armed = Some(v("0.2.5"));
    assert_eq!(case.next(&Wish::Policy), Next::Take(v("0.3.0")));
}

#[test]
fn a_version_that_the_repository_does_not_hold_is_refused() {
    let case = Case::new("0.2.0", plain());
    assert!(
        matches!(case.next(&named("0.9.9", false)), Next::Refused { reason, .. }
        if reason.contains("does not hold it"))
    );
}
