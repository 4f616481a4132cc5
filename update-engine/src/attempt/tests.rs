use super::*;
use proptest::prelude::*;

fn job(slot: Slot) -> Job {
    Job {
        id: 3,
        from: Version::new(0, 1, 0),
        to: Version::new(0, 2, 0),
        slot,
        by: By::Policy,
    }
}

fn bits(priority: u8, tries: u8, successful: bool) -> SlotBits {
    SlotBits {
        priority,
        tries,
        successful,
    }
}

const GOOD: SlotBits = SlotBits {
    priority: 1,
    tries: 0,
    successful: true,
};

fn boot(id: &str, running: Slot, b: SlotBits) -> Boot {
    Boot {
        id: id.into(),
        running,
        version: Version::new(0, 1, 0),
        bits: [GOOD, b],
        failure: None,
    }
}

/// One attempt at slot `b` in every state.
fn states() -> Vec<Attempt> {
    let job = || job(Slot::B);
    vec![
        Attempt::Idle,
        Attempt::Fetching { job: job() },
        Attempt::Written { job: job() },
        Attempt::Armed {
            job: job(),
            boot: "one".into(),
        },
        Attempt::Trial { job: job() },
        Attempt::Blessed { job: job() },
        Attempt::RolledBack {
            job: job(),
            reason: "broken".into(),
        },
    ]
}

fn rolled_back(reason: &str) -> Attempt {
    Attempt::RolledBack {
        job: job(Slot::B),
        reason: reason.into(),
    }
}

#[test]
fn every_event_in_every_state_leads_where_the_table_says() {
    // Columns: idle, fetching, written, armed, trial, blessed, rolled-back.
    // "-" is refused.
    let table: [(Event, [&str; 7]); 10] = [
        (
            Event::Start(job(Slot::B)),
            [
                "fetching", "fetching", "fetching", "fetching", "-", "fetching", "fetching",
            ],
        ),
        (
            Event::Start(job(Slot::A)),
            ["fetching", "-", "-", "-", "-", "fetching", "-"],
        ),
        (Event::Written, ["-", "written", "-", "-", "-", "-", "-"]),
        (
            Event::Armed("one".into()),
            ["-", "-", "armed", "-", "-", "-", "-"],
        ),
        (Event::GiveUp, ["-", "idle", "idle", "-", "-", "-", "-"]),
        (Event::Disarm, ["-", "-", "-", "idle", "-", "-", "-"]),
        (Event::Pardon, ["-", "-", "-", "-", "-", "-", "idle"]),
        (Event::Bless, ["-", "-", "-", "-", "blessed", "-", "-"]),
        (
            Event::RollBack {
                job: job(Slot::B),
                reason: "r".into(),
            },
            [
                "rolled-back",
                "-",
                "-",
                "-",
                "rolled-back",
                "rolled-back",
                "-",
            ],
        ),
        (
            Event::RollBack {
                job: job(Slot::A),
                reason: "r".into(),
            },
            [
                "rolled-back",
                "-",
                "-",
                "-",
                "rolled-back",
                "rolled-back",
                "rolled-back",
            ],
        ),
    ];
    for (event, expected) in table {
        for (state, expected) in states().iter().zip(expected) {
            let found = state.on(event.clone());
            let name = found.as_ref().map_or("-", Attempt::name);
            assert_eq!(name, expected, "{event:?} while {}", state.name());
        }
    }
}

