use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::classic::Classic;
use crate::record::Text;

fn id(name: &str) -> HolderId {
    HolderId::new(name).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claim_of(name: &str) -> Claim {
    Claim {
        id: id(name),
        host: Text::clip(&format!("node-{name}")),
        boot_id: Text::clip("boot-1"),
        reason: Text::clip("update"),
        from: Some(Version::new(1, 0, 0)),
        to: Some(Version::new(1, 1, 0)),
    }
}

fn asked(claim: &Claim) -> Asked<'_> {
    Asked {
        claim,
        place: Place::Front,
        now: at(100),
        threshold: 1,
        gone: &[],
    }
}

/// The document after `name` took the lock.
fn granted(document: &Document, name: &str) -> Document {
    match claim(document, &asked(&claim_of(name))) {
        Verdict::Grant { document, .. } => document,
        other => panic!("{name}: {other:?}"),
    }
}

fn with_max(max: u32) -> Document {
    set_max(&Document::default(), max)
}

fn holders(document: &Document) -> Vec<&str> {
    let ids = document.holders.iter().map(|h| h.claim.id.as_str());
    ids.collect()
}

fn a_report(name: &str) -> Report {
    Report {
        id: id(name),
        host: Text::clip("node"),
        reason: Text::clip("boot failed"),
        at: at(50),
    }
}

#[test]
fn the_lock_is_granted_until_all_places_are_taken() {
    let one = granted(&with_max(2), "a");
    let two = granted(&one, "b");
    assert_eq!(holders(&two), ["a", "b"]);
    assert_eq!(claim(&two, &asked(&claim_of("c"))), Verdict::Wait);
    let holder = two.holder(&id("b")).unwrap();
    assert_eq!(
        (holder.since, holder.seen, holder.signs),
        (at(100), at(100), 1)
    );
}

#[test]
fn nobody_is_granted_the_lock_before_its_turn_or_without_places() {
    let claim_a = claim_of("a");
    let behind = Asked {
        place: Place::Behind,
        ..asked(&claim_a)
    };
    assert_eq!(claim(&with_max(3), &behind), Verdict::Wait);
    assert_eq!(claim(&with_max(0), &asked(&claim_a)), Verdict::Wait);
}

#[test]
fn a_holder_is_granted_again_wherever_it_stands_and_keeps_its_since() {
    let document = granted(&with_max(1), "a");
    let mut again = claim_of("a");
    again.boot_id = Text::clip("boot-2");
    let asked = Asked {
        place: Place::Behind,
        now: at(300),
        ..asked(&again)
    };
    // Also when fewer may hold it by now.
    for max in [0, 1, 5] {
        let document = set_max(&document, max);
        let Verdict::Grant {
            document,
            holder,
            expired,
        } = claim(&document, &asked)
        else {
            panic!("not granted again with {max}");
        };
        assert_eq!(holders(&document), ["a"]);
        assert_eq!(
            (holder.since, holder.seen, holder.signs),
            (at(100), at(300), 2)
        );
        assert_eq!(holder.claim, again);
        assert!(expired.is_empty());
    }
}

#[test]
fn another_host_of_the_same_id_is_told_apart() {
    let document = granted(&with_max(2), "a");
    let mut twin = claim_of("a");
    twin.host = Text::clip("another");
    assert!(
        matches!(claim(&document, &asked(&twin)), Verdict::Grant { .. }),
        "renamed"
    );
    twin.boot_id = Text::clip("boot-2");
    let verdict = claim(&document, &asked(&twin));
    assert!(matches!(verdict, Verdict::Twin(holder) if holder.claim.host.as_str() == "node-a"));
}

#[test]
fn lowering_the_number_takes_nobodys_lock_away() {
    let document = granted(&granted(&with_max(2), "a"), "b");
    let lowered = set_max(&document, 1);
    assert_eq!(holders(&lowered), ["a", "b"]);
    let (one, _) = release(&lowered, &id("a"));
    assert_eq!(claim(&one, &asked(&claim_of("c"))), Verdict::Wait);
    let (none, _) = release(&one, &id("b"));
    assert_eq!(holders(&granted(&none, "c")), ["c"]);
}

#[test]
fn releasing_is_idempotent_and_for_oneself() {
    let document = granted(&granted(&with_max(2), "a"), "b");
    let (once, given) = release(&document, &id("a"));
    assert_eq!(given.unwrap().claim, claim_of("a"));
    assert_eq!(holders(&once), ["b"]);
    let (twice, given) = release(&once, &id("a"));
    assert_eq!((released(given.as_ref()), given), (Released::NotHeld, None));
    assert_eq!(twice, once);
}

