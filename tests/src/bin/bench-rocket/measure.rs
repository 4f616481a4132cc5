//! What was measured.

use anyhow::{Context as _, Result, ensure};
use benchmarks::Spread;
use serde_json::{Value, json};

/// Containers that are started at once.
pub const CROWD: u32 = 100;

/// Containers that run while their engine's memory is looked at.
pub const RUNNING: u32 = 10;

/// Pods that are listed and collected.
pub const RECORDS: u32 = 10_000;

/// One value that the guest measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which measurement.
    pub what: String,
    /// Of whom.
    pub who: String,
    /// Microseconds or bytes.
    pub value: u64,
}

/// Everything one run found out.
pub struct Measured {
    /// Starts of each engine that count.
    pub rounds: u32,
    /// Fetches of each.
    pub fetches: u32,
    /// Bytes that are fetched of the large image.
    pub large: u64,
    /// How the guest's CPUs are run.
    pub engine: String,
    /// All values, in the order in which they were measured.
    pub values: Vec<Sample>,
}

/// The lines of the script.
pub fn parse(lines: &str) -> Result<Vec<Sample>> {
    lines.lines().map(sample).collect()
}

fn sample(line: &str) -> Result<Sample> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().unwrap_or_default().to_owned();
    let (what, who, value) = (next(), next(), next());
    let value = value
        .parse()
        .with_context(|| format!("the guest measured {line:?}"))?;
    ensure!(
        !what.is_empty() && !who.is_empty() && fields.next().is_none(),
        "the guest measured {line:?}"
    );
    Ok(Sample { what, who, value })
}

impl Measured {
    /// All that was measured of somebody, without the first start of each, after which
    /// caches are warm.
    pub fn of(&self, what: &str, who: &str) -> Vec<f64> {
        let same = |sample: &&Sample| sample.what == what && sample.who == who;
        let values = self.values.iter().filter(same).map(|s| s.value as f64);
        values.skip(usize::from(what == "start")).collect()
    }

    /// Who was measured.
    pub fn who(&self, what: &str) -> Vec<&str> {
        let mut who: Vec<&str> = Vec::new();
        for sample in self.values.iter().filter(|sample| sample.what == what) {
            if !who.contains(&&*sample.who) {
                who.push(&sample.who);
            }
        }
        who
    }

    /// Ours divided by theirs: of the medians, and of what followed each other.
    pub fn ratio(&self, what: &str, ours: &str, theirs: &str) -> Result<Spread> {
        let [ours, theirs] = [ours, theirs].map(|who| self.of(what, who));
        let pairs = ours.iter().zip(&theirs).map(|(a, b)| a / b);
        let spread = Spread::of(pairs)?;
        let median = Spread::of(ours.iter().copied())?.median / Spread::of(theirs)?.median;
        Ok(Spread { median, ..spread })
    }

    /// For programs: every value in microseconds or bytes.
    pub fn json(&self) -> Value {
        let values = self.values.iter();
        let values = values.map(|s| json!({"what": s.what, "who": s.who, "value": s.value}));
        json!({
            "engine": self.engine,
            "rounds": self.rounds,
            "fetches": self.fetches,
            "large": self.large,
            "values": values.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_samples_or_are_refused() {
        let samples = parse("start\trocket run\t1500\ncrowd\tcrun run\t7\n").unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].who, "rocket run");
        for bad in ["start\trocket\t", "start\trocket\t1\t2", "\tx\t1", "x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
