//! The programs around a trial: the health gate, and the watch over the whole boot.
//!
//! Neither needs the daemon or the message bus. Both do nothing unless the running slot
//! is on trial, and leave their reason in `trial.json` before anything reboots.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::policy::{Follower, Roots};
use daemon::{log, reboot};

use crate::health::{self, Checks, Systemctl, Units};
use crate::host::{Host, HostError};
use crate::marks;
use crate::settings::{self, Health};
use crate::trial::{self, Trial};

/// Where `/usr`'s verity device is.
const USR: &str = "dev/mapper/usr";

/// The daemon's unit.
const DAEMON: &str = "update-engine.service";

/// A trial that goes on.
struct OnTrial {
    root: PathBuf,
    directory: PathBuf,
    host: Host,
    health: Health,
}

impl OnTrial {
    /// Looks whether the running slot is on trial.
    fn look(root: &Path, directory: &Path) -> Result<Option<Self>, HostError> {
        let host = Host::look(root)?;
        if marks::read(&host.disk)?.bits(host.slot).successful {
            return Ok(None);
        }
        let follower = Follower::new(Roots::below(root), settings::schema());
        for problem in follower.problems() {
            log::warn(format!("policy: {problem}"));
        }
        let health = follower.policy().section().unwrap_or_else(|error| {
            log::warn(format!("policy: {error}; the defaults count"));
            Health::default()
        });
        Ok(Some(Self {
            root: root.to_path_buf(),
            directory: directory.to_path_buf(),
            host,
            health,
        }))
    }

    fn save(&self, doing: &str, failure: Option<String>) {
        let trial = Trial {
            version: self.host.version.clone(),
            slot: self.host.slot,
            boot: self.host.boot_id.clone(),
            doing: doing.to_string(),
            failure,
        };
        // The trial is decided by what is found, not by whether it can be told.
        if let Err(error) = trial::save(&self.directory, trial) {
            let path = self.directory.join(trial::FILE);
            log::error(format!("writing {}: {error}", path.display()));
        }
    }

    fn fail(&self, doing: &str, reason: &str) {
        self.save(doing, Some(reason.to_string()));
        log::error(format!(
            "ballast: trial of {} in slot {} failed: {reason}",
            self.host.version, self.host.slot
        ));
    }

    fn checks(&self) -> Checks {
        Checks {
            root: self.root.clone(),
            units: self.health.units.clone(),
            usr: self.root.join(USR),
            deadline: self.health.deadline.duration(),
            environment: vec![
                ("BALLAST_VERSION".into(), self.host.version.to_string()),
                ("BALLAST_SLOT".into(), self.host.slot.to_string()),
            ],
        }
    }
}

/// The health gate. If the release is not healthy, the reason is recorded, a reboot is
/// asked for, and this fails. It also fails if it cannot be told what runs, without a
/// reboot: the release may have been blessed long ago.
pub fn gate(root: &Path, directory: &Path) -> anyhow::Result<()> {
    let Some(trial) = OnTrial::look(root, directory)? else {
        log::debug("the running slot is blessed: nothing to check");
        return Ok(());
    };
    let (version, slot) = (&trial.host.version, trial.host.slot);
    log::info(format!("checking the health of {version} in slot {slot}"));
    let mut last = String::new();
    let result = health::run(trial.checks(), Systemctl, |step| {
        trial.save(step, None);
        last = step.to_string();
    });
    match result {
        Ok(()) => {
            trial.save("waiting to be blessed", None);
            log::info(format!("{version} in slot {slot} is healthy"));
            Ok(())
        }
        Err(reason) => {
            trial.fail(&last, &reason);
            // Where this does not help, the watch over the boot insists later.
            if let Err(error) = reboot::ask() {
                log::error(format!("asking for a reboot: {error}"));
            }
            anyhow::bail!("the release is not healthy: {reason}")
        }
    }
}

/// The watch over a boot on trial: at the policy's deadline the release must be blessed,
/// otherwise the reason is recorded and the host reboots.
pub fn watch(root: &Path, directory: &Path) -> anyhow::Result<()> {
    let Some(trial) = OnTrial::look(root, directory)? else {
        return Ok(());
    };
    let deadline = trial.health.boot_deadline;
    let version = &trial.host.version;
    log::info(format!("{version} is on trial, and has {deadline}"));
    std::thread::sleep(deadline.duration().saturating_sub(uptime(root)?));
    if marks::read(&trial.host.disk)?
        .bits(trial.host.slot)
        .successful
    {
        return Ok(());
    }
    let found = health::pending_work(&Systemctl);
    let reason = format!("was not blessed within {deadline}: {found}");
    trial.fail("waiting for the boot to complete", &reason);
    reboot::insist();
    Ok(())
}

/// Keeps the release that runs if that needs no daemon: the slot is blessed already, or the
/// operator masked the daemon, who wants no updates, and not that this one is left. Tells
/// whether it did; otherwise the daemon has to be asked.
pub fn bless(root: &Path, units: &impl Units) -> anyhow::Result<bool> {
    let host = Host::look(root)?;
    if marks::read(&host.disk)?.bits(host.slot).successful {
        return Ok(true);
    }
    if !health::is_masked(DAEMON, units) {
        return Ok(false);
    }
    marks::bless(&host.disk, host.slot)?;
    log::info(format!(
        "{} in slot {} is blessed; {DAEMON} is masked, and this host takes no updates",
        host.version, host.slot
    ));
    Ok(true)
}

/// Time since the kernel started.
fn uptime(root: &Path) -> anyhow::Result<Duration> {
    let path = root.join("proc/uptime");
    let text = fs::read_to_string(&path)?;
    let seconds: f64 = text.split('.').next().unwrap_or_default().parse()?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use bootloader::slot::Slot;

    use super::*;
    use crate::testing::TestHost;

    /// A systemd that knows one unit, loaded like this, or does not answer.
    struct Loaded(Option<&'static str>);

    impl Units for Loaded {
        fn show(&self, units: &[&str]) -> Result<String, String> {
            let load = self.0.ok_or("no answer")?;
            Ok(format!("Id={}\nLoadState={load}\n", units[0]))
        }

        fn journal(&self, _: &str) -> Vec<String> {
            Vec::new()
        }

        fn jobs(&self) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn a_trial_is_blessed_without_the_daemon_only_where_that_is_masked() {
        let host = TestHost::new();
        host.boot(Slot::B, "0.2.0");
        host.edit(|table| table.arm(Slot::B, 1));
        for loaded in [Loaded(None), Loaded(Some("loaded"))] {
            assert!(!bless(host.root(), &loaded).unwrap());
            assert!(!host.bits(Slot::B).successful);
        }
        assert!(bless(host.root(), &Loaded(Some("masked"))).unwrap());
        assert!(host.bits(Slot::B).successful);
        // Nothing is asked where nothing is to be done.
        assert!(bless(host.root(), &Loaded(None)).unwrap());
    }
}
