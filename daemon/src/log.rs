//! One line per event, for the journal.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;

/// Syslog priority of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Something failed.
pub fn error(message: impl Display) {
    write(Level::Error, &message.to_string());
}

/// Something is likely a mistake, or has no effect.
pub fn warn(message: impl Display) {
    write(Level::Warning, &message.to_string());
}

/// A change of state.
pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string());
}

/// Everything else.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

fn write(level: Level, message: &str) {
    let text: String = message
        .lines()
        .map(|line| format!("{}{line}\n", prefix(level)))
        .collect();
    // A log that cannot be written has nobody to be reported to.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The journal reads a line's priority from this prefix (sd-daemon(3)).
fn prefix(level: Level) -> String {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    if *JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some()) {
        format!("<{}>", level as u8)
    } else {
        String::new()
    }
}

/// An error with what caused it, in one line: `reading x: no such file`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A transparent error repeats its source.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
