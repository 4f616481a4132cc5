//! What was measured, as tables.

use std::fmt::Write as _;

use anyhow::Result;
use benchmarks::aligned;
use serde_json::{Value, json};

use crate::cost::Cost;
use crate::peers::Whole;

/// An update between two releases.
#[derive(Debug, Clone)]
pub struct Pair {
    pub name: &'static str,
    /// Bytes of the new `/usr`.
    pub size: u64,
    /// Ours, without a patch.
    pub frames: Cost,
    /// Ours.
    pub patch: Cost,
    /// Bytes of the kernel image, which come on top of ours.
    pub boot: u64,
    pub casync: Cost,
    /// Computed.
    pub rauc: Cost,
    pub whole: Whole,
    /// Seconds of CPU time to copy the image.
    pub dd: f64,
}

/// A limit and what is held against it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    pub what: &'static str,
    pub measured: f64,
    pub at_most: f64,
}

impl Budget {
    /// Whether it is kept.
    pub fn met(&self) -> bool {
        self.measured <= self.at_most
    }
}

impl Pair {
    /// The limits for this pair.
    pub fn budgets(&self) -> Vec<Budget> {
        let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        let (frames, patch) = (self.frames.bytes, self.patch.bytes);
        let budget = |what, measured, at_most| Budget {
            what,
            measured,
            at_most,
        };
        let mut budgets = match self.name {
            "K" => vec![
                budget("no patch / whole, xz", ratio(frames, self.whole.xz), 0.70),
                budget("no patch / casync", ratio(frames, self.casync.bytes), 0.80),
                budget("with patch / whole, xz", ratio(patch, self.whole.xz), 0.33),
            ],
            _ => vec![budget(
                "no patch / whole, xz",
                ratio(frames, self.whole.xz),
                0.05,
            )],
        };
        budgets.push(budget(
            "no patch / RAUC adaptive",
            ratio(frames, self.rauc.bytes),
            0.90,
        ));
        for (what, cost) in [
            ("CPU time, no patch / dd", self.frames),
            ("CPU time, with patch / dd", self.patch),
        ] {
            let cpu = cost.cpu.unwrap_or_default() / self.dd.max(0.001);
            budgets.push(budget(what, cpu, 4.0));
        }
        let memory = [self.frames, self.patch].map(|cost| cost.memory_mib.unwrap_or_default());
        let memory = memory[0].max(memory[1]);
        budgets.push(budget("peak memory, MiB", memory, 64.0));
        budgets
    }

