use proptest::prelude::*;

use super::*;

fn need(to: Option<&str>, by: By) -> Need {
    Need {
        reason: "a release is armed".into(),
        to: to.map(|text| text.parse().unwrap()),
        by,
    }
}

fn update() -> Need {
    need(Some("0.2.0"), By::Host)
}

fn keep() -> Goal {
    Goal::Keep {
        reason: "disks".into(),
    }
}

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

/// Every state, and every goal of asking.
fn states() -> Vec<Plan> {
    vec![
        Plan::Resting,
        Plan::Asking {
            goal: Goal::Reboot(update()),
        },
        Plan::Asking { goal: keep() },
        Plan::Kept {
            reason: "disks".into(),
        },
        Plan::Grace { need: update() },
        Plan::Draining { need: update() },
        Plan::Rebooting { need: update() },
        Plan::Settling,
        Plan::Releasing { why: Why::Settled },
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Begin(Goal::Reboot(update())),
        Event::Begin(keep()),
        Event::BeginAlone(update()),
        Event::Granted { open: true },
        Event::Granted { open: false },
        Event::Braked(v("0.2.0")),
        Event::Lost,
        Event::GraceOver { open: true },
        Event::GraceOver { open: false },
        Event::Drained,
        Event::DrainFailed("no".into()),
        Event::CallOff(Why::NotNeeded),
        Event::Stuck("no".into()),
        Event::Boot,
        Event::Settled,
        Event::Released,
    ]
}

/// What a line of the table calls a plan.
fn short(plan: &Plan) -> &'static str {
    match plan {
        Plan::Resting => "rest",
        Plan::Asking {
            goal: Goal::Keep { .. },
        } => "ask-keep",
        Plan::Asking { .. } => "ask",
        Plan::Kept { .. } => "kept",
        Plan::Grace { .. } => "grace",
        Plan::Draining { .. } => "drain",
        Plan::Rebooting { .. } => "reboot",
        Plan::Settling => "settle",
        Plan::Releasing { why } => match why {
            Why::Settled => "give:settled",
            Why::NotNeeded => "give:not-needed",
            Why::WindowClosed => "give:window",
            Why::Braked(_) => "give:braked",
            Why::Lost => "give:lost",
            Why::DrainFailed(_) => "give:drain",
            Why::Stuck(_) => "give:stuck",
            Why::Unlocked => "give:unlocked",
            Why::Policy => "give:policy",
        },
    }
}

#[test]
fn the_whole_table() {
    // Columns as in `events`; a dash is a rejected event.
    let no = "-";
    let (w, b, l, n, d, s) = (
        "give:window",
        "give:braked",
        "give:lost",
        "give:not-needed",
        "give:drain",
        "give:stuck",
    );
    let table: [(&str, [&str; 16]); 9] = [
        (
            "rest",
            [
                "ask", "ask-keep", "grace", no, no, no, no, no, no, no, no, no, no, "rest", no, no,
            ],
        ),
        (
            "ask",
            [
                no, no, no, "grace", w, b, no, no, no, no, no, n, no, "settle", no, no,
            ],
        ),
        (
            "ask-keep",
            [
                no, no, no, "kept", "kept", no, no, no, no, no, no, n, no, "settle", no, no,
            ],
        ),
        (
            "kept",
            [
                no, no, no, no, no, no, l, no, no, no, no, n, no, "kept", no, no,
            ],
        ),
        (
            "grace",
            [
                no, no, no, no, no, b, l, "drain", w, no, no, n, no, "settle", no, no,
            ],
        ),
        (
            "drain",
            [
                no, no, no, no, no, b, l, no, no, "reboot", d, n, no, "settle", no, no,
            ],
        ),
        (
            "reboot",
            [
                no, no, no, no, no, b, l, no, no, no, no, no, s, "settle", no, no,
            ],
        ),
        (
            "settle",
            [
                no,
                no,
                no,
                no,
                no,
                no,
                l,
                no,
                no,
                no,
                no,
                n,
                no,
                "settle",
                "give:settled",
                no,
            ],
        ),
        (
            "give:settled",
            [
                no, no, no, no, no, no, no, no, no, no, no, no, no, "settle", no, "rest",
            ],
        ),
    ];
    for (state, (name, row)) in states().into_iter().zip(table) {
        assert_eq!(short(&state), name);
        for (event, expected) in events().into_iter().zip(row) {
            let found = state.on(event.clone());
            let found = found.as_ref().map_or(no, short);
            assert_eq!(found, expected, "{name} on {event:?}");
        }
    }
}

