//! The operator's programs before a reboot: `pre-reboot.d`.
//!
//! They move away what runs on this host, so they need powers that the daemon does without:
//! they run in a unit of their own, `ballast-drain.service`, whose program this is. The
//! first that fails ends it, and so does the deadline; what is left of them then is ended
//! by systemd.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use daemon::policy::{Follower, Length, Roots};
use daemon::scripts::{self, Words};
use daemon::{durable, log};

use crate::plan::{Duty, Need};
use crate::settings::{self, Settings};
use crate::state::Store;

/// Where the programs are, lowest first.
pub const DIRECTORIES: [&str; 2] = ["usr/lib/ballast/pre-reboot.d", "etc/ballast/pre-reboot.d"];

/// Where the reason of a failure is left for the daemon.
pub const FAILURE: &str = "run/ballast/drain-failed";

/// Runs the programs of the host whose root is at `root`, with the daemon's files in
/// `directory`. Returns why the host must not reboot, if it must not.
pub fn drain(root: &Path, directory: &Path) -> Result<(), String> {
    let left = root.join(FAILURE);
    durable::remove(&left).map_err(|error| format!("removing {}: {error}", left.display()))?;
    let deadline = deadline(root);
    let need = Store::open(directory).ok().and_then(|store| {
        let (saved, _) = store.load();
        match saved.plan.duty() {
            Duty::Drain(need) => Some(need.clone()),
            _ => None,
        }
    });
    let result = within(root, deadline, &environment(need.as_ref()));
    if let Err(why) = &result
        && let Err(error) = durable::replace(&left, why.as_bytes())
    {
        log::error(format!("writing {}: {error}", left.display()));
    }
    result
}

/// Why the last drain failed.
pub fn failure(root: &Path) -> Option<String> {
    let why = fs::read_to_string(root.join(FAILURE)).ok()?;
    let why = why.trim();
    (!why.is_empty()).then(|| why.to_string())
}

fn deadline(root: &Path) -> Duration {
    let follower = Follower::new(Roots::below(root), settings::schema());
    let settings = Settings::read(follower.policy()).unwrap_or_default();
    settings.reboot.drain_deadline.duration()
}

/// What programs are told.
fn environment(need: Option<&Need>) -> Vec<(String, String)> {
    let Some(need) = need else {
        return Vec::new();
    };
    let to = need.to.as_ref().map(ToString::to_string);
    vec![
        ("BALLAST_REASON".into(), need.reason.clone()),
        ("BALLAST_TO".into(), to.unwrap_or_default()),
    ]
}

/// What the thread with the programs says.
enum Said {
    Running(String),
    Ended(Result<(), String>),
}

/// Runs the programs on a thread of their own: at the deadline this returns, even if one
/// hangs, and the caller ends the process.
fn within(root: &Path, deadline: Duration, environment: &[(String, String)]) -> Result<(), String> {
    let until = Instant::now() + deadline;
    let scripts = scripts::list(root, &DIRECTORIES).map_err(|error| error.to_string())?;
    let environment = environment.to_vec();
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        let all = scripts.iter().try_for_each(|script| {
            // Nobody listens any more once the deadline is over.
            let _ = say.send(Said::Running(script.path.display().to_string()));
            scripts::run(script, &environment, Words::Passed)
        });
        let _ = say.send(Said::Ended(all));
    });
    let mut last = String::from("nothing was begun");
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match hear.recv_timeout(left) {
            Ok(Said::Running(script)) => {
                log::info(format!("running {script}"));
                last = script;
            }
            Ok(Said::Ended(result)) => return result,
            Err(RecvTimeoutError::Timeout) => {
                let allowed = Length::from_secs(deadline.as_secs());
                return Err(format!("it took longer than {allowed}: {last}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("it ended early: {last}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::plan::{By, Plan};
    use crate::state::Saved;

    const ETC: &str = "etc/ballast/pre-reboot.d";
    const USR: &str = "usr/lib/ballast/pre-reboot.d";

    fn host(files: &[(&str, &str, u32)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/ballast")).unwrap();
        for (path, text, mode) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        root
    }

    fn run(root: &TempDir) -> Result<(), String> {
        drain(root.path(), &root.path().join("state"))
    }

    /// What programs wrote, in a host that tells them where.
    fn script(root: &TempDir, path: &str, body: &str, mode: u32) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\nout={}/out\n{body}\n", root.path().display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn out(root: &TempDir) -> String {
        fs::read_to_string(root.path().join("out")).unwrap_or_default()
    }

    #[test]
    fn programs_run_in_the_order_of_their_names_and_know_why() {
        let root = host(&[]);
        script(&root, &format!("{ETC}/20-b"), "echo b >> $out", 0o755);
        script(
            &root,
            &format!("{USR}/10-a"),
            "echo a $BALLAST_TO >> $out",
            0o755,
        );
        script(&root, &format!("{USR}/20-b"), "echo wrong >> $out", 0o755);
        script(&root, &format!("{ETC}/30-c"), "echo wrong >> $out", 0o644);
        let store = Store::open(root.path().join("state")).unwrap();
        let need = Need {
            reason: "0.2.0 is armed".into(),
            to: Some("0.2.0".parse().unwrap()),
            by: By::Host,
        };
        let saved = Saved {
            plan: Plan::Draining { need },
            ..Saved::default()
        };
        store.save(&saved).unwrap();
        run(&root).unwrap();
        assert_eq!(out(&root), "a 0.2.0\nb\n");
        assert_eq!(failure(root.path()), None);
    }

    #[test]
    fn the_first_that_fails_ends_it_and_leaves_why() {
        let root = host(&[]);
        script(
            &root,
            &format!("{ETC}/10-a"),
            "echo still moving; exit 3",
            0o755,
        );
        script(&root, &format!("{ETC}/20-b"), "echo b >> $out", 0o755);
        let why = run(&root).unwrap_err();
        assert!(
            why.contains("10-a failed (exit status: 3): still moving"),
            "{why}"
        );
        assert_eq!(failure(root.path()), Some(why));
        assert_eq!(out(&root), "");
        script(&root, &format!("{ETC}/10-a"), "exit 0", 0o755);
        run(&root).unwrap();
        assert_eq!(failure(root.path()), None);
    }

    #[test]
    fn one_that_hangs_is_not_waited_for_longer_than_the_policy_says() {
        let policy = "[reboot]\ndrain_deadline = \"1s\"\n";
        let root = host(&[("etc/ballast/config.d/a.toml", policy, 0o644)]);
        script(&root, &format!("{ETC}/10-a"), "exec sleep 20", 0o755);
        let why = run(&root).unwrap_err();
        assert!(why.starts_with("it took longer than 1s: "), "{why}");
        assert!(why.ends_with("10-a"), "{why}");
    }

    #[test]
    fn without_programs_there_is_nothing_to_wait_for() {
        run(&host(&[])).unwrap();
    }
}
