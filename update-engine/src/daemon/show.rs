//! What the daemon shows of itself.

use bootloader::slot::SlotTable;

use super::Core;
use super::task::is_checking;
use crate::attempt::Attempt;
use crate::host::Host;
use crate::marks;
use crate::next::Next;
use crate::settings::Reboot;
use crate::view::{self, View};

impl Core {
    /// Everything at this moment.
    pub fn view(&self) -> View {
        let table = match &self.host {
            Ok(host) => marks::read(&host.disk).ok(),
            Err(_) => None,
        };
        let host = self.host.as_ref().ok().zip(table);
        View {
            schema: view::SCHEMA,
            running: host.map(|(host, table)| running(host, &table)),
            other: host.map(|(host, table)| self.other(host, &table)),
            update: update(&self.state.attempt),
            activity: self.activity().into(),
            progress: self.progress(),
            available: self.next.as_ref().and_then(available),
            denied: self.denied.clone(),
            held: self.state.held.clone(),
            policy: self.policy(),
            checked: self.state.checked,
            next_check: self.due.map(|(_, time)| time),
            failures: self.state.failures,
            last_error: self.state.last_error.clone(),
            last_job: self.last_job.clone(),
            warnings: self.warnings.clone(),
        }
    }

    fn activity(&self) -> &'static str {
        match &self.task {
            None => "resting",
            Some(task) if task.meter.is_some() => "installing",
            Some(_) => "checking",
        }
    }

    fn progress(&self) -> Option<view::Progress> {
        let meter = self.task.as_ref()?.meter.as_ref()?;
        let figures = meter.last();
        let done = figures.in_place();
        let left = figures.expected.saturating_sub(figures.received);
        let known = figures.expected > 0 && meter.rate >= 1.0;
        let remaining = known.then(|| (left as f64 / meter.rate).ceil() as u64);
        Some(view::Progress {
            total: figures.total,
            done,
            reused: figures.kept + figures.copied,
            received: figures.received,
            rate: meter.rate as u64,
            remaining,
            checking: is_checking(&figures),
        })
    }

    fn other(&self, host: &Host, table: &SlotTable) -> view::Other {
        let slot = host.slot.other();
        let bits = table.bits(slot);
        view::Other {
            slot: slot.to_string(),
            version: self.state.release(slot).map(ToString::to_string),
            successful: bits.successful,
            next: bootloader::choose(table).first.slot == slot,
        }
    }

    fn policy(&self) -> view::Policy {
        let update = &self.update;
        view::Policy {
            enabled: update.enabled,
            server: update.server.as_ref().map(ToString::to_string),
            channel: update.channel.to_string(),
            poll: update.poll.to_string(),
            reboot: match update.reboot {
                Reboot::Off => "off".into(),
                Reboot::Immediately => "immediately".into(),
            },
            problems: self
                .follower
                .problems()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

fn running(host: &Host, table: &SlotTable) -> view::Running {
    view::Running {
        version: host.version.to_string(),
        slot: host.slot.to_string(),
        blessed: table.bits(host.slot).successful,
        boot_reason: host.reason.clone(),
    }
}

fn update(attempt: &Attempt) -> view::Update {
    let job = attempt.job();
    view::Update {
        state: attempt.name().into(),
        version: job.map(|job| job.to.to_string()),
        slot: job.map(|job| job.slot.to_string()),
        reason: match attempt {
            Attempt::RolledBack { reason, .. } => Some(reason.clone()),
            _ => None,
        },
    }
}

fn available(next: &Next) -> Option<view::Available> {
    let (version, verdict, reason, until) = match next {
        Next::UpToDate => return None,
        Next::Take(version) => (version, "take", None, None),
        Next::Armed(version) => (version, "armed", None, None),
        Next::Wait { version, until } => (version, "wait", None, *until),
        Next::Held { version, reason } => (version, "held", Some(reason.clone()), None),
        Next::Refused { version, reason } => (version, "refused", Some(reason.clone()), None),
    };
    Some(view::Available {
        version: version.to_string(),
        verdict: verdict.into(),
        reason,
        until,
    })
}
