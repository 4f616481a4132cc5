//! What was measured, as a table.

use anyhow::Result;
use benchmarks::{Spread, aligned};
use serde_json::{Value, json};

use crate::go_ignition::RELEASE;
use crate::times::{Compared, FETCH, FILES, IDLE, Rounds, Times};
use crate::workload;

const MIB: f64 = 1024.0 * 1024.0;

/// Everything one run found out.
pub struct Measured {
    /// By medium; what a first boot writes to comes first.
    pub rounds: Vec<Rounds>,
    /// Bytes of our program and theirs.
    pub sizes: [u64; 2],
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub what: String,
    pub ours: String,
    pub theirs: String,
    pub ratio: String,
    pub budget: Option<Budget>,
}

/// A limit and what is held against it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    pub at_most: f64,
    pub unit: &'static str,
    pub measured: f64,
}

impl Budget {
    /// Whether it is kept.
    pub fn met(&self) -> bool {
        self.measured <= self.at_most
    }

    /// At most half of what theirs takes.
    fn half(ratio: Spread) -> Self {
        Self {
            at_most: 0.5,
            unit: "of theirs",
            measured: ratio.median,
        }
    }
}

/// All rows of a run.
pub fn rows(measured: &Measured) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for rounds in &measured.rounds {
        let medium = rounds.medium;
        let wall = |stages: &'static [&'static str]| move |times: &Times| times.sum(stages).wall;
        let all = rounds.compare(|times| times.all().wall)?;
        rows.push(judged(format!("all stages, {medium}"), all));
        rows.push(plain(
            "– fetch-offline, fetch",
            rounds.compare(wall(&FETCH))?,
        ));
        rows.push(plain("– files", rounds.compare(wall(&FILES))?));
        rows.push(plain(
            "– the others, which have nothing to do",
            rounds.compare(wall(&IDLE))?,
        ));
        let cpu = rounds.compare(|times| times.all().cpu)?;
        rows.push(judged(format!("CPU time, {medium}"), cpu));
    }
    let [ours, theirs] = measured.sizes.map(|bytes| bytes as f64 / MIB);
    rows.push(Row {
        what: "program".to_string(),
        ours: format!("{ours:.1} MiB"),
        theirs: format!("{theirs:.1} MiB"),
        ratio: format!("{:.2}", ours / theirs),
        budget: Some(Budget {
            at_most: 6.0,
            unit: "MiB",
            measured: ours,
        }),
    });
    Ok(rows)
}

fn judged(what: String, compared: Compared) -> Row {
    let Spread { median, min, max } = compared.ratio;
    Row {
        ratio: format!("{median:.2} ({min:.2}–{max:.2})"),
        budget: Some(Budget::half(compared.ratio)),
        ..plain(&what, compared)
    }
}

fn plain(what: &str, compared: Compared) -> Row {
    let ms = |s: Spread| {
        let [median, min, max] = [s.median, s.min, s.max].map(|seconds| seconds * 1e3);
        format!("{median:.0} ms ({min:.0}–{max:.0})")
    };
    Row {
        what: what.to_string(),
        ours: ms(compared.ours),
        theirs: ms(compared.theirs),
        ratio: format!("{:.2}", compared.ratio.median),
        budget: None,
    }
}

/// The table for a terminal, or a document: both read Markdown.
pub fn text(measured: &Measured, rows: &[Row]) -> String {
    let theirs = format!("Go Ignition {RELEASE}");
    let head = ["what", "Ballast", &theirs, "ratio", "at most", "budget"];
    let mut cells = vec![head.map(String::from)];
    cells.extend(rows.iter().map(|row| {
        let Row {
            what,
            ours,
            theirs,
            ratio,
            budget,
        } = row.clone();
        let limit = budget.map(|budget| format!("{} {}", budget.at_most, budget.unit));
        let verdict = budget.map_or("", |budget| if budget.met() { "met" } else { "not met" });
        let limit = limit.unwrap_or_default();
        [what, ours, theirs, ratio, limit, verdict.to_string()]
    }));
    let rounds = measured
        .rounds
        .first()
        .map_or(0, |rounds| rounds.ours.len());
    format!(
        "{}\n{} files; {rounds} rounds of each program in turn; medians, and smallest to largest \
         in parentheses.\n",
        aligned(&cells),
        workload::FILES
    )
}

/// The same for programs: every round, in seconds; sizes in bytes.
pub fn json(measured: &Measured, rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let budget = row.budget.map(|budget| {
            json!({
                "at_most": budget.at_most, "unit": budget.unit, "measured": budget.measured,
                "met": budget.met(),
            })
        });
        json!({
            "what": row.what, "ballast": row.ours, "go_ignition": row.theirs,
            "ratio": row.ratio, "budget": budget,
        })
    };
    let [ours, theirs] = measured.sizes;
    json!({
        "rounds": measured.rounds,
        "sizes": {"ballast": ours, "go_ignition": theirs},
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::times::tests::example;

    fn measured(ours: f64, size: u64) -> Measured {
        let rounds = |medium| Rounds {
            medium,
            ours: vec![example(ours); 3],
            theirs: vec![example(1.0); 3],
        };
        Measured {
            rounds: vec![rounds("on a disk"), rounds("in memory")],
            sizes: [size, 22 << 20],
        }
    }

    #[test]
    fn budgets_are_judged_by_what_was_measured() {
        let met = |ours, size| -> Vec<bool> {
            let rows = rows(&measured(ours, size)).unwrap();
            let budgets = rows.iter().filter_map(|row| row.budget);
            budgets.map(|budget| budget.met()).collect()
        };
        assert_eq!(met(0.5, 6 << 20), [true; 5]);
        assert_eq!(met(0.51, (6 << 20) + 1), [false; 5]);
    }

    #[test]
    fn the_table_has_a_line_for_every_row() {
        let measured = measured(0.25, 5 << 20);
        let rows = rows(&measured).unwrap();
        let text = text(&measured, &rows);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), rows.len() + 2);
        assert!(text.contains("| 1750 ms (1750–1750) | 7000 ms"), "{text}");
        assert!(text.contains("| 5.0 MiB "), "{text}");
        assert!(text.contains("200 files; 3 rounds"), "{text}");
    }

    #[test]
    fn json_carries_every_round_and_verdict() {
        let measured = measured(0.25, 5 << 20);
        let json = json(&measured, &rows(&measured).unwrap());
        assert_eq!(json["rounds"][1]["theirs"][2]["files"]["wall"], 1.0);
        assert_eq!(json["rows"][0]["budget"]["met"], true);
        assert_eq!(json["sizes"]["ballast"], 5 << 20);
    }
}
