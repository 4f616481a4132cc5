//! Says which stage a build is in and how long each took, on standard error.

use std::io::{IsTerminal, Write};
use std::time::Instant;

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
