//! Asking the server and installing, each on a thread of its own.

use std::sync::Arc;

use daemon::log;
use jiff::Timestamp;
use semver::Version;
use tokio::sync::watch;

use super::task::{Ask, Meter, Task, is_checking};
use super::{CommandError, Core};
use crate::attempt::{Attempt, By, Event, Job};
use crate::install::{Progress, Report, Watch};
use crate::next::{self, Next, Offer, Situation, Wish};
use crate::settings::Reboot;
use crate::state::Outcome;
use crate::updater::{Failure, Question, Updater};
use crate::view::Finished;
use crate::{trial, wave};

/// What a thread reports.
#[derive(Debug)]
pub enum Done {
    /// What the server offers.
    Looked(Result<Offer, Failure>),
    /// How the installation ended.
    Installed(Result<Report, Failure>),
}

impl Core {
    /// Something is being written to a slot.
    pub fn is_installing(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.meter.is_some())
    }

    /// Brings the figures up to date.
    pub fn measure(&mut self) {
        let Some(meter) = self.task.as_mut().and_then(|task| task.meter.as_mut()) else {
            return;
        };
        let before = is_checking(&meter.last());
        meter.measure();
        if !before && is_checking(&meter.last()) {
            log::info("everything is in its slot, reading it back");
        }
    }

    /// Asks the server because it is time to, or goes on with what was cut off.
    pub fn look_by_policy(&mut self) {
        self.due = None;
        let (wish, by) = match &self.state.attempt {
            Attempt::Fetching { job } | Attempt::Written { job } => (wish_of(job), job.by),
            _ => (Wish::Policy, By::Policy),
        };
        // What cannot be begun is not begun: the reason is in the state.
        if let Err(error) = self.look(wish, by, None, false) {
            log::debug(error);
        }
    }

    /// Asks the server what an operator wants to know, or to have.
    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), CommandError> {
        self.look(ask.wish, ask.by, Some(ask.job), ask.only_check)
    }

    /// Asks the server, for a decision about `wish`.
    fn look(
        &mut self,
        wish: Wish,
        by: By,
        job: Option<u32>,
        only_check: bool,
    ) -> Result<(), CommandError> {
        let refused = |why: &str| CommandError::Refused(why.to_string());
        if self.task.is_some() {
            return Err(refused(
                "another check or installation is under way: wait, or use updatectl cancel",
            ));
        }
        let running = match &self.host {
            Ok(host) => host.version.clone(),
            Err(why) => return Err(refused(why)),
        };
        let Some(updater) = self.updater.clone() else {
            return Err(refused("this host cannot update itself"));
        };
        let question = Question {
            channel: self.update.channel.clone(),
            version: match &wish {
                Wish::Version { version, .. } => Some(version.clone()),
                Wish::Policy | Wish::Channel => None,
            },
            running,
        };
        let (cancel, stop) = watch::channel(false);
        let (policy, results) = (self.update.clone(), self.results.clone());
        spawn("look", move || {
            let result = updater.look(&policy, &question, stop);
            // Nobody is left to hear it when the daemon ends.
            let _ = results.send(Done::Looked(result));
        })?;
        self.task = Some(Task {
            job,
            wish,
            by,
            only_check,
            instead: None,
            then_looks: false,
            cancel,
            meter: None,
        });
        self.due = None;
        Ok(())
    }

    /// A thread reported.
    pub fn done(&mut self, done: Done) {
        let Some(mut task) = self.task.take() else {
            return;
        };
        if let Some(ask) = task.instead.take() {
            return self.look_instead(ask);
        }
        let then_looks = task.then_looks;
        match done {
            Done::Looked(Ok(offer)) => self.looked(task, &offer),
            Done::Looked(Err(failure)) => self.failed_to_look(task, failure),
            Done::Installed(result) => self.installed(task, result),
        }
        match &self.task {
            None if then_looks => self.look_soon(),
            None => self.schedule(),
            Some(_) => {}
        }
    }

    /// The policy's look has stopped for an operator.
    fn look_instead(&mut self, ask: Ask) {
        let job = ask.job;
        match self.ask(ask) {
            Ok(()) => {
                if let Some(task) = &mut self.task {
                    task.then_looks = task.only_check;
                }
            }
            Err(error) => {
                self.tell(job, "failed", &error.to_string());
                self.schedule();
            }
        }
    }

    fn failed_to_look(&mut self, task: Task, failure: Failure) {
        match failure {
            Failure::Cancelled => {
                self.give_up(Outcome::Cancelled, "cancelled");
                self.finish(task, "cancelled", "cancelled");
            }
            Failure::Failed(why) => {
                log::warn(format!("asking the server: {why}"));
                self.count_failure(&why);
                self.finish(task, "failed", &why);
            }
        }
    }

    fn count_failure(&mut self, why: &str) {
        let saved = self.save(|state| {
            state.failures = state.failures.saturating_add(1);
            state.last_error = Some(why.to_string());
        });
        self.log_unsaved(saved);
    }

    fn log_unsaved(&self, saved: Result<(), CommandError>) {
        if let Err(error) = saved {
            log::error(error);
        }
    }

    fn looked(&mut self, task: Task, offer: &Offer) {
        let saved = self.save(|state| {
            state.checked = Some(Timestamp::now());
            state.failures = 0;
            state.last_error = None;
        });
        self.log_unsaved(saved);
        let next = self.decide(offer, &task.wish);
        self.next = Some(next.clone());
        if task.only_check {
            let (_, message) = describe(&next);
            return self.finish(task, "done", &message);
        }
        match next {
            Next::Take(version) => self.take(task, version),
            other => {
                let (result, message) = describe(&other);
                if matches!(other, Next::Refused { .. }) {
                    log::warn(&message);
                }
                // What was cut off is not to be taken any more.
                self.give_up(Outcome::Failed, &message);
                self.finish(task, result, &message);
            }
        }
    }

    fn decide(&self, offer: &Offer, wish: &Wish) -> Next {
        let Ok(host) = &self.host else {
            return Next::UpToDate;
        };
        let armed = match &self.state.attempt {
            Attempt::Armed { job, .. } => Some(&job.to),
            _ => None,
        };
        let goal = offer.channel.as_ref().map(|channel| &channel.release);
        let position = match (self.update.wave, goal) {
            (Some(percent), _) => f64::from(percent.get()),
            (None, Some(version)) => wave::position(&host.machine_id, version),
            (None, None) => 0.0,
        };
        let situation = Situation {
            running: &host.version,
            armed,
            offer,
            denied: &self.denied,
            held: self.state.held.as_ref(),
            position,
            allow_downgrade: self.update.allow_downgrade,
            now: Timestamp::now(),
        };
        next::next(&situation, wish)
    }

    fn take(&mut self, task: Task, version: Version) {
        if let Err(error) = self.install(&task, &version) {
            let why = error.to_string();
            log::warn(&why);
            let result = match error {
                CommandError::Refused(_) => "refused",
                CommandError::Failed(_) => "failed",
            };
            return self.finish(task, result, &why);
        }
        let (progress, figures) = watch::channel(Progress::default());
        let Some(updater) = self.updater.clone() else {
            return;
        };
        let started = self.start_thread(&task, &version, updater, progress);
        match started {
            Ok(()) => {
                self.task = Some(Task {
                    meter: Some(Meter::new(figures)),
                    ..task
                });
            }
            Err(error) => {
                let why = error.to_string();
                self.give_up(Outcome::Failed, &why);
                self.finish(task, "failed", &why);
            }
        }
    }

    fn start_thread(
        &self,
        task: &Task,
        version: &Version,
        updater: Arc<dyn Updater>,
        progress: watch::Sender<Progress>,
    ) -> Result<(), CommandError> {
        let (policy, results) = (self.update.clone(), self.results.clone());
        let watch = Watch::new(progress, task.cancel.subscribe());
        let version = version.clone();
        spawn("install", move || {
            let result = updater.install(&policy, &version, &watch);
            let _ = results.send(Done::Installed(result));
        })
    }

    /// Saves that `version` is being installed.
    fn install(&mut self, task: &Task, version: &Version) -> Result<(), CommandError> {
        let host = self.host.clone().map_err(CommandError::Refused)?;
        // Anything may be wrong with a slot that was given up, until that is settled.
        self.do_duty().map_err(CommandError::Failed)?;
        let goes_on = match &self.state.attempt {
            Attempt::Fetching { job } | Attempt::Written { job } => job.to == *version,
            _ => false,
        };
        if goes_on {
            log::info(format!("going on with {version}"));
            return Ok(());
        }
        let job = Job {
            id: self.state.next_id,
            from: host.version,
            to: version.clone(),
            slot: host.slot.other(),
            by: task.by,
        };
        // A trial of the same version may have left its reason.
        let removed = self.store.remove(trial::FILE);
        removed.map_err(|error| CommandError::Failed(log::chain(&error)))?;
        self.give_up(Outcome::Failed, &format!("{version} is taken instead"));
        self.save(|state| {
            state.next_id += 1;
            state.set_release(job.slot, None);
        })?;
        self.transition(Event::Start(job))
    }

    /// Ends an attempt that was not armed.
    pub(super) fn give_up(&mut self, outcome: Outcome, why: &str) {
        let (Attempt::Fetching { job } | Attempt::Written { job }) = self.state.attempt.clone()
        else {
            return;
        };
        let given_up = self.transition(Event::GiveUp);
        self.log_unsaved(given_up);
        self.record(&job, |record| {
            record.outcome = outcome;
            record.reason = Some(why.to_string());
            record.ended = Some(Timestamp::now());
        });
    }

    fn installed(&mut self, mut task: Task, result: Result<Report, Failure>) {
        let measured = task.meter.take().map(|mut meter| {
            meter.measure();
            meter.last()
        });
        let figures = match &result {
            Ok(report) => Some(report.progress),
            Err(_) => measured,
        };
        let job = self.state.attempt.job().cloned();
        if let (Some(job), Some(figures)) = (&job, figures) {
            self.record(job, |record| {
                record.received += figures.received;
                record.requests += figures.requests;
                record.total = figures.total;
                record.reused = figures.kept + figures.copied;
            });
        }
        match result {
            Ok(report) => self.armed(task, report),
            Err(Failure::Cancelled) => {
                self.give_up(Outcome::Cancelled, "cancelled");
                self.finish(task, "cancelled", "cancelled");
            }
            Err(Failure::Failed(why)) => {
                log::error(format!("installing: {why}"));
                self.count_failure(&why);
                self.give_up(Outcome::Failed, &why);
                self.finish(task, "failed", &why);
            }
        }
    }

    fn armed(&mut self, task: Task, report: Report) {
        let boot = match &self.host {
            Ok(host) => host.boot_id.clone(),
            Err(_) => String::new(),
        };
        let version = self.state.attempt.job().map(|job| job.to.clone());
        let steps = self
            .transition(Event::Written)
            .and_then(|()| self.transition(Event::Armed(boot)))
            .and_then(|()| {
                let version = version.clone();
                self.save(|state| state.set_release(report.slot, version))
            });
        if let Err(error) = steps {
            // The slot is armed all the same: the next start finds it so.
            log::error(format!(
                "saving that slot {} is armed: {error}",
                report.slot
            ));
        }
        let name = version
            .as_ref()
            .map_or_else(String::new, Version::to_string);
        if let Some(why) = report.progress.patch.trouble() {
            log::warn(format!("{name}: went on without its patch: {why}"));
        }
        let message = format!("{name} is armed in slot {}; reboot to try it", report.slot);
        self.next = version.map(Next::Armed);
        self.finish(task, "done", &message);
        if self.update.reboot == Reboot::Immediately {
            log::info(format!("rebooting into {name}, as the policy says"));
            if let Err(error) = self.machine.reboot() {
                log::error(format!("asking for a reboot: {error}"));
            }
        }
    }

    fn finish(&mut self, task: Task, result: &str, message: &str) {
        if let Some(job) = task.job {
            self.tell(job, result, message);
        }
    }

    /// Tells how an operator's job has ended.
    pub(super) fn tell(&mut self, job: u32, result: &str, message: &str) {
        let finished = Finished {
            job,
            result: result.to_string(),
            message: message.to_string(),
        };
        self.last_job = Some(finished.clone());
        // Without a bus nobody listens.
        let _ = self.finished.send(finished);
    }
}