#[test]
fn every_start_in_every_state_leads_where_the_table_says() {
    let disarmed = bits(0, 0, false);
    let waiting = bits(2, 1, false);
    let tried = bits(2, 0, false);
    let healthy = bits(2, 0, true);
    // The same boot or another one, the slot that runs, the bits of slot b.
    let table = [
        (
            "one",
            Slot::A,
            disarmed,
            [
                "idle",
                "fetching",
                "written",
                "idle",
                "rolled-back",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::A,
            disarmed,
            [
                "idle",
                "fetching",
                "written",
                "idle",
                "rolled-back",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "one",
            Slot::A,
            waiting,
            [
                "idle",
                "armed",
                "armed",
                "armed",
                "rolled-back",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::A,
            waiting,
            [
                "idle",
                "armed",
                "armed",
                "armed",
                "rolled-back",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::A,
            tried,
            [
                "idle",
                "rolled-back",
                "rolled-back",
                "rolled-back",
                "rolled-back",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::B,
            tried,
            [
                "trial",
                "trial",
                "trial",
                "trial",
                "trial",
                "trial",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::B,
            healthy,
            [
                "idle",
                "blessed",
                "blessed",
                "blessed",
                "blessed",
                "blessed",
                "rolled-back",
            ],
        ),
        (
            "two",
            Slot::A,
            healthy,
            [
                "idle",
                "fetching",
                "written",
                "idle",
                "idle",
                "blessed",
                "rolled-back",
            ],
        ),
    ];
    for (id, running, b, expected) in table {
        for (state, expected) in states().iter().zip(expected) {
            let found = state.on(Event::Boot(boot(id, running, b))).unwrap();
            assert_eq!(
                found.name(),
                expected,
                "boot {id}, slot {running}, {b:?} while {}",
                state.name()
            );
        }
    }
}

#[test]
fn the_reason_of_a_trial_that_left_none_says_how_far_it_came() {
    let armed = &states()[3];
    let mut tried = boot("two", Slot::A, bits(2, 0, false));
    assert_eq!(
        armed.on(Event::Boot(tried.clone())),
        Ok(rolled_back(NO_TRACE))
    );
    tried.failure = Some("10-sshd failed".into());
    assert_eq!(
        armed.on(Event::Boot(tried)),
        Ok(rolled_back("10-sshd failed"))
    );
}

#[test]
fn a_first_boot_that_is_not_blessed_yet_is_on_trial() {
    let mut first = boot("one", Slot::A, SlotBits::default());
    first.bits[0] = bits(1, 2, false);
    let trial = Attempt::Idle.on(Event::Boot(first)).unwrap();
    assert_eq!(trial.job().unwrap().slot, Slot::A);
    assert_eq!(trial.name(), "trial");
}

#[test]
fn what_is_saved_reads_back_as_the_same() {
    for state in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Attempt>(&text).unwrap(), state);
    }
}

fn any_slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::A), Just(Slot::B)]
}

fn any_bits() -> impl Strategy<Value = SlotBits> {
    (0..3u8, 0..2u8, any::<bool>()).prop_map(|(p, t, s)| bits(p, t, s))
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any_slot().prop_map(|slot| Event::Start(job(slot))),
        Just(Event::Written),
        "[0-2]".prop_map(Event::Armed),
        Just(Event::GiveUp),
        Just(Event::Disarm),
        Just(Event::Pardon),
        Just(Event::Bless),
        any_slot().prop_map(|slot| Event::RollBack {
            job: job(slot),
            reason: "asked".into()
        }),
        ("[0-2]", any_slot(), any_bits(), any_bits()).prop_map(|(id, running, a, b)| {
            Event::Boot(Boot {
                id,
                running,
                version: Version::new(0, 1, 0),
                bits: [a, b],
                failure: None,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn random_events_never_panic_and_starting_again_settles(
        events in proptest::collection::vec(any_event(), 0..40),
    ) {
        let mut state = Attempt::Idle;
        for event in events {
            let again = event.clone();
            match state.on(event) {
                Ok(next) => {
                    if matches!(again, Event::Boot(_)) {
                        // Two slots that both never came up: the first start denies one, the
                        // second sees the other on trial.
                        let settled = next.on(again.clone()).unwrap();
                        prop_assert_eq!(settled.on(again), Ok(settled));
                    }
                    state = next;
                }
                Err(rejected) => prop_assert_eq!(rejected.state, state.name()),
            }
        }
    }

    #[test]
    fn a_slot_on_trial_is_never_written_to(
        events in proptest::collection::vec(any_event(), 0..40),
    ) {
        let mut state = Attempt::Idle;
        for event in events {
            let was_trial = matches!(state, Attempt::Trial { .. });
            let start = matches!(event, Event::Start(_));
            if let Ok(next) = state.on(event) {
                prop_assert!(!(was_trial && start));
                state = next;
            }
        }
    }
}
