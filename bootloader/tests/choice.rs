//! The choice of a slot and the walk along it, over every state of two slots.
//!
//! The oracle here is the specification written as predicates over the two states;
//! it shares no code with the implementation, and reads the bits on its own.

#![allow(clippy::unwrap_used)]

use bootloader::attempt::{self, Machine, Problem, Start};
use bootloader::choose::{Reason, choose};
use bootloader::gpt::Guid;
use bootloader::slot::{BootPartition, Slot, SlotBits, SlotTable};

type State = (u8, u8, bool);

fn states() -> impl Iterator<Item = State> + Clone {
    (0..16).flat_map(|p| (0..16).flat_map(move |t| [(p, t, false), (p, t, true)]))
}

fn table(a: State, b: State) -> SlotTable {
    let boot = |slot, (priority, tries, successful), number| BootPartition {
        slot,
        bits: SlotBits {
            priority,
            tries,
            successful,
        },
        number,
        guid: Guid::ZERO,
        first_lba: 2048,
        block_count: 8,
    };
    SlotTable::new(boot(Slot::A, a, 2), boot(Slot::B, b, 5))
}

fn eligible((priority, tries, successful): State) -> bool {
    priority != 0 && (successful || tries != 0)
}

/// "Takes the highest priority; ties: successful first, then `a`", and without any
/// eligible one: "successful first". Is `a` started before `b`?
fn a_goes_first(a: State, b: State) -> bool {
    match (eligible(a), eligible(b)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) if a.0 != b.0 => a.0 > b.0,
        (true, true) => a.2 || !b.2,
        (false, false) if a.2 != b.2 => a.2,
        (false, false) => a.0 >= b.0,
    }
}

/// The reason that goes with starting `this` before `that`.
fn reason_of_first(this: State, that: State) -> Reason {
    if !eligible(this) {
        Reason::LastResort
    } else if !eligible(that) && that.0 != 0 && that.0 >= this.0 {
        Reason::Fallback
    } else {
        Reason::Normal
    }
}

