//! `updatectl config`: the policy's files, read like the daemon reads them.

use daemon::policy::{self, Entry, Policy, Problem, Roots, Schema, Severity, reboot};
use serde_json::{Value, json};

use super::{ClientError, Engine, Output};
use crate::settings;

/// All sections that daemons of this release read.
fn schema() -> Schema {
    reboot::schema(settings::schema())
}

/// Fails if anything is wrong, also what a daemon would only warn about.
pub fn check(roots: &Roots, output: &mut Output<'_>) -> Result<(), ClientError> {
    let (policy, mut problems) = policy::load(roots, &schema());
    problems.append(&mut reboot::complaints(&policy));
    let value: Vec<_> = problems.iter().map(problem_json).collect();
    output.print::<Engine>(&json!({ "problems": value }), || {
        problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect()
    })?;
    match problems.len() {
        0 => Ok(()),
        count => Err(ClientError::Problems(count)),
    }
}

/// Every value that counts, and where it was set.
pub fn show(roots: &Roots, output: &mut Output<'_>) -> Result<(), ClientError> {
    let (policy, mut problems) = policy::load(roots, &schema());
    problems.append(&mut reboot::complaints(&policy));
    let entries = Policy::entries(&policy, &schema());
    let value: Vec<_> = entries.iter().map(entry_json).collect();
    output.print::<Engine>(&value, || entries.iter().map(entry_line).collect())?;
    for problem in &problems {
        // What cannot be told was still shown.
        let _ = writeln!(output.talk, "warning: {problem}");
    }
    Ok(())
}

fn entry_line(entry: &Entry) -> String {
    let origin = match &entry.origin {
        Some(origin) => origin.to_string(),
        None => "default".into(),
    };
    format!("{} = {}  # {origin}\n", entry.key, entry.value)
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "key": entry.key,
        "value": entry.value,
        "file": entry.origin.as_ref().map(|origin| &origin.file),
        "line": entry.origin.as_ref().map(|origin| origin.line),
    })
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "severity": match problem.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "message": problem.message,
    })
}
