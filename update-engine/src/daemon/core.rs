//! The daemon's state, and how it changes.

use std::sync::Arc;
use std::time::Duration;

use bootloader::Slot;
use daemon::log::{self, chain};
use daemon::pause;
use daemon::policy::follow::Reload;
use daemon::policy::{Follower, Severity};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::task::Task;
use super::work::Done;
use super::{CommandError, Machine, Setup};
use crate::attempt::{Attempt, Boot, Duty, Event, Job};
use crate::host::Host;
use crate::marks;
use crate::next::Next;
use crate::settings::{self, Update};
use crate::state::{Denied, Outcome, Record, State, Store};
use crate::updater::Updater;
use crate::view::Finished;
use crate::{schedule, trial};

/// Decides and acts; [`super::run`] brings it what happens.
pub struct Core {
    pub(super) store: Store,
    pub(super) state: State,
    pub(super) denied: Vec<Denied>,
    pub(super) host: Result<Host, String>,
    pub(super) updater: Option<Arc<dyn Updater>>,
    pub(super) machine: Box<dyn Machine>,
    pub(super) follower: Follower,
    pub(super) update: Update,
    /// What goes on, if something does.
    pub(super) task: Option<Task>,
    /// What was decided about the last offer.
    pub(super) next: Option<Next>,
    /// When the server is asked next, by both clocks.
    pub(super) due: Option<(Instant, Timestamp)>,
    pub(super) jobs: u32,
    pub(super) last_job: Option<Finished>,
    /// What was wrong with the engine's own files at the start.
    pub(super) warnings: Vec<String>,
    pub(super) results: mpsc::UnboundedSender<Done>,
    pub(super) finished: mpsc::UnboundedSender<Finished>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("state", &self.state).finish()
    }
}

impl Core {
    /// Reads what was saved and the policy. Threads report to `results`, jobs that end
    /// to `finished`.
    pub fn new(
        setup: Setup,
        results: mpsc::UnboundedSender<Done>,
        finished: mpsc::UnboundedSender<Finished>,
    ) -> Self {
        let (state, state_warning) = setup.store.state();
        let (denied, denied_warning) = setup.store.denied();
        let (_, history_warning) = setup.store.history();
        let found = [state_warning, denied_warning, history_warning];
        let warnings: Vec<String> = found.into_iter().flatten().collect();
        warnings.iter().for_each(log::warn);
        let follower = Follower::new(setup.roots, settings::schema());
        let mut core = Self {
            store: setup.store,
            state,
            denied,
            host: setup.host,
            updater: setup.updater,
            machine: setup.machine,
            follower,
            update: Update::default(),
            task: None,
            next: None,
            due: None,
            jobs: 0,
            last_job: None,
            warnings,
            results,
            finished,
        };
        core.report_problems();
        core.read_settings();
        core
    }

    /// Brings what was saved and what is on the disk together.
    pub fn start(&mut self) {
        if let Err(why) = self.boot() {
            log::error(&why);
            self.warnings.push(why);
        }
        let poll = self.update.poll.duration();
        self.schedule_after(schedule::first_pause(poll, pause::random()));
    }

    fn boot(&mut self) -> Result<(), String> {
        let host = self.host.clone()?;
        let table = marks::read(&host.disk).map_err(|error| chain(&error))?;
        let job = self.state.attempt.job();
        let left = trial::load(&self.store.path("")).filter(|trial| {
            let of_job = job.is_some_and(|job| job.to == trial.version && job.slot == trial.slot);
            of_job && trial.boot != host.boot_id
        });
        let boot = Boot {
            id: host.boot_id.clone(),
            running: host.slot,
            version: host.version.clone(),
            bits: Slot::ALL.map(|slot| table.bits(slot)),
            failure: left.map(|trial| trial.reason()),
        };
        self.state.set_release(host.slot, Some(host.version));
        self.transition(Event::Boot(boot))
            .map_err(|error| error.to_string())?;
        self.save(|_| ()).map_err(|error| error.to_string())?;
        self.note();
        self.do_duty()
    }

    /// Does what the state asks for, except for installing, which needs a server first.
    pub(super) fn do_duty(&mut self) -> Result<(), String> {
        let Some(Duty::Deny { job, reason }) = self.state.attempt.duty() else {
            return Ok(());
        };
        let host = self.host.clone()?;
        if !self.denied.iter().any(|denied| denied.version == job.to) {
            let mut denied = self.denied.clone();
            denied.push(Denied {
                version: job.to.clone(),
                reason,
                since: Timestamp::now(),
            });
            let saved = self.store.save_denied(&denied);
            saved.map_err(|error| chain(&error))?;
            self.denied = denied;
        }
        let failed = |error: marks::MarksError| chain(&error);
        if job.slot == host.slot {
            marks::prefer(&host.disk, host.slot.other()).map_err(failed)?;
            return Ok(());
        }
        let bits = marks::read(&host.disk).map_err(failed)?.bits(job.slot);
        if bits.priority > 0 && !bits.successful {
            marks::disarm(&host.disk, job.slot).map_err(failed)?;
            log::debug(format!("slot {} is not tried any more", job.slot));
        }
        Ok(())
    }