#[test]
fn every_pair_of_states_is_chosen_as_specified() {
    let mut pairs = 0;
    for a in states() {
        for b in states() {
            let choice = choose(&table(a, b));
            let (first, this, that) = if a_goes_first(a, b) {
                (Slot::A, a, b)
            } else {
                (Slot::B, b, a)
            };
            let what = format!("a {a:?} b {b:?}");
            assert_eq!(choice.first.slot, first, "{what}");
            assert_eq!(choice.first.reason, reason_of_first(this, that), "{what}");
            assert_eq!(choice.next.slot, first.other(), "{what}");
            let expected = if eligible(that) {
                Reason::Fallback
            } else {
                Reason::LastResort
            };
            assert_eq!(choice.next.reason, expected, "{what}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 512 * 512);
}

#[test]
fn the_states_of_a_hosts_life_are_chosen_as_meant() {
    let first = |a, b| {
        let choice = choose(&table(a, b));
        (choice.first.slot, choice.first.reason)
    };
    let fresh = (1, 0, true);
    let empty = (0, 0, false);
    assert_eq!(
        first(fresh, empty),
        (Slot::A, Reason::Normal),
        "fresh image"
    );
    assert_eq!(
        first(fresh, (2, 1, false)),
        (Slot::B, Reason::Normal),
        "trial"
    );
    assert_eq!(
        first(fresh, (2, 0, false)),
        (Slot::A, Reason::Fallback),
        "trial used up"
    );
    assert_eq!(
        first(fresh, (2, 0, true)),
        (Slot::B, Reason::Normal),
        "blessed"
    );
    assert_eq!(
        first(empty, empty),
        (Slot::A, Reason::LastResort),
        "nothing left"
    );
    assert_eq!(
        first((3, 1, false), (3, 0, true)),
        (Slot::B, Reason::Normal),
        "tie"
    );
    assert_eq!(
        first((3, 0, true), (3, 0, true)),
        (Slot::A, Reason::Normal),
        "full tie"
    );
}

#[test]
fn bits_keep_their_neighbours() {
    for (priority, tries, successful) in states() {
        let bits = SlotBits {
            priority,
            tries,
            successful,
        };
        for others in [0, u64::MAX, 0xfe00_0000_0000_0007, 0x0123_4567_89ab_cdef] {
            let attributes = bits.into_attributes(others);
            assert_eq!(SlotBits::from_attributes(attributes), bits);
            assert_eq!((attributes ^ others) & 0xfe00_ffff_ffff_ffff, 0);
            assert_eq!(attributes >> 48 & 15, u64::from(priority));
            assert_eq!(attributes >> 52 & 15, u64::from(tries));
            assert_eq!(attributes >> 56 & 1, u64::from(successful));
        }
    }
}

/// "priority above the active one, tries 1 by default, successful 0".
#[test]
fn an_armed_slot_is_next_until_it_used_its_try_and_then_the_other_one_is() {
    for active in states().filter(|active| eligible(*active)) {
        for passive in states() {
            let mut slots = table(active, passive);
            slots.disarm(Slot::B);
            assert_eq!(choose(&slots).first.slot, Slot::A);
            slots.arm(Slot::B, 1);
            let armed = choose(&slots).first;
            assert_eq!((armed.slot, armed.reason), (Slot::B, Reason::Normal));
            assert!(slots.take_try(Slot::B));
            let after = choose(&slots).first;
            assert_eq!((after.slot, after.reason), (Slot::A, Reason::Fallback));
            slots.bless(Slot::B);
            let blessed = choose(&slots).first;
            assert_eq!((blessed.slot, blessed.reason), (Slot::B, Reason::Normal));
            assert!(!slots.take_try(Slot::B), "a blessed slot needs no tries");
        }
    }
}

#[test]
fn blessing_a_last_resort_makes_it_eligible() {
    let mut slots = table((0, 3, false), (0, 0, false));
    slots.bless(Slot::A);
    assert_eq!(
        slots.bits(Slot::A),
        SlotBits {
            priority: 1,
            tries: 0,
            successful: true
        }
    );
}

/// What a machine does with one slot.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    DoesNotLoad,
    DoesNotStart,
    Runs,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Saved(u8, u8),
    Loaded(Slot),
    Started(Slot, Reason, u8),
}

struct Rehearsal {
    fates: [Fate; 2],
    saves: bool,
    running: bool,
    events: Vec<Event>,
    problems: Vec<Problem<&'static str>>,
}

impl Rehearsal {
    fn fate(&self, slot: Slot) -> Fate {
        self.fates[usize::from(slot == Slot::B)]
    }
}

impl Machine for Rehearsal {
    type Image = Slot;
    type Error = &'static str;

    fn save(&mut self, table: &SlotTable) -> Result<(), &'static str> {
        if self.running {
            return Ok(());
        }
        if !self.saves {
            return Err("read-only");
        }
        let tries = |slot| table.bits(slot).tries;
        self.events
            .push(Event::Saved(tries(Slot::A), tries(Slot::B)));
        Ok(())
    }

    fn load(&mut self, boot: &BootPartition) -> Result<Slot, &'static str> {
        if self.running {
            return Err("something runs already");
        }
        self.events.push(Event::Loaded(boot.slot));
        match self.fate(boot.slot) {
            Fate::DoesNotLoad => Err("corrupt"),
            _ => Ok(boot.slot),
        }
    }

    fn start(&mut self, slot: Slot, start: Start) -> &'static str {
        let reason = start.candidate.reason;
        self.events
            .push(Event::Started(slot, reason, start.tries_left));
        // A real machine never comes back from here: record nothing more.
        self.running = self.fate(slot) == Fate::Runs;
        "returned"
    }

    fn report(&mut self, problem: Problem<&'static str>) {
        if !self.running {
            self.problems.push(problem);
        }
    }
}

fn rehearse(a: State, b: State, fates: [Fate; 2], saves: bool) -> Rehearsal {
    let mut machine = Rehearsal {
        fates,
        saves,
        running: false,
        events: Vec::new(),
        problems: Vec::new(),
    };
    attempt::run(&mut machine, &mut table(a, b));
    machine
}

/// Fewer tries than all sixteen: the walk only asks whether some are left.
fn few_states() -> impl Iterator<Item = State> + Clone {
    states().filter(|(priority, tries, _)| *priority < 3 && *tries < 3)
}

