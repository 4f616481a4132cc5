//! Measurements as rows that people and programs read.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use benchmarks::{Spread, aligned};
use serde_json::{Value, json};

use crate::measure::{BootTimes, Boots, Measurements, Sizes, ratio};
use crate::size::COMPRESSION;

const MIB: f64 = 1024.0 * 1024.0;
const MB: f64 = 1e6;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Ours.
    pub ours: String,
    /// The baseline's, or nothing.
    pub baseline: String,
    /// Ours divided by the baseline's.
    pub ratio: String,
    /// What it is held against, if anything.
    pub budget: Option<Budget>,
}

/// A limit and the number it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The limit as people write it.
    pub text: &'static str,
    /// The limit.
    pub at_most: f64,
    /// What was measured, in the same unit.
    pub measured: f64,
}

impl Budget {
    /// Whether it is kept.
    pub fn met(&self) -> bool {
        self.measured <= self.at_most
    }

    fn verdict(&self) -> &'static str {
        if self.met() { "met" } else { "not met" }
    }
}

/// Picks one of a boot's numbers.
type Part = fn(&BootTimes) -> f64;

/// All rows of a run.
pub fn rows(measured: &Measurements) -> Result<Vec<Row>> {
    let [ours, baseline, more @ ..] = measured.boots.as_slice() else {
        anyhow::bail!("fewer than two images were booted");
    };
    let mut rows = boot_rows(ours, baseline)?;
    for other in more {
        rows.push(complete(
            ours,
            other,
            format!("the same, against {}", other.name),
        )?);
    }
    rows.extend(size_rows(&measured.sizes));
    rows.extend(memory_rows(ours, baseline)?);
    Ok(rows)
}

fn boot_rows(ours: &Boots, baseline: &Boots) -> Result<Vec<Row>> {
    let what = "kernel start to boot-complete.target, later boots".to_string();
    let mut whole = complete(ours, baseline, what)?;
    whole.budget = Some(Budget {
        text: "ratio 0.6",
        at_most: 0.6,
        measured: ratio(ours, baseline)?.median,
    });
    let mut rows = vec![whole];
    let parts: [(&str, Part); 3] = [
        ("– of that: kernel, until systemd runs", |t| t.kernel),
        ("– of that: initrd", |t| t.initrd),
        ("– of that: host", BootTimes::host),
    ];
    for (what, of) in parts {
        let (a, b) = (ours.later(of)?, baseline.later(of)?);
        rows.push(Row {
            what: what.to_string(),
            ours: seconds(a),
            baseline: seconds(b),
            ratio: format!("{:.2}", a.median / b.median),
            budget: None,
        });
    }
    let (a, b) = (ours.first.complete, baseline.first.complete);
    rows.push(Row {
        what: "first boot (ours formats root and provisions)".to_string(),
        ours: format!("{a:.1} s"),
        baseline: format!("{b:.1} s"),
        ratio: format!("{:.2}", a / b),
        budget: None,
    });
    Ok(rows)
}

fn complete(ours: &Boots, other: &Boots, what: String) -> Result<Row> {
    let ratio = ratio(ours, other)?;
    Ok(Row {
        what,
        ours: seconds(ours.later(|t| t.complete)?),
        baseline: seconds(other.later(|t| t.complete)?),
        ratio: format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
        budget: None,
    })
}

