//! What a control group has used, and how much it has had to wait.

use serde::Serialize;

use super::Cgroup;

/// Figures of a group. What its controllers do not count is missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Time of processors, in microseconds.
    pub cpu_usec: Option<u64>,
    /// Bytes in use.
    pub memory_current: Option<u64>,
    /// The most bytes that were ever in use.
    pub memory_peak: Option<u64>,
    /// The limit, if there is one.
    pub memory_max: Option<u64>,
    /// Bytes that were swapped out.
    pub swap_current: Option<u64>,
    /// Processes killed because memory was short.
    pub oom_kills: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes read and written.
    pub io: Option<(u64, u64)>,
    /// Waiting for processors, memory and devices.
    pub pressure: Pressures,
}

/// Waiting, by what for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressures {
    /// For processors.
    pub cpu: Option<Pressure>,
    /// For memory.
    pub memory: Option<Pressure>,
    /// For devices.
    pub io: Option<Pressure>,
}

/// Shares of time in which some process waited, in percent, and all of it in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Of the last ten seconds.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// Of the last five minutes.
    pub avg300: f64,
    /// Since the group was made.
    pub total_usec: u64,
}

impl Stats {
    /// The figures of now.
    pub fn of(group: &Cgroup) -> Self {
        let text = |file: &str| group.read(file).ok();
        let number = |file: &str| text(file)?.trim().parse().ok();
        let field = |file: &str, key: &str| keyed(&text(file)?, key);
        let pressure = |file: &str| pressure(&text(file)?);
        Self {
            cpu_usec: field("cpu.stat", "usage_usec"),
            memory_current: number("memory.current"),
            memory_peak: number("memory.peak"),
            memory_max: number("memory.max"),
            swap_current: number("memory.swap.current"),
            oom_kills: field("memory.events", "oom_kill"),
            pids: number("pids.current"),
            io: text("io.stat").map(|text| io(&text)),
            pressure: Pressures {
                cpu: pressure("cpu.pressure"),
                memory: pressure("memory.pressure"),
                io: pressure("io.pressure"),
            },
        }
    }
}

/// The number after `key` at the begin of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?
        .parse()
        .ok()
}

fn io(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

fn pressure(text: &str) -> Option<Pressure> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut found = Pressure::default();
    for word in line.split_whitespace() {
        match word.split_once('=')? {
            ("avg10", value) => found.avg10 = value.parse().ok()?,
            ("avg60", value) => found.avg60 = value.parse().ok()?,
            ("avg300", value) => found.avg300 = value.parse().ok()?,
            ("total", value) => found.total_usec = value.parse().ok()?,
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=420\nfull avg10=0.00\n";
        let expected = Pressure {
            avg10: 1.5,
            avg60: 0.2,
            avg300: 0.0,
            total_usec: 420,
        };
        assert_eq!(pressure(text), Some(expected));
        assert_eq!(
            keyed("usage_usec 12\nuser_usec 5\n", "usage_usec"),
            Some(12)
        );
        assert_eq!(keyed("oom 1\noom_kill 2\n", "oom_kill"), Some(2));
        let text = "8:0 rbytes=1 wbytes=2 rios=9\n8:16 rbytes=10 wbytes=20\n";
        assert_eq!(io(text), (11, 22));
    }
}
