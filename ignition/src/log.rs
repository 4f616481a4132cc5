//! One line per event, for the journal and for people.
//!
//! Lines go to standard error (the journal, when systemd runs a stage) or,
//! with `--log-to-stdout`, to standard output. They are remembered, too, for
//! the report; there are no secrets in them.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use serde::{Deserialize, Serialize};

static STDOUT: AtomicBool = AtomicBool::new(false);

/// How many lines are remembered, and how much of each, in bytes.
const LINES: usize = 2000;
const LENGTH: usize = 4096;

static CAPTURED: Mutex<(Vec<Line>, u64)> = Mutex::new((Vec::new(), 0));

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// What happened; a message may have several lines.
    pub text: String,
}

/// Syslog priority of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Provisioning stops.
    Error = 3,
    /// Something in the config has no effect, or is likely a mistake.
    Warning = 4,
    /// A change that was made, or a decision that was taken.
    Info = 6,
}

/// Sends all later lines to standard output instead of standard error.
pub fn to_stdout() {
    STDOUT.store(true, Ordering::Relaxed);
}

/// Writes one line at info.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes one line at warning.
pub fn warn(message: &str) {
    write(Level::Warning, &format!("warning: {message}"));
}

/// Writes `message` at `level`; every line of it carries the program's name.
pub fn write(level: Level, message: &str) {
    capture(level, message);
    let text: String = message
        .lines()
        .map(|line| format!("{}ignition: {line}\n", prefix(level)))
        .collect();
    // A log that cannot be written has nobody to be reported to.
    let _ = if STDOUT.load(Ordering::Relaxed) {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        std::io::stderr().write_all(text.as_bytes())
    };
}

/// All events so far, and how many more there were than are remembered.
pub fn captured() -> (Vec<Line>, u64) {
    let captured = CAPTURED.lock();
    captured.map_or_else(|_| (Vec::new(), 0), |captured| captured.clone())
}

/// The last line, an error, is worth more than one of thousands before it.
fn capture(level: Level, message: &str) {
    let Ok(mut captured) = CAPTURED.lock() else {
        return;
    };
    let (lines, left_out) = &mut *captured;
    if lines.len() >= LINES {
        lines.pop();
        *left_out += 1;
    }
    let end = message.floor_char_boundary(LENGTH);
    lines.push(Line {
        level,
        text: message[..end].to_owned(),
    });
}

/// The journal reads a line's priority from this prefix (sd-daemon(3)).
fn prefix(level: Level) -> String {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    let journal = *JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some());
    if journal && !STDOUT.load(Ordering::Relaxed) {
        format!("<{}>", level as u8)
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one test that fills the memory: all tests share it.
    #[test]
    fn what_is_remembered_is_bounded_and_has_the_last_line() {
        for number in 0..LINES + 5 {
            capture(Level::Info, &format!("{number}{}", "ä".repeat(LENGTH)));
        }
        capture(Level::Error, "last");
        let (lines, left_out) = captured();
        assert_eq!(lines.len(), LINES);
        assert!(left_out >= 6);
        assert!(lines.iter().all(|line| line.text.len() <= LENGTH));
        assert!(lines.iter().any(|line| line.text == "last"));
    }
}
