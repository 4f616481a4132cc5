//! The lock's promises, in a world where everything that can go wrong does.

use std::time::Duration;

use locksmith::simulation::{Defect, Outcome, Setup, Violation, run};

const EXPIRE_AFTER: Duration = Duration::from_secs(900);

/// The kinds of worlds, in turn.
fn setup(seed: u64, steps: u64) -> Setup {
    let hosts = 2 + (seed % 6) as usize;
    Setup {
        seed,
        hosts,
        max: 1 + (seed / 6 % 3) as u32,
        steps,
        expire_after: (seed % 4 == 3).then_some(EXPIRE_AFTER),
        operator: seed % 3 == 1,
        dead: seed % 5 == 2,
        defect: None,
    }
}

fn add(sum: &mut Outcome, one: Outcome) {
    sum.steps += one.steps;
    sum.grants += one.grants;
    sum.crashes += one.crashes;
    sum.lost += one.lost;
    sum.expired += one.expired;
    sum.braked += one.braked;
}

#[test]
fn a_million_steps_keep_every_promise() {
    let mut sum = Outcome::default();
    for seed in 0..480 {
        match run(&setup(seed, 5_000)) {
            Ok(outcome) => add(&mut sum, outcome),
            Err(violation) => panic!("{violation}"),
        }
    }
    println!("{sum:?}");
    assert!(sum.steps >= 1_000_000, "{sum:?}");
    // What did not happen was not tested.
    assert!(sum.grants > 5_000 && sum.crashes > 5_000, "{sum:?}");
    assert!(
        sum.lost > 5_000 && sum.expired > 20 && sum.braked > 100,
        "{sum:?}"
    );
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..6 {
        assert_eq!(run(&setup(seed, 3_000)), run(&setup(seed, 3_000)));
    }
}

/// The first violation that a defect leads to.
fn caught(defect: Defect) -> Option<Violation> {
    let flawed = |seed| Setup {
        defect: Some(defect),
        ..setup(seed, 4_000)
    };
    (0..960).find_map(|seed| run(&flawed(seed)).err())
}

#[test]
fn every_defect_of_the_lock_is_noticed() {
    let mut missed = Vec::new();
    for defect in Defect::all() {
        match caught(defect) {
            Some(violation) => println!("{defect:?}: {violation}"),
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
