//! What was done on first boot: which stages ran, how long each took, and
//! what it said.
//!
//! Stages add to a file in `/run`; the stages that finish provisioning, and one
//! that fails, copy it to the root, so that it is there after a reboot.
//! `ignition report` shows it.

mod ask;
mod post;
mod show;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::durable::Attributes;
use crate::failure;
use crate::fetch::public_name;
use crate::log::{self, Line};
use crate::root::{Root, RootError};
use crate::stage::{Settings, Stage, files::rfc3339};
use crate::state::{self, StateError};

pub use ask::{ADDRESS, Asked};
pub use post::{Summary, post};
pub use show::run as show;

/// Where the root keeps the report.
pub const PATH: &str = "/var/lib/ballast/ignition/report.json";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Boots that are remembered.
const ATTEMPTS: usize = 8;

/// Longest report that is read, in bytes.
const LIMIT: usize = 16 << 20;

/// All that is remembered about provisioning this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Boots on which it was tried, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// The kernel's name of the boot.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// The stages that ran, in their order.
    pub stages: Vec<Run>,
}

/// One run of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its name.
    pub stage: String,
    /// When it began, by the machine's clock (RFC 3339).
    pub began: String,
    /// How long it took.
    pub milliseconds: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it said.
    pub lines: Vec<Line>,
    /// How many lines more it said than are kept.
    #[serde(default)]
    pub left_out: u64,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Done,
    /// With an error, which is among the lines.
    Failed,
}

/// Why a report is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file of this boot cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The root's file cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root cannot be opened.
    #[error("opening {}", .path.display())]
    Open {
        /// The root.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A report cannot be put into JSON.
    #[error("representing the report")]
    Represent(#[from] serde_json::Error),
}

/// A stage that runs.
#[derive(Debug)]
pub struct Watch {
    stage: Stage,
    began: SystemTime,
    started: Instant,
}

impl Watch {
    /// Begins with `stage`.
    pub fn start(stage: Stage) -> Self {
        Self {
            stage,
            began: SystemTime::now(),
            started: Instant::now(),
        }
    }

    /// What the stage did, with what was logged since the program began.
    pub fn finish(self, outcome: Outcome) -> Run {
        let (lines, left_out) = log::captured();
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let took = self.started.elapsed();
        Run {
            stage: self.stage.to_string(),
            began: rfc3339(began.as_secs()),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            outcome,
            lines,
            left_out,
        }
    }
}

impl Run {
    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

impl Report {
    /// Takes `attempt` in, in place of what was known of the same boot; the
    /// oldest ones go.
    pub fn add(&mut self, attempt: Attempt) {
        self.attempts
            .retain(|known| known.boot_id != attempt.boot_id);
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS);
        self.attempts.drain(..surplus);
    }

    /// The report `bytes`; one that cannot be read is an empty one, with a
    /// warning: what is new must not be lost for it.
    fn parse(bytes: &[u8]) -> Self {
        if bytes.len() > LIMIT {
            log::warn(&format!("{PATH} is too long and begins anew"));
            return Self::default();
        }
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            log::warn(&format!("{PATH} cannot be read and begins anew: {error}"));
            Self::default()
        })
    }
}

/// Records that the stage that `watch` began ended with `outcome`: for this
/// boot, and where it was the last one, on the root.
///
/// What cannot be recorded is a warning: it must not stop a host. None outside
/// of an initrd, where other people's tools run stages on roots of their own.
pub fn record(settings: &Settings, watch: Watch, outcome: Outcome) -> Option<Attempt> {
    if !failure::in_initrd() {
        return None;
    }
    let last = matches!(watch.stage, Stage::Files | Stage::Umount);
    let boot_id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let noted = note(settings, boot_id.trim(), watch.finish(outcome)).and_then(|attempt| {
        if (last || outcome == Outcome::Failed) && lasts(&settings.root) {
            keep(&settings.root, attempt.clone())?;
        }
        Ok(attempt)
    });
    noted
        .inspect_err(|error| log::warn(&format!("keeping the report: {error}")))
        .ok()
}

