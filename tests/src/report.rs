//! What came out, and how people are told.

use std::path::Path;
use std::time::Duration;

use anyhow::Error;

/// Lines of the console shown after a failure.
const CONSOLE_LINES: usize = 40;

/// How one step or scenario ended.
pub struct Outcome {
    /// Why it failed, if it did.
    pub error: Option<Error>,
    /// How long it took.
    pub took: Duration,
}

/// All outcomes of a run.
#[derive(Default)]
pub struct Report(Vec<(String, Outcome)>);

impl Report {
    /// Adds an outcome and prints its line.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        let word = match outcome.error {
            None => "passed",
            Some(_) => "FAILED",
        };
        println!("e2e: {word} {name} ({:.0} s)", outcome.took.as_secs_f64());
        if let Some(error) = &outcome.error {
            println!("     {}", format!("{error:#}").replace('\n', "\n     "));
        }
        self.0.push((name.to_string(), outcome));
    }

    /// Prints the summary; true if nothing failed. Its last line is the result.
    pub fn finish(&self) -> bool {
        let failed: Vec<_> = self.0.iter().filter(|(_, o)| o.error.is_some()).collect();
        println!("\ne2e: summary");
        for (name, outcome) in &self.0 {
            let mark = outcome.error.as_ref().map_or("passed", |_| "FAILED");
            println!("{mark} {:6.0} s  {name}", outcome.took.as_secs_f64());
        }
        println!("{}", result(self.0.len() - failed.len(), failed.len()));
        failed.is_empty() && !self.0.is_empty()
    }
}

fn result(passed: usize, failed: usize) -> String {
    format!("{passed} passed, {failed} failed")
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

    fn outcome(error: Option<&'static str>) -> Outcome {
        Outcome {
            error: error.map(Error::msg),
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn one_failure_fails_the_run_and_so_does_nothing_at_all() {
        let mut report = Report::default();
        assert!(!report.finish());
        report.add("a", outcome(None));
        assert!(report.finish());
        report.add("b", outcome(Some("no")));
        assert!(!report.finish());
        assert_eq!(result(1, 1), "1 passed, 1 failed");
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
