//! The guest's serial console: kept, written to a log, and waited on.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::stages::{self, Reached};

/// Lines shown when a wait fails.
const TAIL: usize = 20;

/// What a wait on the console came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The line that was waited for, without control sequences.
    Line(String),
    /// The guest said that its boot cannot succeed.
    Failed(String),
    /// QEMU ended.
    Ended,
    /// The deadline passed.
    Late,
}

/// What a wait looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Finished lines.
    Lines,
    /// Also the unfinished one: for prompts, and to act at once.
    Unfinished,
}

/// Whether a wait ends early when the guest gives up booting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// [`Waited::Failed`]: for boots that must succeed.
    Stop,
    /// Goes on: for scenarios in which the other slot takes over.
    GoOn,
}

/// Called with every chunk that the guest writes.
pub type Tee = Box<dyn FnMut(&[u8]) + Send>;

struct Line {
    at: Duration,
    text: String,
}

#[derive(Default)]
struct State {
    /// Complete lines, without control sequences.
    lines: Vec<Line>,
    /// Bytes after the last newline.
    partial: Vec<u8>,
    /// The first line that the next wait looks at.
    next: usize,
    /// First line since the machine was last switched on.
    boot_line: usize,
    boot_start: Option<Instant>,
    running: bool,
}

/// The console of one machine, over any number of power cycles.
#[derive(Default)]
pub struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

