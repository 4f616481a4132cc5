//! What became of a pod: its processes while it runs, how they ended afterwards.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `record.json`: written when the pod's processes are there, before they run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The boot in which it was started; its processes are of no other.
    pub boot: String,
    /// When it was started.
    pub started: Timestamp,
    /// The unit it runs in, if it was detached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    /// The first process of each app.
    pub apps: Vec<AppProcess>,
    /// Addresses on rocket's own network.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub addresses: Vec<std::net::IpAddr>,
}

impl Record {
    /// It is of this boot, and of a pod that was there before its apps.
    pub fn is_held(&self, live: &Liveness) -> bool {
        self.boot == live.boot && self.apps.is_empty()
    }
}

/// The first process of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppProcess {
    /// The app's name.
    pub name: String,
    /// Its process ID on the host.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: a number that is used again has
    /// another one.
    pub start: u64,
}

/// `exit.json`: written when the last process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// When that was.
    pub finished: Timestamp,
    /// How each app ended.
    pub apps: Vec<Ended>,
}

/// How an app ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The app's name.
    pub name: String,
    /// Its exit status; 128 and the signal's number if a signal ended it. Nothing, if nobody
    /// saw it end.
    pub status: Option<u8>,
}

/// Tells which processes are there.
#[derive(Debug, Clone)]
pub struct Liveness {
    boot: String,
}

impl Liveness {
    /// Of this boot.
    ///
    /// # Errors
    /// `/proc` is not readable.
    pub fn of_this_boot() -> std::io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            boot: boot.trim().to_owned(),
        })
    }

    /// Which boot this is.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The process is there, and the same one.
    pub fn has(&self, record: &Record, app: &AppProcess) -> bool {
        record.boot == self.boot && start_of(app.pid) == Some(app.start)
    }

    /// Any process of the record is there.
    pub fn any(&self, record: &Record) -> bool {
        record.apps.iter().any(|app| self.has(record, app))
    }
}

/// When a process started; nothing if it is not there, or has ended and only waits for its
/// parent.
pub fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    parse_start(&stat)
}

/// Fields of proc_pid_stat(5): the name in parentheses may hold spaces and parentheses, the
/// state comes right after it, the start is the 22nd field of all.
fn parse_start(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_read_behind_its_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4321 10 11";
        assert_eq!(parse_start(stat), Some(4321));
        assert_eq!(parse_start(&stat.replace(") S", ") Z")), None);
        assert_eq!(parse_start("7 (a"), None);
    }

    #[test]
    fn a_process_is_known_again_by_its_start() {
        let live = Liveness::of_this_boot().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut record = Record {
            boot: live.boot().to_owned(),
            started: Timestamp::UNIX_EPOCH,
            unit: None,
            apps: vec![AppProcess {
                name: "self".into(),
                pid,
                start: start_of(pid).unwrap(),
            }],
            addresses: Vec::new(),
        };
        assert!(live.any(&record));
        record.apps[0].start += 1;
        assert!(!live.any(&record));
        record.apps[0].start -= 1;
        record.boot = "another".into();
        assert!(!live.any(&record));
    }
}
