//! Units that failed, through `systemctl`, whose `show` is made for programs and which
//! reaches systemd also when the message bus is down.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::settings::UnitPattern;

/// How long to wait before units are looked at again that have not settled.
const SETTLE: Duration = Duration::from_millis(500);

/// How many of a unit's last lines are part of the reason.
const LINES: &str = "5";

/// What the checks ask of systemd.
pub trait Units {
    /// `systemctl show` of the properties that [`parse_show`] reads.
    fn show(&self, patterns: &[&str]) -> Result<String, String>;

    /// A unit's last lines in this boot's journal.
    fn journal(&self, unit: &str) -> Vec<String>;

    /// What waits to be started: names of units.
    fn jobs(&self) -> Vec<String>;
}

/// A unit's state, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Its name.
    pub id: String,
    /// `LoadState`.
    pub load: String,
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// `Result`.
    pub result: String,
    /// A job waits for it.
    pub has_job: bool,
}

/// A unit that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its name.
    pub unit: String,
    /// What is wrong with it.
    pub what: String,
}

impl UnitState {
    /// What is wrong with it, if something is.
    fn problem(&self) -> Option<String> {
        match (self.load.as_str(), self.active.as_str()) {
            ("error" | "bad-setting", _) => Some(format!("cannot be loaded ({})", self.load)),
            (_, "failed") => Some(format!("failed ({})", self.result)),
            // A service that ends again and again never has the time to be failed.
            (_, "activating") if self.sub.starts_with("auto-restart") => {
                Some(format!("ended and is started again ({})", self.result))
            }
            _ => None,
        }
    }

    /// Its start is under way.
    fn is_settling(&self) -> bool {
        self.has_job || matches!(self.active.as_str(), "activating" | "reloading")
    }
}

/// Reads what `systemctl show` printed: `Key=value` lines, an empty line between units.
pub fn parse_show(text: &str) -> Vec<UnitState> {
    text.split("\n\n")
        .filter_map(|block| {
            let keys: BTreeMap<_, _> = block
                .lines()
                .filter_map(|line| line.split_once('='))
                .collect();
            let get = |key| keys.get(key).map_or(String::new(), ToString::to_string);
            let state = UnitState {
                id: get("Id"),
                load: get("LoadState"),
                active: get("ActiveState"),
                sub: get("SubState"),
                result: get("Result"),
                has_job: keys.get("Job").is_some_and(|job| !matches!(*job, "" | "0")),
            };
            (!state.id.is_empty()).then_some(state)
        })
        .collect()
}

/// Units of `states` that are not as they should be.
pub fn bad_units(states: &[UnitState]) -> Vec<Bad> {
    let bad = |state: &UnitState| {
        state.problem().map(|what| Bad {
            unit: state.id.clone(),
            what,
        })
    };
    states.iter().filter_map(bad).collect()
}

/// An operator masked the unit. Where systemd does not answer, nobody did.
pub fn is_masked(unit: &str, units: &impl Units) -> bool {
    let shown = units.show(&[unit]).unwrap_or_default();
    parse_show(&shown)
        .iter()
        .any(|state| state.load == "masked")
}

/// Fails with the first unit that failed, and its last lines. Waits for units whose
/// start is under way.
pub(super) fn check(patterns: &[UnitPattern], units: &impl Units) -> Result<(), String> {
    if patterns.is_empty() {
        return Ok(());
    }
    let patterns: Vec<_> = patterns.iter().map(UnitPattern::as_str).collect();
    loop {
        let states = parse_show(&units.show(&patterns)?);
        if let Some(bad) = bad_units(&states).first() {
            return Err(describe(bad, &units.journal(&bad.unit)));
        }
        if !states.iter().any(UnitState::is_settling) {
            return Ok(());
        }
        std::thread::sleep(SETTLE);
    }
}

fn describe(bad: &Bad, lines: &[String]) -> String {
    let mut text = format!("unit {} {}", bad.unit, bad.what);
    if !lines.is_empty() {
        text.push_str("; its last lines: ");
        text.push_str(&lines.join(" | "));
    }
    text
}

/// What keeps a boot from completing: failed units with the last lines of the first, and
/// what still waits.
pub fn pending_work(units: &impl Units) -> String {
    let states = units.show(&["*"]).map(|text| parse_show(&text));
    let bad = bad_units(&states.unwrap_or_default());
    let mut parts = Vec::new();
    if let Some(first) = bad.first() {
        parts.push(describe(first, &units.journal(&first.unit)));
    }
    parts.extend(bad.iter().skip(1).map(|b| format!("{} {}", b.unit, b.what)));
    let jobs = units.jobs();
    if !jobs.is_empty() {
        parts.push(format!("still waiting: {}", jobs.join(", ")));
    }
    if parts.is_empty() {
        parts.push("no unit has failed, and none waits".into());
    }
    parts.join("; ")
}

/// The host's own systemd.
#[derive(Debug, Clone, Copy)]
pub struct Systemctl;

impl Units for Systemctl {
    fn show(&self, patterns: &[&str]) -> Result<String, String> {
        let properties = "--property=Id,LoadState,ActiveState,SubState,Result,Job";
        let mut arguments = vec!["show", properties, "--"];
        arguments.extend(patterns);
        output("systemctl", &arguments)
    }

    fn journal(&self, unit: &str) -> Vec<String> {
        let arguments = [
            "--boot",
            "--unit",
            unit,
            "--lines",
            LINES,
            "--output=cat",
            "--no-pager",
            "--quiet",
        ];
        let text = output("journalctl", &arguments).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }

    fn jobs(&self) -> Vec<String> {
        let arguments = ["list-jobs", "--no-legend", "--plain", "--full"];
        let text = output("systemctl", &arguments).unwrap_or_default();
        // "JOB UNIT TYPE STATE"
        let unit = |line: &str| line.split_whitespace().nth(1).map(str::to_string);
        text.lines().filter_map(unit).collect()
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let failed = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
