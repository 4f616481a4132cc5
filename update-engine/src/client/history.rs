//! `updatectl history` as text.

use super::status::bytes;
use crate::state::{Outcome, Record};

/// One line per attempt, the newest first, and a second one where there is a reason.
pub fn render(records: &[Record]) -> String {
    if records.is_empty() {
        return "no attempt was made yet\n".into();
    }
    let mut text = String::new();
    for record in records.iter().rev() {
        text.push_str(&line(record));
        if let Some(reason) = &record.reason {
            text.push_str(&format!("    {}\n", reason.replace('\n', "\n    ")));
        }
    }
    text
}

fn line(record: &Record) -> String {
    let reuse = record.reused * 100 / record.total.max(1);
    format!(
        "{:.0}  {} -> {}  slot {}  {:<11}  {} fetched in {} requests, {reuse} % reused\n",
        record.started,
        record.from,
        record.to,
        record.slot,
        outcome(record.outcome),
        bytes(record.received),
        record.requests,
    )
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "running",
        Outcome::Armed => "armed",
        Outcome::Trial => "on trial",
        Outcome::Blessed => "blessed",
        Outcome::RolledBack => "rolled back",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}
