//! Says on stderr which stage a boot is in and how long stages take.

use std::time::{Duration, Instant};

use qemu::stages::{self, Stage};

/// Watches the bytes of a console.
pub struct Progress {
    began: Instant,
    last: Option<(Stage, Instant)>,
    partial: Vec<u8>,
}

impl Progress {
    /// The machine is switched on now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            last: None,
            partial: Vec::new(),
        }
    }

    /// Takes what the console shows and returns what there is to say.
    pub fn take(&mut self, bytes: &[u8], now: Instant) -> Vec<String> {
        let mut said = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
                continue;
            }
            let line = stages::plain(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
            said.extend(self.line(&line, now));
        }
        said
    }

    fn line(&mut self, line: &str, now: Instant) -> Option<String> {
        let stage = stages::stage_of(line)?;
        if self.last.is_some_and(|(last, _)| last == stage) {
            return None;
        }
        let since_start = now.saturating_duration_since(self.began);
        let before = self.last.replace((stage, now));
        let took = before.map(|(last, at)| {
            let took = now.saturating_duration_since(at);
            format!(" ({last} took {})", seconds(took))
        });
        let detail = match stage {
            Stage::Selector | Stage::BootComplete => format!(": {}", line.trim()),
            _ => String::new(),
        };
        let took = took.unwrap_or_default();
        Some(format!(
            "{:>7}  {stage}{detail}{took}",
            seconds(since_start)
        ))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_said_once_with_times() {
        let mut progress = Progress::new();
        let start = progress.began;
        let at = |ms| start + Duration::from_millis(ms);
        let mut take = |bytes: &[u8], ms| progress.take(bytes, at(ms));
        assert!(take(b"BdsDxe: sta", 1000).is_empty());
        assert_eq!(take(b"rting Boot0001\r\n", 1500), ["  1.5 s  firmware"]);
        let kernel =
            b"\x1b[0m[    0.000000] Linux version 6.12\n[    0.000000] Linux version 6.12\n";
        assert_eq!(
            take(kernel, 3000),
            ["  3.0 s  kernel (firmware took 1.5 s)"]
        );
        let done = b"ballast: boot-complete version=1 slot=a reason=normal\n";
        assert_eq!(
            take(done, 30_000),
            [
                " 30.0 s  boot complete: ballast: boot-complete version=1 slot=a reason=normal \
                 (kernel took 27.0 s)"
            ]
        );
    }
}