    fn rows(&self) -> [(&'static str, Cost); 6] {
        let whole = |bytes| Cost {
            bytes,
            ..Cost::default()
        };
        [
            ("Ballast, no patch", self.frames),
            ("Ballast, with patch", self.patch),
            ("casync", self.casync),
            ("RAUC adaptive (computed)", self.rauc),
            ("whole image, zstd -19", whole(self.whole.zstd)),
            ("whole image, xz -9", whole(self.whole.xz)),
        ]
    }
}

/// The tables of all pairs.
pub fn text(pairs: &[Pair]) -> String {
    let mut out = String::new();
    for pair in pairs {
        let _ = writeln!(
            out,
            "Pair {}, `/usr` of {:.1} MB:\n",
            pair.name,
            pair.size as f64 / 1e6
        );
        let head = [
            "",
            "fetched, MB",
            "of xz",
            "requests",
            "CPU, s",
            "peak, MiB",
            "wall, s",
        ];
        let mut cells = vec![head.map(String::from)];
        cells.extend(pair.rows().map(|(what, cost)| row(pair, what, &cost)));
        out += &aligned(&cells);
        let head = ["budget", "measured", "at most", ""].map(String::from);
        let budgets = pair.budgets();
        let rows = budgets.iter().map(|budget| {
            [
                budget.what.to_string(),
                format!("{:.2}", budget.measured),
                format!("{:.2}", budget.at_most),
                if budget.met() { "met" } else { "not met" }.to_string(),
            ]
        });
        let cells: Vec<_> = [head].into_iter().chain(rows).collect();
        let _ = writeln!(out, "\n{}", aligned(&cells));
        let _ = writeln!(
            out,
            "On top of ours come {:.1} MB of kernel image; copying `/usr` with `dd` takes \
             {:.2} s of CPU.\n",
            pair.boot as f64 / 1e6,
            pair.dd
        );
    }
    out
}

fn row(pair: &Pair, what: &str, cost: &Cost) -> [String; 7] {
    let seconds = |time: Option<f64>| time.map_or(String::new(), |time| format!("{time:.1}"));
    [
        what.to_string(),
        format!("{:.2}", cost.bytes as f64 / 1e6),
        format!("{:.3}", cost.bytes as f64 / pair.whole.xz.max(1) as f64),
        cost.requests.map_or(String::new(), |n| n.to_string()),
        seconds(cost.cpu),
        cost.memory_mib
            .map_or(String::new(), |memory| format!("{memory:.0}")),
        seconds(cost.wall),
    ]
}

/// The same for programs: bytes, seconds, MiB.
pub fn json(pairs: &[Pair]) -> Result<Value> {
    let pairs = pairs.iter().map(|pair| {
        let rows = pair
            .rows()
            .map(|(what, cost)| (what.to_string(), json!(cost)));
        let budgets = pair.budgets().into_iter().map(|budget| {
            json!({
                "what": budget.what, "measured": budget.measured, "at_most": budget.at_most,
                "met": budget.met(),
            })
        });
        json!({
            "pair": pair.name,
            "usr": pair.size,
            "boot": pair.boot,
            "dd_cpu": pair.dd,
            "costs": serde_json::Map::from_iter(rows),
            "budgets": budgets.collect::<Vec<_>>(),
        })
    });
    Ok(Value::Array(pairs.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(frames: u64) -> Pair {
        let cost = |bytes| Cost {
            bytes,
            requests: Some(7),
            cpu: Some(3.0),
            wall: Some(4.0),
            memory_mib: Some(30.0),
        };
        Pair {
            name: "K",
            size: 200_000_000,
            frames: cost(frames),
            patch: cost(15_000_000),
            boot: 9_000_000,
            casync: cost(44_000_000),
            rauc: Cost {
                bytes: 50_000_000,
                ..Cost::default()
            },
            whole: Whole {
                xz: 50_000_000,
                zstd: 53_000_000,
            },
            dd: 1.0,
        }
    }

    #[test]
    fn budgets_are_judged_by_what_was_measured() {
        let met = |pair: &Pair| -> Vec<bool> { pair.budgets().iter().map(Budget::met).collect() };
        assert_eq!(met(&example(35_000_000)), [true; 7]);
        assert_eq!(
            met(&example(36_000_000)),
            [false, false, true, true, true, true, true]
        );
        let small = Pair {
            name: "S",
            ..example(2_500_000)
        };
        assert_eq!(met(&small), [true; 5]);
    }

    #[test]
    fn what_was_not_measured_is_left_empty() {
        let text = text(&[example(35_000_000)]);
        assert!(
            text.contains("| Ballast, no patch        | 35.00       | 0.700"),
            "{text}"
        );
        let rauc = text.lines().find(|line| line.contains("RAUC adaptive (c"));
        let cells = rauc
            .unwrap()
            .split('|')
            .filter(|cell| cell.trim().is_empty());
        // Four that were not measured, and the two ends of the line.
        assert_eq!(cells.count(), 6, "{text}");
    }

    #[test]
    fn json_carries_every_cost_and_verdict() {
        let json = json(&[example(35_000_000)]).unwrap();
        assert_eq!(json[0]["costs"]["casync"]["bytes"], 44_000_000);
        assert_eq!(json[0]["budgets"][0]["met"], true);
    }
}