#[test]
fn every_walk_keeps_the_rules() {
    let fates = [Fate::DoesNotLoad, Fate::DoesNotStart, Fate::Runs];
    for (a, b) in few_states().flat_map(|a| few_states().map(move |b| (a, b))) {
        for fate_a in fates {
            for fate_b in fates {
                for saves in [true, false] {
                    check_walk([a, b], [fate_a, fate_b], saves);
                }
            }
        }
    }
}

fn check_walk(state: [State; 2], fates: [Fate; 2], saves: bool) {
    let index = |slot| usize::from(slot == Slot::B);
    let on_trial = |slot| eligible(state[index(slot)]) && !state[index(slot)].2;
    let walk = rehearse(state[0], state[1], fates, saves);
    let loads: Vec<Slot> = walk
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Loaded(slot) => Some(*slot),
            _ => None,
        })
        .collect();

    // Each slot at most once, a trial only with its try recorded before.
    assert!(loads.len() <= 2 && loads.windows(2).all(|pair| pair[0] != pair[1]));
    for slot in &loads {
        assert!(saves || !on_trial(*slot), "{state:?}: unrecorded trial");
        let at = walk
            .events
            .iter()
            .position(|e| *e == Event::Loaded(*slot))
            .unwrap();
        let recorded = walk.events[..at]
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Saved(a, b) => Some([*a, *b][index(*slot)]),
                _ => None,
            });
        if on_trial(*slot) {
            assert_eq!(recorded, Some(state[index(*slot)].1 - 1), "{state:?}");
        }
    }
    // Something runs exactly if a slot that may be tried would run.
    let may_run = |slot: Slot| fates[index(slot)] == Fate::Runs && (saves || !on_trial(slot));
    assert_eq!(
        walk.running,
        Slot::ALL.into_iter().any(may_run),
        "{state:?}"
    );
    // What failed is recorded as failed, before the next one is loaded or at the end.
    for slot in loads
        .iter()
        .filter(|slot| fates[index(**slot)] != Fate::Runs)
    {
        let left = walk.events.iter().rev().find_map(|event| match event {
            Event::Saved(a, b) => Some([*a, *b][index(*slot)]),
            _ => None,
        });
        assert!(
            !saves || left.unwrap_or(state[index(*slot)].1) == 0,
            "{state:?}"
        );
        let told = |p: &Problem<_>| matches!(p, Problem::NotLoaded(s, _) | Problem::NotStarted(s, _) if s == slot);
        assert!(walk.problems.iter().any(told), "{state:?}: silent failure");
    }
}

#[test]
fn a_corrupt_trial_falls_back_at_once() {
    let walk = rehearse(
        (1, 0, true),
        (2, 3, false),
        [Fate::Runs, Fate::DoesNotLoad],
        true,
    );
    let expected = [
        Event::Saved(0, 2),
        Event::Loaded(Slot::B),
        Event::Saved(0, 0),
        Event::Loaded(Slot::A),
        Event::Started(Slot::A, Reason::Fallback, 0),
    ];
    assert_eq!(walk.events, expected);
    assert_eq!(walk.problems, [Problem::NotLoaded(Slot::B, "corrupt")]);
}

#[test]
fn an_unrecorded_try_is_not_taken() {
    let walk = rehearse((1, 0, true), (2, 1, false), [Fate::Runs, Fate::Runs], false);
    assert_eq!(
        walk.events,
        [
            Event::Loaded(Slot::A),
            Event::Started(Slot::A, Reason::Fallback, 0)
        ]
    );
    assert_eq!(walk.problems, [Problem::TryNotSaved(Slot::B, "read-only")]);
}

#[test]
fn the_last_resort_says_so_and_takes_nothing() {
    let walk = rehearse(
        (0, 0, false),
        (0, 2, true),
        [Fate::Runs, Fate::DoesNotStart],
        true,
    );
    let expected = [
        Event::Loaded(Slot::B),
        Event::Started(Slot::B, Reason::LastResort, 2),
        Event::Saved(0, 0),
        Event::Loaded(Slot::A),
        Event::Started(Slot::A, Reason::LastResort, 0),
    ];
    assert_eq!(walk.events, expected);
    assert_eq!(walk.problems[0], Problem::NoneEligible);
}
