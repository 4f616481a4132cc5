//! One line per event, for the journal and for people.
//!
//! Lines go to standard error (the journal, when systemd runs a stage) or,
//! with `--log-to-stdout`, to standard output.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT: AtomicBool = AtomicBool::new(false);

/// Syslog priority of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