fn size_rows(sizes: &Sizes) -> Vec<Row> {
    let mib = |bytes: u64| bytes as f64 / MIB;
    let pair = |what: &str, [ours, theirs]: [u64; 2], limit: Option<(&'static str, f64)>| Row {
        what: what.to_string(),
        ours: format!("{:.1} MiB", mib(ours)),
        baseline: format!("{:.1} MiB", mib(theirs)),
        ratio: format!("{:.2}", ours as f64 / theirs as f64),
        budget: limit.map(|(text, at_most)| Budget {
            text,
            at_most,
            measured: mib(ours),
        }),
    };
    let single = |what: String, ours: String, budget: Budget| Row {
        what,
        ours,
        baseline: String::new(),
        ratio: String::new(),
        budget: Some(budget),
    };
    let disk = sizes.disk_compressed as f64 / MB;
    vec![
        single(
            format!("disk image, zstd {}", COMPRESSION[..2].join(" ")),
            format!("{disk:.1} MB"),
            Budget {
                text: "90 MB",
                at_most: 90.0,
                measured: disk,
            },
        ),
        pair("unified kernel image", sizes.uki, Some(("32 MiB", 32.0))),
        pair("– of that: initrd", sizes.initrd, None),
        single(
            "`/usr` image".to_string(),
            format!("{:.1} MiB", mib(sizes.usr)),
            Budget {
                text: "250 MiB",
                at_most: 250.0,
                measured: mib(sizes.usr),
            },
        ),
    ]
}

fn memory_rows(ours: &Boots, baseline: &Boots) -> Result<Vec<Row>> {
    let [a, b] = [ours, baseline].map(|boots| boots.later(|t| t.memory_mib));
    let (a, b) = (a?, b?);
    let mib = |s: Spread| format!("{:.0} MiB ({:.0}–{:.0})", s.median, s.min, s.max);
    let daemons: Vec<f64> = ours.later.iter().filter_map(|t| t.daemons_mib).collect();
    let (text, measured) = match daemons.is_empty() {
        true => ("none resident".to_string(), 0.0),
        false => {
            let spread = Spread::of(daemons)?;
            (format!("{:.1} MiB", spread.median), spread.median)
        }
    };
    Ok(vec![
        Row {
            what: "memory in use after boot".to_string(),
            ours: mib(a),
            baseline: mib(b),
            ratio: format!("{:.2}", a.median / b.median),
            budget: None,
        },
        Row {
            what: "– of that: Ballast's own daemons".to_string(),
            ours: text,
            baseline: String::new(),
            ratio: String::new(),
            budget: Some(Budget {
                text: "24 MiB",
                at_most: 24.0,
                measured,
            }),
        },
    ])
}

fn seconds(s: Spread) -> String {
    format!("{:.1} s ({:.1}–{:.1})", s.median, s.min, s.max)
}

/// How the run was made, in one sentence.
pub fn conditions(measured: &Measurements) -> Result<String> {
    let names: Vec<&str> = measured.boots.iter().map(|b| b.name.as_str()).collect();
    Ok(format!(
        "Guests with {} CPUs and {} MiB under {}; {} later boots of each image ({}) in turn; \
         medians, and smallest to largest in parentheses.",
        measured.cpus,
        measured.memory_mib,
        measured.engine,
        measured.rounds,
        names.join(", ")
    ))
}

/// The table for a terminal, or a document: both read Markdown.
pub fn text(measured: &Measurements, rows: &[Row]) -> Result<String> {
    let baseline = measured.boots.get(1).context("there is no baseline")?;
    let head = [
        "what",
        "Ballast",
        &baseline.name,
        "ratio",
        "at most",
        "budget",
    ];
    let mut cells = vec![head.map(String::from)];
    cells.extend(rows.iter().map(|row| {
        let budget = row.budget.as_ref();
        [
            row.what.clone(),
            row.ours.clone(),
            row.baseline.clone(),
            row.ratio.clone(),
            budget.map_or(String::new(), |b| b.text.to_string()),
            budget.map_or(String::new(), |b| b.verdict().to_string()),
        ]
    }));
    let mut out = aligned(&cells);
    writeln!(out, "\n{}", conditions(measured)?)?;
    for boots in &measured.boots {
        let mut failed: Vec<&str> = Vec::new();
        for times in boots.later.iter().chain([&boots.first]) {
            failed.extend(times.failed_units.iter().map(String::as_str));
        }
        failed.sort_unstable();
        failed.dedup();
        if !failed.is_empty() {
            writeln!(
                out,
                "Failed units in {}: {}.",
                boots.name,
                failed.join(", ")
            )?;
        }
    }
    Ok(out)
}