/// Tells who asked for it that the last stage of `attempt` failed for the
/// reason `message`.
pub fn tell(settings: &Settings, attempt: &Attempt, message: &str, is_final: bool) {
    let asked = match Asked::on_this_boot(settings) {
        Ok(Some(asked)) => asked,
        Ok(None) => return,
        Err(error) => return log::warn(&format!("whom to tell is not known: {error}")),
    };
    let summary = Summary::new(attempt, message, is_final);
    match post(&asked, &summary) {
        Ok(()) => log::info(&format!("told {}", public_name(&asked.url))),
        Err(error) => log::warn(&format!("telling of the failure: {error}")),
    }
}

/// Adds `run` to what is known of this boot, which is returned.
///
/// It is next to the state between stages, readable by root only.
pub fn note(settings: &Settings, boot_id: &str, run: Run) -> Result<Attempt, ReportError> {
    let path = settings.state_file.with_file_name("report.json");
    let mut attempt: Attempt = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Attempt::default(),
    };
    if attempt.boot_id != boot_id {
        attempt = Attempt {
            boot_id: boot_id.to_owned(),
            stages: Vec::new(),
        };
    }
    attempt.stages.push(run);
    state::save(&path, &attempt)?;
    Ok(attempt)
}

/// Keeps `attempt` below `root`, durably and readable by root only.
pub fn keep(root: &Path, attempt: Attempt) -> Result<(), ReportError> {
    let root = Root::open(root).map_err(|source| ReportError::Open {
        path: root.to_owned(),
        source,
    })?;
    let mut report = root
        .read(PATH)?
        .map_or_else(Report::default, |bytes| Report::parse(&bytes));
    report.add(attempt);
    let bytes = serde_json::to_vec(&report)?;
    root.write_bytes(PATH, &bytes, Attributes::own(0o600))?;
    Ok(())
}

/// Whether a file system is mounted at `root`: below a mere directory of the
/// initrd nothing lasts.
pub fn lasts(root: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    root == Path::new("/") || device(root) != device(&root.join(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(boot_id: &str, outcome: Outcome) -> Attempt {
        Attempt {
            boot_id: boot_id.to_owned(),
            stages: vec![Run {
                stage: "files".to_owned(),
                began: "2026-01-02T03:04:05Z".to_owned(),
                milliseconds: 1234,
                outcome,
                lines: Vec::new(),
                left_out: 0,
            }],
        }
    }

    fn read(root: &Path) -> Report {
        let path = root.join(PATH.trim_start_matches('/'));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn attempts_are_kept_across_boots_and_bounded() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        keep(root.path(), attempt("0", Outcome::Failed)).unwrap();
        keep(root.path(), attempt("0", Outcome::Done)).unwrap();
        assert_eq!(read(root.path()).attempts, [attempt("0", Outcome::Done)]);
        for number in 1..=ATTEMPTS {
            keep(root.path(), attempt(&number.to_string(), Outcome::Failed)).unwrap();
        }
        let ids: Vec<_> = read(root.path())
            .attempts
            .into_iter()
            .map(|attempt| attempt.boot_id)
            .collect();
        assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7", "8"]);
        let path = root.path().join(PATH.trim_start_matches('/'));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_damaged_report_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        keep(root.path(), attempt("0", Outcome::Done)).unwrap();
        let path = root.path().join(PATH.trim_start_matches('/'));
        fs::write(&path, b"{\"attempts\": 5").unwrap();
        keep(root.path(), attempt("1", Outcome::Done)).unwrap();
        assert_eq!(read(root.path()).attempts, [attempt("1", Outcome::Done)]);
    }

    #[test]
    fn a_directory_of_the_same_file_system_does_not_last() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        assert!(!lasts(&below));
        assert!(lasts(Path::new("/")));
        assert!(lasts(Path::new("/proc")));
    }
}