/// What an attempt that was cut off was begun for.
fn wish_of(job: &Job) -> Wish {
    match job.by {
        By::Policy => Wish::Policy,
        By::Operator => Wish::Channel,
        By::OperatorVersion | By::OperatorDowngrade => Wish::Version {
            version: job.to.clone(),
            downgrade: job.by == By::OperatorDowngrade,
        },
    }
}

/// A job's result, and a sentence for people.
fn describe(next: &Next) -> (&'static str, String) {
    match next {
        Next::Take(version) => ("done", format!("{version} is available")),
        Next::UpToDate => ("nothing", "there is nothing newer".into()),
        Next::Armed(version) => (
            "nothing",
            format!("{version} is armed already; reboot to try it"),
        ),
        Next::Wait { version, until } => (
            "nothing",
            match until {
                Some(time) => format!("{version} is available; this host's turn is at {time:.0}"),
                None => format!("{version} is available, but not for this host yet"),
            },
        ),
        Next::Held { version, reason } => (
            "nothing",
            format!("{version} is available, but this host is held: {reason}"),
        ),
        Next::Refused { version, reason } => ("refused", format!("{version}: {reason}")),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), CommandError> {
    let thread = std::thread::Builder::new().name(name.to_string());
    match thread.spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(CommandError::Failed(format!("starting a thread: {error}"))),
    }
}
