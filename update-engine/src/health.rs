//! The health gate: what a release on trial has to show before it is kept.
//!
//! In this order: no unit that the policy lists has failed; every block of `/usr` can
//! be read through dm-verity; every script in `health.d` ends with status 0. All of it
//! within one deadline. The first thing that is wrong is the reason that is recorded.

mod units;
mod usr;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use daemon::log;
use daemon::scripts::{self, Words};

use crate::settings::UnitPattern;

pub use units::{Bad, Systemctl, Units, bad_units, is_masked, parse_show, pending_work};

/// Where scripts are, lowest first.
const DIRECTORIES: [&str; 2] = ["usr/lib/ballast/health.d", "etc/ballast/health.d"];

/// What is checked, and where.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Root of the host.
    pub root: PathBuf,
    /// Units of which none may have failed.
    pub units: Vec<UnitPattern>,
    /// The device that `/usr` is read from, through dm-verity.
    pub usr: PathBuf,
    /// How long everything together may take.
    pub deadline: Duration,
    /// Given to scripts as variables.
    pub environment: Vec<(String, String)>,
}

/// Runs the checks. `doing` is called before each step with what is done next. Returns
/// why the release is not healthy, if it is not.
///
/// At the deadline this returns, even if a step hangs; the caller ends the process.
pub fn run(
    checks: Checks,
    units: impl Units + Send + 'static,
    mut doing: impl FnMut(&str),
) -> Result<(), String> {
    let until = Instant::now() + checks.deadline;
    let allowed = daemon::policy::Length::from_secs(checks.deadline.as_secs());
    let (say, hear) = mpsc::channel();
    let mut last = String::from("starting");
    std::thread::spawn(move || {
        let result = all(&checks, &units, &|step| {
            // Nobody listens any more once the deadline is over.
            let _ = say.send(Said::Doing(step.to_string()));
        });
        let _ = say.send(Said::Done(result));
    });
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match hear.recv_timeout(left) {
            Ok(Said::Doing(step)) => {
                log::debug(format!("health: {step}"));
                doing(&step);
                last = step;
            }
            Ok(Said::Done(result)) => return result,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "the health checks took longer than {allowed}: {last}"
                ));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("the health checks ended early: {last}"));
            }
        }
    }
}

enum Said {
    Doing(String),
    Done(Result<(), String>),
}

fn all(checks: &Checks, units: &impl Units, doing: &dyn Fn(&str)) -> Result<(), String> {
    doing("looking for failed units");
    units::check(&checks.units, units)?;
    doing("reading every block of /usr through dm-verity");
    usr::read_all(&checks.usr)?;
    for script in scripts::list(&checks.root, &DIRECTORIES).map_err(|error| error.to_string())? {
        doing(&format!("running {}", script.path.display()));
        scripts::run(&script, &checks.environment, Words::Kept)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