impl Console {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads `source` to its end in a thread of its own, into `log` and `tee`.
    pub(crate) fn follow(
        self: &Arc<Self>,
        mut source: impl Read + Send + 'static,
        mut log: File,
        mut tee: Option<Tee>,
    ) -> JoinHandle<()> {
        {
            let mut state = self.lock();
            state.running = true;
            state.boot_line = state.lines.len();
            state.partial.clear();
            state.boot_start = Some(Instant::now());
        }
        let console = Arc::clone(self);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = source.read(&mut chunk) {
                let chunk = chunk.get(..n).unwrap_or_default();
                console.take(chunk);
                // A full disk must not stop the guest.
                let _ = log.write_all(chunk);
                if let Some(tee) = &mut tee {
                    tee(chunk);
                }
            }
            console.lock().running = false;
            console.changed.notify_all();
        })
    }

    fn take(&self, chunk: &[u8]) {
        let mut state = self.lock();
        let at = state.boot_start.map(|t| t.elapsed()).unwrap_or_default();
        for &byte in chunk {
            if byte == b'\n' {
                let bytes = std::mem::take(&mut state.partial);
                let text = stages::plain(&String::from_utf8_lossy(&bytes));
                state.lines.push(Line { at, text });
            } else {
                state.partial.push(byte);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for a line that contains `text`, after the line that the last wait
    /// ended on.
    pub fn wait(
        &self,
        text: &str,
        look: Look,
        on_failure: OnFailure,
        deadline: Deadline,
    ) -> Waited {
        let mut state = self.lock();
        loop {
            if let Some(found) = state.find(text, look, on_failure) {
                return found;
            }
            if !state.running {
                return Waited::Ended;
            }
            let Some(left) = deadline.left() else {
                return Waited::Late;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether QEMU still holds the console.
    pub fn is_running(&self) -> bool {
        self.lock().running
    }

    /// The whole console so far, without control sequences.
    pub fn text(&self) -> String {
        let state = self.lock();
        let lines = state.lines.iter().map(|l| l.text.as_str());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The last lines that are not empty.
    pub fn tail(&self) -> String {
        let state = self.lock();
        let partial = stages::plain(&String::from_utf8_lossy(&state.partial));
        let lines = state.lines.iter().map(|l| l.text.as_str());
        let lines: Vec<&str> = lines
            .chain([partial.as_str()])
            .filter(|l| !l.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Steps that the current boot has reached, with times since power on or
    /// reset.
    pub fn stages(&self) -> Vec<Reached> {
        let state = self.lock();
        let lines = state.lines.get(state.boot_line..).unwrap_or_default();
        stages::last_boot(lines.iter().map(|l| (l.at, l.text.as_str())))
    }
}

impl State {
    fn find(&mut self, text: &str, look: Look, on_failure: OnFailure) -> Option<Waited> {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            if line.text.contains(text) {
                return Some(Waited::Line(line.text.clone()));
            }
            let failure = stages::failure_of(&line.text);
            if let Some(message) = failure.filter(|_| on_failure == OnFailure::Stop) {
                return Some(Waited::Failed(message.to_string()));
            }
        }
        // An unfinished line that has matched once is one past the end.
        if look == Look::Lines || self.next > self.lines.len() {
            return None;
        }
        let partial = stages::plain(&String::from_utf8_lossy(&self.partial));
        let found = partial.contains(text);
        self.next += usize::from(found);
        found.then_some(Waited::Line(partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn followed(text: &str) -> Arc<Console> {
        let console = Arc::new(Console::default());
        let log = tempfile::tempfile().unwrap();
        let source = Cursor::new(text.as_bytes().to_vec());
        console.follow(source, log, None).join().unwrap();
        console
    }

    fn second() -> Deadline {
        Deadline::after(Duration::from_secs(1))
    }

    #[test]
    fn waits_go_forward_and_end_with_the_guest() {
        let console = followed("one\r\n\u{1b}[1mtwo\u{1b}[0m\ntwo more\nlogin: ");
        let line = |text: &str| Waited::Line(text.to_string());
        let wait = |text| console.wait(text, Look::Unfinished, OnFailure::Stop, second());
        assert_eq!(wait("two"), line("two"));
        assert_eq!(wait("two"), line("two more"));
        assert_eq!(wait("login:"), line("login: "));
        assert_eq!(wait("one"), Waited::Ended);
        assert_eq!(wait("login:"), Waited::Ended);
        assert_eq!(console.text(), "one\ntwo\ntwo more");
        assert_eq!(console.tail(), "one\ntwo\ntwo more\nlogin: ");
    }

    #[test]
    fn a_failed_boot_ends_a_wait_unless_told_otherwise() {
        let text = "x\nballast: initrd failed: no disk; rebooting in 5 s\nfallback\n";
        let message = "ballast: initrd failed: no disk; rebooting in 5 s".to_string();
        let wait = |mode| followed(text).wait("fallback", Look::Lines, mode, second());
        assert_eq!(wait(OnFailure::Stop), Waited::Failed(message));
        assert_eq!(wait(OnFailure::GoOn), Waited::Line("fallback".to_string()));
    }

    #[test]
    fn an_unfinished_line_counts_only_if_asked_for() {
        let wait = |look| followed("user login: ").wait("login", look, OnFailure::Stop, second());
        assert_eq!(wait(Look::Lines), Waited::Ended);
        assert_eq!(
            wait(Look::Unfinished),
            Waited::Line("user login: ".to_string())
        );
    }

    #[test]
    fn the_log_and_the_tee_get_every_byte() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let copy = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&copy);
        let tee: Tee = Box::new(move |bytes| sink.lock().unwrap().extend_from_slice(bytes));
        let console = Arc::new(Console::default());
        let thread = console.follow(ours, file.reopen().unwrap(), Some(tee));
        theirs.write_all(b"Linux version 6\nfirst").unwrap();
        let found = console.wait("first", Look::Unfinished, OnFailure::Stop, second());
        assert_eq!(found, Waited::Line("first".to_string()));
        assert_eq!(
            console.wait(
                "never",
                Look::Lines,
                OnFailure::Stop,
                Deadline::after(Duration::ZERO)
            ),
            Waited::Late
        );
        drop(theirs);
        thread.join().unwrap();
        assert_eq!(
            std::fs::read(file.path()).unwrap(),
            b"Linux version 6\nfirst"
        );
        assert_eq!(*copy.lock().unwrap(), b"Linux version 6\nfirst");
        assert_eq!(console.stages().len(), 1);
    }
}
