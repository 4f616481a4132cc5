//! What was measured, as a table.

use std::fmt::Write as _;

use anyhow::Result;
use benchmarks::{Spread, aligned};

use crate::guest::{CPUS, MEMORY_MIB};
use crate::large;
use crate::measure::{CROWD, Measured, RECORDS, RUNNING};

/// Whose section of `docs/benchmarks.md` this is.
pub const COMMAND: &str = "cargo bench-rocket";

/// How values of a measurement are written.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Milliseconds,
    Seconds,
    Kibibytes,
}

impl Unit {
    fn show(self, spread: Spread) -> String {
        let Spread { median, min, max } = spread;
        let (divisor, digits, name) = match self {
            Self::Milliseconds => (1e3, 1, "ms"),
            Self::Seconds => (1e6, 2, "s"),
            Self::Kibibytes => (1024.0, 0, "KiB"),
        };
        let show = |value: f64| format!("{:.digits$}", value / divisor);
        match min == max {
            true => format!("{} {name}", show(median)),
            false => format!("{} {name} ({}–{})", show(median), show(min), show(max)),
        }
    }
}

/// One measurement: its name in the guest's lines and for people, and what ours may be at
/// most of theirs.
struct Group {
    what: &'static str,
    title: String,
    unit: Unit,
    ours: Option<&'static str>,
    budgets: &'static [(&'static str, f64)],
}

fn groups() -> [Group; 5] {
    let group = |what, title: String, unit| Group {
        what,
        title,
        unit,
        ours: None,
        budgets: &[],
    };
    let start = "start to exit of `true`".to_owned();
    let crowd = format!("{CROWD} at once, until the last has ended");
    let memory = "resident memory for each container that runs".to_owned();
    let fetch = format!("fetching and unpacking {} MB", large::BYTES / 1_000_000);
    let records = format!("{RECORDS} pods that have ended");
    [
        Group {
            ours: Some("rocket run"),
            budgets: &[("crun run", 1.2), ("podman run", 0.25)],
            ..group("start", start, Unit::Milliseconds)
        },
        Group {
            ours: Some("rocket run"),
            ..group("crowd", crowd, Unit::Seconds)
        },
        group("memory", memory, Unit::Kibibytes),
        Group {
            ours: Some("rocket fetch"),
            budgets: &[("podman pull", 1.0)],
            ..group("fetch", fetch, Unit::Seconds)
        },
        group("records", records, Unit::Seconds),
    ]
}

/// The table for a terminal, or a document: both read Markdown.
pub fn text(measured: &Measured) -> Result<String> {
    let head = ["what", "who", "median", "rocket / it", "at most", "budget"];
    let mut cells = vec![head.map(String::from)];
    for group in groups() {
        let mut title = group.title.clone();
        for who in measured.who(group.what) {
            cells.push(row(measured, &group, who, std::mem::take(&mut title))?);
        }
    }
    let mut out = aligned(&cells);
    writeln!(out, "\n{}", conditions(measured))?;
    Ok(out)
}

fn row(measured: &Measured, group: &Group, who: &str, title: String) -> Result<[String; 6]> {
    let spread = Spread::of(measured.of(group.what, who))?;
    let ours = group.ours.filter(|ours| *ours != who);
    let ratio = ours.map(|ours| measured.ratio(group.what, ours, who));
    let ratio = ratio.transpose()?;
    let budget = group.budgets.iter().find(|(theirs, _)| *theirs == who);
    let verdict = match (budget, ratio) {
        (Some((_, most)), Some(ratio)) if ratio.median <= *most => "met",
        (Some(_), Some(_)) => "not met",
        _ => "",
    };
    let shown = |ratio: Spread| match ratio.min == ratio.max {
        true => format!("{:.2}", ratio.median),
        false => format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
    };
    Ok([
        title,
        format!("`{who}`{}", failed(measured, group, who)),
        group.unit.show(spread),
        ratio.map_or_else(String::new, shown),
        budget.map_or_else(String::new, |(_, most)| format!("{most:.2}")),
        verdict.to_owned(),
    ])
}

/// How many of somebody's crowd failed, if any did.
fn failed(measured: &Measured, group: &Group, who: &str) -> String {
    let failed = measured.of("failed", who);
    match failed.first() {
        Some(failed) if group.what == "crowd" && *failed > 0.0 => {
            format!(", of which {failed} failed")
        }
        _ => String::new(),
    }
}

/// How the run was made.
fn conditions(measured: &Measured) -> String {
    format!(
        "One guest with {CPUS} CPUs and {MEMORY_MIB} MiB under {}; {} rounds of starts and {} of \
         fetches, in turn; medians, and smallest to largest in parentheses. Memory is that of \
         the engine's own processes with {RUNNING} containers. The large image is {:.0} MB as \
         it is fetched.",
        measured.engine,
        measured.rounds,
        measured.fetches,
        measured.large as f64 / 1e6,
    )
}

/// What stands between the markers.
pub fn section(measured: &Measured, date: &str) -> Result<String> {
    let command = format!(
        "{COMMAND} -- --rounds {} --fetches {} --write",
        measured.rounds, measured.fetches
    );
    Ok(format!(
        "Measured on {date} with `{command}`:\n\n{}",
        text(measured)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::parse;

    fn example(rocket: u64) -> Measured {
        let mut lines = String::new();
        for value in [9_000_000, rocket] {
            lines += &format!("start\trocket run\t{value}\nstart\tcrun run\t10000\n");
        }
        lines += "crowd\trocket run\t7\ncrowd\tpodman run\t7\n";
        lines += "failed\trocket run\t0\nfailed\tpodman run\t3\n";
        lines += "memory\trocket run --detach\t0\nrecords\trocket list\t1500000\n";
        Measured {
            rounds: 1,
            fetches: 1,
            large: 200_000_000,
            engine: "TCG".to_owned(),
            values: parse(&lines).unwrap(),
        }
    }

    #[test]
    fn the_first_start_does_not_count_and_budgets_are_judged() {
        let met = text(&example(12_000)).unwrap();
        assert!(met.contains("| 1.20        | 1.20    | met    |"), "{met}");
        assert!(met.contains("| 0 KiB "), "{met}");
        assert!(met.contains("| 1.50 s "), "{met}");
        let missed = text(&example(12_100)).unwrap();
        assert!(missed.contains("not met"), "{missed}");
        assert!(
            missed.contains("`podman run`, of which 3 failed |"),
            "{missed}"
        );
    }

    #[test]
    fn the_section_names_date_and_command() {
        let section = section(&example(1), "2025-01-31").unwrap();
        let first = "Measured on 2025-01-31 with `cargo bench-rocket -- --rounds 1 --fetches 1 \
             --write`:";
        assert_eq!(section.lines().next(), Some(first));
    }
}