#[test]
fn signs_of_life_differ_also_where_a_clock_stands() {
    let document = granted(&with_max(1), "a");
    let (once, standing) = alive(&document, &id("a"), at(100), 1).unwrap();
    assert_eq!(standing, Standing::Held);
    assert_ne!(once, document);
    assert_eq!(alive(&document, &id("b"), at(100), 1), None);
}

#[test]
fn enough_reports_stop_a_release_for_all() {
    let to = Version::new(1, 1, 0);
    let held = granted(&with_max(2), "a");
    let one = report(&held, &a_report("x"), &to).unwrap().unwrap();
    let claim_b = claim_of("b");
    let strict = claim(&one, &asked(&claim_b));
    assert!(matches!(strict, Verdict::Braked(b) if b.reports.len() == 1 && b.is_on()));
    let patient = Asked {
        threshold: 2,
        ..asked(&claim_b)
    };
    assert!(matches!(claim(&one, &patient), Verdict::Grant { .. }));
    assert_eq!(
        report(&one, &a_report("x"), &to).unwrap(),
        None,
        "told already"
    );
    let two = report(&one, &a_report("y"), &to).unwrap().unwrap();
    assert!(matches!(claim(&two, &patient), Verdict::Braked(_)));
    // Also for a holder that has not rebooted yet.
    assert!(matches!(
        claim(&two, &asked(&claim_of("a"))),
        Verdict::Braked(_)
    ));
    let (_, standing) = alive(&two, &id("a"), at(1), 2).unwrap();
    assert!(matches!(standing, Standing::Braked(_)));
    // Others may go on to other releases.
    let mut other = claim_of("b");
    other.to = Some(Version::new(1, 1, 1));
    assert!(matches!(claim(&two, &asked(&other)), Verdict::Grant { .. }));
    other.to = None;
    assert!(matches!(claim(&two, &asked(&other)), Verdict::Grant { .. }));
    let (lifted, reports) = lift(&two, &to).unwrap();
    assert_eq!(reports.reports.len(), 2);
    assert!(matches!(
        claim(&lifted, &asked(&claim_b)),
        Verdict::Grant { .. }
    ));
    assert_eq!(lift(&lifted, &to), None);
}

#[test]
fn reports_and_brakes_are_bounded() {
    let mut document = Document::default();
    for n in 0..MAX_REPORTS + 3 {
        let told = report(&document, &a_report(&n.to_string()), &Version::new(1, 0, 0));
        document = told.unwrap().unwrap_or(document);
    }
    assert_eq!(document.brakes[0].reports.len(), MAX_REPORTS);
    let most = brake(&document, &Version::new(1, 0, 0), u32::MAX).unwrap();
    assert!(most.is_on(), "no threshold is out of reach");
    for n in 0..MAX_BRAKES as u64 {
        let told = report(&document, &a_report("a"), &Version::new(2, n, 0));
        document = told.unwrap().unwrap();
    }
    assert_eq!(document.brakes.len(), MAX_BRAKES);
    assert_eq!(
        brake(&document, &Version::new(1, 0, 0), 1),
        None,
        "the lowest went"
    );
    let long = Version::parse(&format!("1.0.0-{}", "x".repeat(200))).unwrap();
    assert!(report(&document, &a_report("a"), &long).is_err());
}

#[test]
fn only_as_many_of_the_gone_expire_as_make_room() {
    let document = granted(&granted(&granted(&with_max(3), "a"), "b"), "c");
    let claim_d = claim_of("d");
    let gone = [id("c"), id("b"), id("x")];
    let asked = Asked {
        gone: &gone,
        ..asked(&claim_d)
    };
    let Verdict::Grant {
        document, expired, ..
    } = claim(&document, &asked)
    else {
        panic!("no room was made");
    };
    assert_eq!(holders(&document), ["a", "c", "d"]);
    assert_eq!(expired.len(), 1);
    assert_eq!(document.expired[0].id, id("b"));
    assert_eq!(document.expired[0].by, id("d"));
    // Where the gone are not enough, nobody goes.
    let lowered = set_max(&granted(&granted(&with_max(2), "a"), "b"), 1);
    let one = Asked {
        gone: &gone[1..2],
        ..asked
    };
    assert_eq!(claim(&lowered, &one), Verdict::Wait);
    // While there is room, nobody goes either.
    let roomy = set_max(&lowered, 5);
    let Verdict::Grant { expired, .. } = claim(&roomy, &one) else {
        panic!("there was room");
    };
    assert!(expired.is_empty());
}