/// The same for programs. Times in seconds, memory in MiB, sizes in bytes.
pub fn json(measured: &Measurements, rows: &[Row]) -> Value {
    let boot = |t: &BootTimes| {
        json!({
            "complete": t.complete, "kernel": t.kernel, "initrd": t.initrd, "host": t.host(),
            "memory_mib": t.memory_mib, "daemons_mib": t.daemons_mib,
            "failed_units": t.failed_units,
        })
    };
    let boots = |b: &Boots| {
        let later: Vec<Value> = b.later.iter().map(boot).collect();
        json!({ "name": b.name, "first": boot(&b.first), "later": later })
    };
    let row = |r: &Row| {
        let budget = r.budget.as_ref().map(|b| {
            json!({ "text": b.text, "at_most": b.at_most, "measured": b.measured, "met": b.met() })
        });
        json!({
            "what": r.what, "ballast": r.ours, "baseline": r.baseline, "ratio": r.ratio,
            "budget": budget,
        })
    };
    let sizes = &measured.sizes;
    json!({
        "engine": measured.engine,
        "cpus": measured.cpus,
        "memory_mib": measured.memory_mib,
        "boots": measured.boots.iter().map(boots).collect::<Vec<_>>(),
        "sizes": {
            "disk_zstd": sizes.disk_compressed,
            "zstd": COMPRESSION.join(" "),
            "uki": sizes.uki[0], "uki_baseline": sizes.uki[1],
            "initrd": sizes.initrd[0], "initrd_baseline": sizes.initrd[1],
            "usr": sizes.usr,
        },
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Ours boots in `ours` seconds, the baseline in 40.
    pub fn example(ours: f64) -> Measurements {
        let times = |complete| BootTimes {
            complete,
            kernel: 2.0,
            initrd: 5.0,
            memory_mib: 100.0,
            daemons_mib: None,
            failed_units: Vec::new(),
        };
        let boots = |name: &str, complete| Boots {
            name: name.to_string(),
            first: times(complete + 10.0),
            later: vec![times(complete); 3],
        };
        Measurements {
            engine: "TCG".to_string(),
            cpus: 2,
            memory_mib: 2048,
            rounds: 3,
            sizes: Sizes {
                disk_compressed: 91_000_000,
                uki: [32 << 20, 64 << 20],
                initrd: [8 << 20, 56 << 20],
                usr: 200 << 20,
            },
            boots: vec![boots("ballast", ours), boots("mkosi-default", 40.0)],
        }
    }

    #[test]
    fn budgets_are_judged_by_what_was_measured() {
        for (ours, met) in [(24.0, true), (24.1, false)] {
            let rows = rows(&example(ours)).unwrap();
            let verdicts: Vec<bool> = rows
                .iter()
                .filter_map(|row| Some(row.budget.as_ref()?.met()))
                .collect();
            // boot, disk (a megabyte too large), UKI (exactly), /usr, daemons
            assert_eq!(verdicts, [met, false, true, true, true]);
        }
    }

    #[test]
    fn the_table_has_one_line_a_row_and_names_failed_units() {
        let mut measured = example(20.0);
        measured.boots[0].later[1].failed_units = vec!["x.service".to_string()];
        let rows = rows(&measured).unwrap();
        let text = text(&measured, &rows).unwrap();
        let lines: Vec<&str> = text.lines().take_while(|l| l.starts_with('|')).collect();
        assert_eq!(lines.len(), rows.len() + 2);
        assert!(
            lines
                .iter()
                .all(|l| l.chars().count() == lines[0].chars().count())
        );
        assert!(text.contains("0.50 (0.50–0.50)"), "{text}");
        assert!(
            text.contains("Failed units in ballast: x.service."),
            "{text}"
        );
    }

    #[test]
    fn json_carries_every_boot_and_verdict() {
        let measured = example(20.0);
        let json = json(&measured, &rows(&measured).unwrap());
        assert_eq!(json["boots"][1]["later"][2]["complete"], 40.0);
        assert_eq!(json["rows"][0]["budget"]["met"], true);
        assert_eq!(json["sizes"]["usr"], 200 << 20);
    }
}