    /// Takes the state to the next one: saved, logged, noted in the history.
    pub(super) fn transition(&mut self, event: Event) -> Result<(), CommandError> {
        let old = &self.state.attempt;
        let next = old
            .on(event)
            .map_err(|error| CommandError::Refused(error.to_string()))?;
        if next == *old {
            return Ok(());
        }
        let line = state_line(old, &next);
        self.save(|state| state.attempt = next)?;
        log::info(line);
        self.note();
        Ok(())
    }

    /// Changes what is remembered. Where it cannot be saved, it stays as it was.
    pub(super) fn save(&mut self, edit: impl FnOnce(&mut State)) -> Result<(), CommandError> {
        let mut state = self.state.clone();
        edit(&mut state);
        self.store
            .save(&state)
            .map_err(|error| CommandError::Failed(chain(&error)))?;
        self.state = state;
        Ok(())
    }

    /// Brings the history up to the state.
    pub(super) fn note(&mut self) {
        let (outcome, reason) = match &self.state.attempt {
            Attempt::Idle => return,
            Attempt::Fetching { .. } | Attempt::Written { .. } => (Outcome::Running, None),
            Attempt::Armed { .. } => (Outcome::Armed, None),
            Attempt::Trial { .. } => (Outcome::Trial, None),
            Attempt::Blessed { .. } => (Outcome::Blessed, None),
            Attempt::RolledBack { reason, .. } => (Outcome::RolledBack, Some(reason.clone())),
        };
        if let Some(job) = self.state.attempt.job().cloned() {
            self.record(&job, |record| {
                if record.outcome == outcome && record.reason == reason {
                    return;
                }
                (record.outcome, record.reason) = (outcome, reason);
                match outcome {
                    Outcome::Armed => record.armed = Some(Timestamp::now()),
                    Outcome::Blessed | Outcome::RolledBack => {
                        record.ended = Some(Timestamp::now());
                    }
                    _ => {}
                }
            });
        }
    }

    /// Changes the history's line about a job. A history that cannot be written stops
    /// nothing.
    pub(super) fn record(&mut self, job: &Job, edit: impl FnOnce(&mut Record)) {
        if job.id == 0 {
            return;
        }
        let found = self.store.find(job.id);
        let mut record = found
            .clone()
            .unwrap_or_else(|| Record::new(job, Timestamp::now()));
        edit(&mut record);
        if found.as_ref() == Some(&record) {
            return;
        }
        if let Err(error) = self.store.record(record) {
            log::error(chain(&error));
        }
    }

    /// Reads the policy again, and soon looks for releases if it says something else.
    pub fn reload(&mut self) {
        if self.read_policy() {
            self.look_soon();
        }
    }

    /// Reads the policy again. Tells whether it says something else.
    pub(super) fn read_policy(&mut self) -> bool {
        match self.follower.reload() {
            Reload::Unchanged => return false,
            Reload::Changed => log::info("policy: read again"),
            Reload::Kept => log::error("policy: the last good one stays in force"),
        }
        self.report_problems();
        let before = self.update.clone();
        self.read_settings();
        let changed = self.update != before;
        if changed {
            self.next = None;
        }
        changed
    }

    fn report_problems(&self) {
        for problem in self.follower.problems() {
            match problem.severity {
                Severity::Warning => log::warn(format!("policy: {problem}")),
                Severity::Error => log::error(format!("policy: {problem}")),
            }
        }
    }

    fn read_settings(&mut self) {
        match self.follower.policy().section() {
            Ok(update) => self.update = update,
            Err(error) => log::error(error),
        }
    }

    /// The policy, or an interrupted attempt, wants the server to be asked.
    fn wants_to_look(&self) -> bool {
        let resumes = matches!(self.state.attempt.duty(), Some(Duty::Install(_)));
        let on_trial = matches!(self.state.attempt, Attempt::Trial { .. });
        let possible = self.updater.is_some() && self.update.server.is_some() && !on_trial;
        possible && self.task.is_none() && (self.update.enabled || resumes)
    }

    /// Asks the server in a moment, if it is to be asked at all.
    pub(super) fn look_soon(&mut self) {
        self.schedule_after(Duration::ZERO);
    }

    /// Asks the server when the policy says.
    pub(super) fn schedule(&mut self) {
        let poll = self.update.poll.duration();
        let mut pause = schedule::pause(poll, self.state.failures, pause::random());
        if let Some(Next::Wait {
            until: Some(until), ..
        }) = &self.next
        {
            let turn = until.duration_since(Timestamp::now());
            pause = pause.min(Duration::try_from(turn).unwrap_or_default());
        }
        self.schedule_after(pause);
    }

    fn schedule_after(&mut self, pause: Duration) {
        self.due = self.wants_to_look().then(|| {
            let time = Timestamp::now().saturating_add(pause);
            (Instant::now() + pause, time.unwrap_or(Timestamp::MAX))
        });
    }

    /// When [`Core::look_by_policy`] is to be called.
    pub fn due(&self) -> Option<Instant> {
        self.due.map(|(instant, _)| instant)
    }
}

/// The one line about a change of state.
fn state_line(old: &Attempt, new: &Attempt) -> String {
    let mut line = format!("state: {} -> {}", old.name(), new.name());
    if let Some(job) = new.job().or(old.job()) {
        line.push_str(&format!(" version={} slot={}", job.to, job.slot));
    }
    if let Attempt::RolledBack { reason, .. } = new {
        line.push_str(&format!(" reason={reason:?}"));
    }
    line
}
