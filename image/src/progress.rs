//! Says which stage a build is in and how long each took, on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Numbered stages of one piece of work.
pub struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    began: Instant,
}

impl Progress {
    /// A piece of work called `what` that has `total` stages.
    pub fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            done: 0,
            began: Instant::now(),
        }
    }

    /// Runs one stage, printing its name before and its duration after.
    pub fn stage<T, E>(&mut self, name: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.done += 1;
        let head = format!("{}: [{}/{}] {name}", self.what, self.done, self.total);
        // A terminal gets one line per stage, completed in place; a log gets
        // the start as well, because the end may be minutes away.
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            eprint!("{head} …");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{head}");
        }
        let began = Instant::now();
        let result = run();
        let took = began.elapsed().as_secs_f64();
        let verdict = if result.is_ok() { "" } else { " FAILED" };
        let clear = if terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{head}:{verdict} {took:.1} s");
        result
    }

    /// Prints the closing line with the time of the whole.
    pub fn finish(self, result: &str) {
        let took = self.began.elapsed().as_secs_f64();
        eprintln!("{}: {result} ({took:.1} s)", self.what);
    }
}

/// Counts the bytes of a stage that takes long. A terminal sees them run, a log gets one
/// line in the end.
pub struct Meter {
    what: String,
    total: u64,
    done: u64,
    began: Instant,
    shown: Instant,
}

impl Meter {
    /// Nothing of `total` bytes of `what` is done.
    pub fn new(what: &str, total: u64) -> Self {
        let now = Instant::now();
        Self {
            what: what.to_string(),
            total,
            done: 0,
            began: now,
            shown: now,
        }
    }

    /// That many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let terminal = std::io::stderr().is_terminal();
        let line = line(&self.what, self.done, self.total, self.began.elapsed());
        if terminal && self.shown.elapsed() > Duration::from_millis(200) {
            self.shown = Instant::now();
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else if self.done == self.total {
            eprintln!("{}{line}", if terminal { "\r\x1b[K" } else { "" });
        }
    }
}

/// `usr.zst: 62.5 of 250.0 MB, 25 %, 12.5 MB/s`.
fn line(what: &str, done: u64, total: u64, took: Duration) -> String {
    let mega = |bytes: u64| bytes as f64 / 1e6;
    let percent = 100 * done / total.max(1);
    let rate = mega(done) / took.as_secs_f64().max(1e-3);
    format!(
        "{what}: {:.1} of {:.1} MB, {percent} %, {rate:.1} MB/s",
        mega(done),
        mega(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_says_bytes_share_and_rate() {
        let line = line("usr.zst", 62_500_000, 250_000_000, Duration::from_secs(5));
        assert_eq!(line, "usr.zst: 62.5 of 250.0 MB, 25 %, 12.5 MB/s");
    }
}
