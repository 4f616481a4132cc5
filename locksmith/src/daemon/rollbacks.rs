//! Releases that this host had to leave: its group is told.

use daemon::log;

use super::Core;
use super::answers::Done;
use crate::engine::Denied;
use crate::lock::{Brake, LockError, Reason, Report};
use crate::settings::Place;
use crate::state::Reported;

impl Core {
    /// A release that this host had to leave, of which its group does not know yet.
    pub(super) fn unreported(&self) -> Option<&Denied> {
        let Some(place @ Place::Etcd(_)) = self.settings.place() else {
            return None;
        };
        let is_told = |denied: &Denied| {
            self.saved.reported.iter().any(|reported| {
                reported.version == denied.version
                    && reported.since == denied.since
                    && reported.group == place.group()
            })
        };
        let mut denied = self.engine.denied().iter();
        denied.find(|denied| !is_told(denied))
    }

    /// The group knows of a release that this host had to leave.
    fn reported(&mut self, reported: Reported) {
        let before = self.saved.clone();
        let denied = self.engine.denied();
        let is_denied = |r: &Reported| denied.iter().any(|d| d.version == r.version);
        self.saved.reported.retain(is_denied);
        self.saved.reported.push(reported);
        self.keep(before);
    }

    /// Tells the group of a release that this host had to leave.
    pub(super) fn report_rollback(&mut self) {
        if self.reporting || self.trouble.again().is_some() {
            return;
        }
        let (Some(denied), Some(place)) = (self.unreported().cloned(), self.settings.place())
        else {
            return;
        };
        let mut lock = match self.locks.open(&place) {
            Ok(lock) => lock,
            Err(error) => return self.trouble.failed(&error),
        };
        self.reporting = true;
        let report = Report {
            id: self.host.id.clone(),
            host: self.host.name.clone(),
            reason: Reason::clip(&denied.reason),
            at: denied.since,
        };
        let reported = Reported {
            version: denied.version,
            since: denied.since,
            group: place.group().into(),
        };
        let results = self.results.clone();
        tokio::spawn(async move {
            let result = lock.report_rollback(&report, &reported.version).await;
            let _ = results.send(Done::Reported(reported, result));
        });
    }

    pub(super) fn told(&mut self, reported: Reported, result: Result<Option<Brake>, LockError>) {
        self.reporting = false;
        let brake = match result {
            Ok(brake) => brake,
            Err(error) => return self.trouble.failed(&error),
        };
        self.trouble.over();
        let version = reported.version.clone();
        self.reported(reported);
        log::info(match brake {
            Some(brake) if brake.is_on() => format!(
                "the group knows that {version} was left here: no other host of it reboots \
                 into it until locksmithctl brake lift {version}"
            ),
            _ => format!("the group knows that {version} was left here"),
        });
    }
}