#[test]
fn the_last_expired_are_remembered() {
    let mut document = granted(&with_max(1), "first");
    for n in 0..MAX_EXPIRED + 4 {
        let next = claim_of(&format!("h{n}"));
        let gone = [document.holders[0].claim.id.clone()];
        let asked = Asked {
            gone: &gone,
            ..asked(&next)
        };
        let Verdict::Grant {
            document: after, ..
        } = claim(&document, &asked)
        else {
            panic!("not granted");
        };
        document = after;
    }
    assert_eq!(document.expired.len(), MAX_EXPIRED);
    assert_eq!(document.expired.last().unwrap().by, id("h11"));
}

#[test]
fn a_classic_semaphore_is_taken_over_once() {
    let classic = Classic {
        max: 3,
        holders: vec![id("a"), id("old")],
    };
    let document = granted(&with_max(1), "a");
    let (after, taken) = migrate(&document, &classic, "/key", at(7)).unwrap();
    assert_eq!(after.max, 3);
    assert_eq!(holders(&after), ["a", "old"]);
    assert_eq!(taken, [id("old")]);
    assert_eq!(after.holder(&id("a")), document.holder(&id("a")));
    let again = migrate(&after, &classic, "/key", at(8)).unwrap_err();
    assert!(
        again.to_string().contains("/key was taken over already"),
        "{again}"
    );
}

/// Something that happens to a group.
#[derive(Debug, Clone)]
enum Event {
    Claim(u8, Place, Vec<u8>),
    Release(u8),
    Alive(u8),
    Max(u32),
    Report(u8, u64),
    Lift(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let host = 0..6u8;
    let place = prop_oneof![Just(Place::Front), Just(Place::Behind)];
    prop_oneof![
        6 => (host.clone(), place, vec(host.clone(), 0..2))
            .prop_map(|(h, place, gone)| Event::Claim(h, place, gone)),
        4 => host.clone().prop_map(Event::Release),
        1 => host.clone().prop_map(Event::Alive),
        1 => (0..4u32).prop_map(Event::Max),
        1 => (host, 1..3u64).prop_map(|(h, v)| Event::Report(h, v)),
        1 => (1..3u64).prop_map(Event::Lift),
    ]
}

fn named(host: u8) -> HolderId {
    id(&format!("h{host}"))
}

/// One event, and what must hold of it whatever was before.
fn play(document: &Document, event: &Event) -> Document {
    let before = document.holders.len();
    match event {
        Event::Claim(host, place, gone) => {
            let claim_of_host = claim_of(&format!("h{host}"));
            let gone: Vec<HolderId> = gone.iter().map(|h| named(*h)).collect();
            let asked = Asked {
                place: *place,
                gone: &gone,
                ..asked(&claim_of_host)
            };
            let Verdict::Grant {
                document: after,
                holder,
                expired,
            } = claim(document, &asked)
            else {
                return document.clone();
            };
            assert_eq!(after.holder(&holder.claim.id), Some(&*holder));
            if document.holder(&holder.claim.id).is_none() {
                assert!(after.holders.len() <= after.max as usize);
                assert_eq!(*place, Place::Front);
            } else {
                assert_eq!(after.holders.len(), before);
            }
            let kept = |h: &&Holder| !expired.contains(h);
            assert!(
                document
                    .holders
                    .iter()
                    .filter(kept)
                    .all(|h| { after.holder(&h.claim.id).is_some() })
            );
            assert!(expired.iter().all(|h| gone.contains(&h.claim.id)));
            after
        }
        Event::Release(host) => {
            let (after, holder) = release(document, &named(*host));
            assert_eq!(after.holders.len() + usize::from(holder.is_some()), before);
            after
        }
        Event::Alive(host) => match alive(document, &named(*host), at(5), 1) {
            Some((after, _)) => after,
            None => document.clone(),
        },
        Event::Max(max) => {
            let after = set_max(document, *max);
            assert_eq!(after.holders, document.holders);
            after
        }
        Event::Report(host, version) => {
            let version = Version::new(1, *version, 0);
            let told = report(document, &a_report(&format!("h{host}")), &version);
            told.unwrap().unwrap_or_else(|| document.clone())
        }
        Event::Lift(version) => match lift(document, &Version::new(1, *version, 0)) {
            Some((after, _)) => after,
            None => document.clone(),
        },
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_document_stays_one(events in vec(event(), 0..60)) {
        let mut document = Document::default();
        for event in &events {
            let after = play(&document, event);
            prop_assert_eq!(Document::parse(&after.print().unwrap()).unwrap(), after.clone());
            document = after;
        }
    }

    #[test]
    fn any_document_that_can_be_read_can_be_worked_with(
        document in crate::record::tests::document(),
        events in vec(event(), 1..10),
    ) {
        let mut document = document;
        for event in &events {
            document = play(&document, event);
        }
    }
}