#[test]
fn what_was_saved_is_read_again() {
    for plan in states() {
        let text = serde_json::to_string(&plan).unwrap();
        assert!(
            text.contains(&format!("\"state\":\"{}\"", plan.name())),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}

/// What makes other facts of these.
type Change = fn(&mut Facts);

/// A host that needs a reboot, may, and is well.
fn ready() -> Facts {
    Facts {
        need: Known::Yes(update()),
        keep: None,
        allowed: Allowed::Locked,
        open: true,
        settled: true,
        pausing: false,
        moved: false,
    }
}

#[test]
fn a_reboot_begins_when_it_is_needed_allowed_and_the_host_is_well() {
    let begin = |facts: Facts| Plan::Resting.next(&facts);
    assert_eq!(begin(ready()), Some(Event::Begin(Goal::Reboot(update()))));
    let alone = Facts {
        allowed: Allowed::Alone,
        ..ready()
    };
    assert_eq!(begin(alone.clone()), Some(Event::BeginAlone(update())));
    let not: [Change; 8] = [
        |f| f.need = Known::No,
        |f| f.need = Known::Unknown,
        |f| f.open = false,
        |f| f.settled = false,
        |f| f.pausing = true,
        |f| f.allowed = Allowed::ByOperator,
        |f| f.allowed = Allowed::Unknown,
        |f| {
            f.allowed = Allowed::Unknown;
            f.need = Known::Yes(need(None, By::Operator));
        },
    ];
    for change in not {
        let mut facts = ready();
        change(&mut facts);
        assert_eq!(begin(facts.clone()), None, "{facts:?}");
    }
}

#[test]
fn an_operators_wish_counts_where_the_policy_reboots_nobody() {
    let wish = need(None, By::Operator);
    let facts = Facts {
        need: Known::Yes(wish.clone()),
        allowed: Allowed::ByOperator,
        ..ready()
    };
    assert_eq!(
        Plan::Resting.next(&facts),
        Some(Event::BeginAlone(wish.clone()))
    );
    let begun = Plan::Grace { need: wish };
    assert_eq!(begun.next(&facts), None);
}

#[test]
fn what_has_begun_is_called_off_for_a_reason() {
    let asking = Plan::Asking {
        goal: Goal::Reboot(update()),
    };
    let reasons: [(Change, Why); 5] = [
        (|f| f.need = Known::No, Why::NotNeeded),
        (
            |f| f.need = Known::Yes(need(Some("0.3.0"), By::Host)),
            Why::NotNeeded,
        ),
        (|f| f.moved = true, Why::Policy),
        (|f| f.allowed = Allowed::ByOperator, Why::Policy),
        (|f| f.open = false, Why::WindowClosed),
    ];
    for (change, why) in reasons {
        let mut facts = ready();
        change(&mut facts);
        assert_eq!(asking.next(&facts), Some(Event::CallOff(why)));
        let too_late = Plan::Rebooting { need: update() };
        assert_eq!(too_late.next(&facts), None);
    }
    // Whom a restart leaves in the dark for a moment does not give up.
    let mut facts = ready();
    (facts.need, facts.allowed) = (Known::Unknown, Allowed::Unknown);
    assert_eq!(asking.next(&facts), None);
}

#[test]
fn a_window_that_closes_in_grace_counts_when_the_grace_is_over() {
    let grace = Plan::Grace { need: update() };
    let facts = Facts {
        open: false,
        ..ready()
    };
    assert_eq!(grace.next(&facts), None);
    let next = grace.on(Event::GraceOver { open: false }).unwrap();
    assert_eq!(next.duty(), Duty::Release);
}

#[test]
fn a_lock_that_an_operator_keeps_is_kept_until_it_is_given_back() {
    let wanted = Facts {
        keep: Some("disks".into()),
        ..ready()
    };
    let asking = Plan::Resting
        .on(Plan::Resting.next(&wanted).unwrap())
        .unwrap();
    assert_eq!(asking, Plan::Asking { goal: keep() });
    let kept = asking.on(Event::Granted { open: false }).unwrap();
    // Neither a need nor a boot ends it.
    assert_eq!(kept.next(&wanted), None);
    assert_eq!(kept.on(Event::Boot).unwrap(), kept);
    let unlocked = kept.next(&ready()).unwrap();
    assert_eq!(unlocked, Event::CallOff(Why::Unlocked));
    assert_eq!(kept.on(unlocked).unwrap().duty(), Duty::Release);
}

/// The lock's own idea of whether this host holds it.
#[derive(Debug, Default)]
struct Model {
    held: bool,
    locked: bool,
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let need = prop_oneof![
        Just(Known::Unknown),
        Just(Known::No),
        Just(Known::Yes(update())),
        Just(Known::Yes(need(None, By::Operator))),
    ];
    let allowed = prop_oneof![
        Just(Allowed::ByOperator),
        Just(Allowed::Alone),
        Just(Allowed::Locked),
        Just(Allowed::Unknown),
    ];
    let keep = prop_oneof![3 => Just(None), 1 => Just(Some("disks".to_string()))];
    (need, keep, allowed, any::<[bool; 4]>()).prop_map(
        |(need, keep, allowed, [open, settled, pausing, moved])| Facts {
            need,
            keep,
            allowed,
            open,
            settled,
            pausing,
            moved,
        },
    )
}

proptest! {
    /// Whatever happens in whatever order: who was locked reboots only with the lock, and
    /// whoever rests holds nothing.
    #[test]
    fn never_a_reboot_without_the_lock_and_never_a_lock_forgotten(
        steps in prop::collection::vec((any_facts(), 0_usize..16), 0..200),
    ) {
        let mut plan = Plan::Resting;
        let mut lock = Model::default();
        for (facts, number) in steps {
            // What follows from facts, or any answer.
            let event = plan.next(&facts).unwrap_or_else(|| events()[number].clone());
            // Answers of the lock are what the lock thinks.
            if matches!(event, Event::Lost) {
                lock.held = false;
            }
            let Ok(next) = plan.on(event.clone()) else {
                continue;
            };
            match &event {
                Event::Begin(_) => lock.locked = true,
                Event::BeginAlone(_) => lock.locked = false,
                Event::Granted { .. } => lock.held = true,
                Event::Released => lock.held = false,
                _ => {}
            }
            plan = next;
            if let Duty::Reboot(_) = plan.duty() {
                prop_assert!(lock.held || !lock.locked);
            }
            if plan == Plan::Resting {
                prop_assert!(!lock.held);
            }
        }
    }

    /// Once nothing fails any more, everything comes to rest.
    #[test]
    fn everything_comes_to_rest(
        steps in prop::collection::vec((any_facts(), 0_usize..16), 0..50),
        first in any_facts(),
    ) {
        let mut plan = Plan::Resting;
        for (facts, number) in std::iter::once((first, 0)).chain(steps) {
            let event = plan.next(&facts).unwrap_or_else(|| events()[number].clone());
            plan = plan.on(event).unwrap_or(plan);
        }
        let calm = Facts { need: Known::No, ..ready() };
        let mut boots = 0;
        for _ in 0..10 {
            let answer = match plan.duty() {
                Duty::Nothing => break,
                Duty::Acquire(_) => Event::Granted { open: true },
                Duty::Hold => Event::Settled,
                Duty::Warn(_) => Event::GraceOver { open: true },
                Duty::Drain(_) => Event::Drained,
                Duty::Reboot(_) => { boots += 1; Event::Boot }
                Duty::Release => Event::Released,
            };
            let event = plan.next(&calm).unwrap_or(answer);
            plan = plan.on(event).unwrap();
        }
        prop_assert_eq!(plan, Plan::Resting);
        prop_assert!(boots <= 1);
    }
}
