//! How far fetching is, on standard error: a line per layer, or on a terminal a bar.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::digest::Digest;

/// How often a bar is drawn at most.
const REDRAW: Duration = Duration::from_millis(100);

/// Characters of a bar.
const BAR: usize = 30;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// Nothing.
    #[default]
    Nothing,
    /// A line when a layer is done.
    Lines,
    /// A line that changes.
    Bar,
}

impl Show {
    /// A bar on a terminal, else lines.
    pub fn for_stderr() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Bar,
            false => Self::Lines,
        }
    }
}

/// How far fetching one image is. Any number of threads may tell it.
#[derive(Debug)]
pub struct Progress {
    show: Show,
    total: AtomicU64,
    done: AtomicU64,
    start: Instant,
    drawn: Mutex<Option<Instant>>,
}

impl Progress {
    /// Of so many bytes.
    pub fn new(show: Show, total: u64) -> Self {
        Self {
            show,
            total: AtomicU64::new(total),
            done: AtomicU64::new(0),
            start: Instant::now(),
            drawn: Mutex::new(None),
        }
    }

    /// So many more bytes are here.
    pub fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.show != Show::Bar {
            return;
        }
        // Whoever draws now draws for all.
        let Ok(mut drawn) = self.drawn.try_lock() else {
            return;
        };
        if drawn.is_none_or(|last| last.elapsed() >= REDRAW) {
            *drawn = Some(Instant::now());
            let total = self.total.load(Ordering::Relaxed);
            say(&format!("\r{}", bar(done, total, self.start.elapsed())));
        }
    }

    /// Bytes that have to come once more.
    pub fn subtract(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A layer is unpacked, or was there.
    pub fn layer(&self, digest: &Digest, size: u64, was_there: bool) {
        let state = if was_there { "already there" } else { "done" };
        let hex = digest.hex();
        let line = format!("layer {}  {:>10}  {state}", &hex[..12], bytes(size));
        match self.show {
            Show::Nothing => {}
            Show::Lines => say(&format!("{line}\n")),
            // The bar is on this line.
            Show::Bar => say(&format!("\r\x1b[K{line}\n")),
        }
    }

    /// Something that whoever waits should know.
    pub fn note(&self, text: &str) {
        match self.show {
            Show::Nothing => {}
            Show::Lines => say(&format!("{text}\n")),
            Show::Bar => say(&format!("\r\x1b[K{text}\n")),
        }
    }

    /// All is done.
    pub fn finish(&self) {
        if self.show == Show::Bar {
            say("\r\x1b[K");
        }
    }
}

/// What cannot be shown is no reason to stop.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

fn bar(done: u64, total: u64, elapsed: Duration) -> String {
    let share = done.min(total) * BAR as u64 / total.max(1);
    let filled = usize::try_from(share).unwrap_or(BAR).min(BAR);
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "[{}{}] {} of {}, {}/s\x1b[K",
        "=".repeat(filled),
        " ".repeat(BAR - filled),
        bytes(done),
        bytes(total),
        bytes(rate as u64)
    )
}

/// A number of bytes as people read it, in powers of 1000.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_with_the_unit_that_fits() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(2_500_000_000), "2.5 GB");
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn a_bar_is_never_longer_than_it_may_be() {
        for (done, total) in [(0, 0), (5, 10), (20, 10)] {
            let line = bar(done, total, Duration::ZERO);
            assert!(line.find(']') == Some(BAR + 1), "{line}");
        }
    }
}
