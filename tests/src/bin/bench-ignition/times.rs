//! How long stages took.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use benchmarks::Spread;
use serde::Serialize;

/// Stages that fetch and check the config.
pub const FETCH: [&str; 2] = ["fetch-offline", "fetch"];
/// The stage with something to do.
pub const FILES: [&str; 1] = ["files"];
/// Stages that find nothing to do.
pub const IDLE: [&str; 4] = ["kargs", "disks", "mount", "umount"];

/// Seconds of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Time {
    pub wall: f64,
    /// Of the program and its helpers, in user mode and in the kernel.
    pub cpu: f64,
}

/// One run of all stages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times(BTreeMap<String, Time>);

impl Times {
    /// Reads lines of stage, wall time, user time and system time, of all stages.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(|line| {
            let mut words = line.split_whitespace();
            let stage = words.next().context("an empty line")?;
            let mut number = || -> Result<f64> {
                let word = words.next().context("a number is missing")?;
                word.parse()
                    .with_context(|| format!("{word:?} is no number"))
            };
            let (wall, user, system) = (number()?, number()?, number()?);
            let cpu = user + system;
            Ok((stage.to_owned(), Time { wall, cpu }))
        });
        let times = Self(lines.collect::<Result<_>>()?);
        for stage in FETCH.iter().chain(&FILES).chain(&IDLE) {
            ensure!(times.0.contains_key(*stage), "no time of the stage {stage}");
        }
        Ok(times)
    }

    /// The sum of `stages`.
    pub fn sum(&self, stages: &[&str]) -> Time {
        let of = stages.iter().filter_map(|stage| self.0.get(*stage));
        of.fold(Time::default(), |sum, time| Time {
            wall: sum.wall + time.wall,
            cpu: sum.cpu + time.cpu,
        })
    }

    /// The sum of all stages.
    pub fn all(&self) -> Time {
        self.sum(&[&FETCH[..], &FILES, &IDLE].concat())
    }
}

/// Both programs' rounds on one medium: those at the same place followed each other.
#[derive(Debug, Clone, Serialize)]
pub struct Rounds {
    pub medium: &'static str,
    pub ours: Vec<Times>,
    pub theirs: Vec<Times>,
}

/// A number of both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    pub ours: Spread,
    pub theirs: Spread,
    /// Of the medians; smallest and largest are of rounds that followed each other.
    pub ratio: Spread,
}

impl Rounds {
    /// Compares what `of` takes from every round.
    pub fn compare(&self, of: impl Fn(&Times) -> f64) -> Result<Compared> {
        let ours = Spread::of(self.ours.iter().map(&of))?;
        let theirs = Spread::of(self.theirs.iter().map(&of))?;
        // What was too short for the clock is not divided by.
        let ratio = |ours: f64, theirs: f64| ours / theirs.max(0.001);
        let pairs = self.ours.iter().zip(&self.theirs);
        let rounds = Spread::of(pairs.map(|(a, b)| ratio(of(a), of(b))))?;
        Ok(Compared {
            ours,
            theirs,
            ratio: Spread {
                median: ratio(ours.median, theirs.median),
                ..rounds
            },
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every stage takes `seconds`, and half of it in CPU time.
    pub fn example(seconds: f64) -> Times {
        let stages = FETCH.iter().chain(&FILES).chain(&IDLE);
        let quarter = seconds / 4.0;
        let lines = stages.map(|stage| format!("{stage} {seconds} {quarter} {quarter}\n"));
        Times::parse(&lines.collect::<String>()).unwrap()
    }

    #[test]
    fn times_are_read_and_added_up() {
        let times = example(0.5);
        assert_eq!(
            times.sum(&FETCH),
            Time {
                wall: 1.0,
                cpu: 0.5
            }
        );
        assert_eq!(
            times.all(),
            Time {
                wall: 3.5,
                cpu: 1.75
            }
        );
    }

    #[test]
    fn times_that_are_not_whole_are_refused() {
        let good = "fetch-offline 1 1 1\nfetch 1 1 1\nkargs 1 1 1\ndisks 1 1 1\nmount 1 1 1\n\
                    files 1 1 1\numount 1 1 1\n";
        assert!(Times::parse(good).is_ok());
        for (wrong, reason) in [
            (good.replace("files 1 1 1\n", ""), "the stage files"),
            (good.replace("mount 1 1 1", "mount 1 1"), "missing"),
            (good.replace("mount 1 1 1", "mount 1 x 1"), "\"x\""),
            (format!("bash: warning\n{good}"), "\"warning\""),
        ] {
            let error = format!("{:#}", Times::parse(&wrong).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn ratios_are_of_medians_and_their_range_of_rounds() {
        let rounds = Rounds {
            medium: "memory",
            ours: [1.0, 2.0, 3.0].map(example).to_vec(),
            theirs: [4.0, 4.0, 4.0].map(example).to_vec(),
        };
        let found = rounds
            .compare(|times| times.sum(&FILES).wall)
            .unwrap()
            .ratio;
        assert_eq!((found.median, found.min, found.max), (0.5, 0.25, 0.75));
    }
}
