//! What came out, and how people are told.

use std::path::Path;
use std::time::Duration;

use anyhow::Error;

/// Lines of the console shown after a failure.
const CONSOLE_LINES: usize = 40;

/// How one step or scenario ended.
pub enum End {
    /// What it claims holds.
    Passed,
    /// It does not, or nobody knows, for this reason.
    Failed(Error),
    /// This host cannot show it, for this reason. That is not a pass.
    Skipped(String),
}

impl From<Result<(), Error>> for End {
    fn from(result: Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(error),
        }
    }
}

impl End {
    /// As people are told.
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    fn tell_why(&self) {
        if let Some(why) = self.why() {
            println!("     {}", why.replace('\n', "\n     "));
        }
    }

    fn why(&self) -> Option<String> {
        match self {
            Self::Passed => None,
            Self::Failed(error) => Some(format!("{error:#}")),
            Self::Skipped(why) => Some(why.clone()),
        }
    }
}

/// The same, and how long it took.
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub took: Duration,
}

/// All outcomes of a run.
#[derive(Default)]
pub struct Report(Vec<(String, Outcome)>);

impl Report {
    /// Adds an outcome and prints its line.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        let word = outcome.end.word();
        println!("e2e: {word} {name} ({:.0} s)", outcome.took.as_secs_f64());
        outcome.end.tell_why();
        self.0.push((name.to_string(), outcome));
    }

    /// Prints the summary, then once more why what did not pass did not: whoever sees only the end
    /// of a log sees that. True if nothing failed and something passed. The last line is the
    /// result.
    pub fn finish(&self) -> bool {
        println!("\ne2e: summary");
        for (name, Outcome { end, took }) in &self.0 {
            println!("{:7} {:6.0} s  {name}", end.word(), took.as_secs_f64());
        }
        for (name, Outcome { end, .. }) in &self.0 {
            if !matches!(end, End::Passed) {
                println!("\n{} {name}", end.word());
                end.tell_why();
            }
        }
        println!("{}", self.result());
        self.count("FAILED") == 0 && self.count("passed") > 0
    }

    fn count(&self, word: &str) -> usize {
        let ends = self.0.iter().map(|(_, outcome)| outcome.end.word());
        ends.filter(|end| *end == word).count()
    }

    fn result(&self) -> String {
        let [passed, failed, skipped] = ["passed", "FAILED", "SKIPPED"].map(|w| self.count(w));
        match skipped {
            0 => format!("{passed} passed, {failed} failed"),
            _ => format!("{passed} passed, {failed} failed, {skipped} skipped"),
        }
    }
}

/// Prints the end of a console log and where it is.
pub fn show_console(log: &Path) {
    let Ok(bytes) = std::fs::read(log) else {
        println!("     (no console log: nothing was booted)");
        return;
    };
    println!("     {} ends with", log.display());
    for line in tail(&String::from_utf8_lossy(&bytes)) {
        println!("     | {line}");
    }
}

fn tail(text: &str) -> Vec<String> {
    let lines: Vec<String> = text
        .split('\n')
        .map(qemu::stages::plain)
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End) -> Outcome {
        Outcome {
            end,
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn one_failure_fails_the_run_and_so_does_nothing_at_all() {
        let mut report = Report::default();
        assert!(!report.finish());
        report.add("a", outcome(End::Passed));
        assert!(report.finish());
        assert_eq!(report.result(), "1 passed, 0 failed");
        report.add("b", outcome(End::Failed(Error::msg("no"))));
        assert!(!report.finish());
        assert_eq!(report.result(), "1 passed, 1 failed");
    }

    #[test]
    fn what_was_skipped_did_not_pass() {
        let mut report = Report::default();
        report.add("a", outcome(End::Skipped("not here".to_owned())));
        assert!(!report.finish(), "nothing was shown");
        report.add("b", outcome(End::Passed));
        assert!(report.finish());
        assert_eq!(report.result(), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn the_end_of_a_console_is_readable() {
        let mut text: String = (0..100).map(|n| format!("line {n}\r\n\r\n")).collect();
        text += "\u{1b}[1mlogin: ";
        let lines = tail(&text);
        assert_eq!(lines.len(), CONSOLE_LINES);
        assert_eq!(lines.last().unwrap(), "login: ");
        assert_eq!(lines[0], "line 61");
    }
}
