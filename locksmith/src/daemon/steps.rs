//! Doing what the plan's state asks for.

use std::time::Duration;

use daemon::log;
use daemon::pause::{jittered, random};
use daemon::policy::Length;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Core;
use super::answers::Done;
use super::locker::{Locker, Order};
use crate::lock::{Claim, Reason};
use crate::plan::{Duty, Event, Goal, Plan};
use crate::sessions::Session;

/// How often a sign of life is given.
const ALIVE: Duration = Duration::from_secs(120);

/// How often it is looked whether people have logged out.
const LOOK: Duration = Duration::from_secs(20);

/// How long before the end people are told once more.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// How long a reboot may take to begin.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// How long a lock that the policy does not name any more is tried to be given back.
const FAREWELL: Duration = Duration::from_secs(3600);

/// What goes on in a state of the plan.
#[derive(Debug)]
pub(super) struct Step {
    began: Instant,
    /// The order that was not answered yet.
    pub(super) asked: Option<u64>,
    /// When the next sign of life is due.
    pub(super) alive: Instant,
    /// A task runs that belongs to this step.
    pub(super) task: Option<u64>,
    /// When people have had their time, once they were told; by both clocks.
    grace: Option<(Instant, Timestamp)>,
    /// They were told once more.
    told_again: bool,
    /// When it is looked again whether they are there.
    look: Instant,
    /// The reboot was asked for.
    rebooted: bool,
}

impl Step {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            asked: None,
            alive: now,
            task: None,
            grace: None,
            told_again: false,
            look: now,
            rebooted: false,
        }
    }

    /// When people have had their time, once they were told.
    pub(super) fn grace_until(&self) -> Option<Timestamp> {
        self.grace.map(|(_, shown)| shown)
    }

    /// When something is to be done in it.
    pub(super) fn due(&self, plan: &Plan) -> Option<Instant> {
        match plan {
            Plan::Resting | Plan::Asking { .. } | Plan::Releasing { .. } => None,
            Plan::Kept { .. } | Plan::Settling | Plan::Draining { .. } => Some(self.alive),
            Plan::Rebooting { .. } => Some(self.began + STUCK),
            Plan::Grace { .. } => {
                let look = self.look.min(self.alive);
                Some(self.grace.map_or(look, |(grace, _)| grace.min(look)))
            }
        }
    }
}

impl Core {
    /// Does what the state asks for, unless that goes on already.
    pub(super) fn do_duty(&mut self) {
        let plan = self.saved.plan.clone();
        match plan.duty() {
            Duty::Nothing => {}
            Duty::Acquire(goal) => self.acquire(goal),
            Duty::Hold => self.hold(),
            Duty::Warn(_) => {
                self.hold();
                self.warn();
            }
            Duty::Drain(_) => {
                self.hold();
                self.drain();
            }
            Duty::Reboot(_) => self.reboot(),
            Duty::Release => self.release(),
        }
    }

    fn acquire(&mut self, goal: &Goal) {
        let (reason, to) = match goal {
            Goal::Reboot(need) => (&need.reason, need.to.clone()),
            Goal::Keep { reason } => (reason, None),
        };
        let running = self.engine.running().cloned();
        let claim = Claim {
            id: self.host.id.clone(),
            host: self.host.name.clone(),
            boot_id: self.host.boot.clone(),
            reason: Reason::clip(reason),
            from: running.or_else(|| self.host.version.clone()),
            to,
        };
        self.order(Order::Acquire(Box::new(claim)));
    }

    /// Gives a sign of life when it is time to.
    fn hold(&mut self) {
        let now = Instant::now();
        if now < self.step.alive {
            return;
        }
        self.order(Order::Alive(self.host.id.clone()));
        let next = now + jittered(ALIVE, 0.1, random());
        self.step.alive = self.trouble.again().unwrap_or(next);
    }

    /// Asks the lock for something, unless it has not answered the last question or is
    /// left alone for a while.
    pub(super) fn order(&mut self, order: Order) {
        if self.step.asked.is_some() || self.trouble.again().is_some() {
            return;
        }
        let Some(place) = self.place() else {
            return;
        };
        // Two of them at once would not come one after the other.
        if self.outdated && self.busy.is_none() {
            self.locker = None;
        }
        if self.locker.is_none() {
            self.outdated = false;
            match self.locks.open(&place) {
                Ok(lock) => self.locker = Some(Locker::start(lock, self.results.clone())),
                Err(error) => return self.trouble.failed(&error),
            }
        }
        self.number += 1;
        self.step.asked = Some(self.number);
        self.busy = (!matches!(order, Order::Change)).then_some(self.number);
        if let Some(locker) = &self.locker {
            locker.order(self.number, order);
        }
    }

    /// Warns whoever is logged in, and waits for them.
    fn warn(&mut self) {
        let now = Instant::now();
        if self.step.grace.is_some_and(|(grace, _)| now >= grace) {
            let open = self.is_open();
            return self.go_on(Event::GraceOver { open });
        }
        if self.step.task.is_some() || now < self.step.look {
            return;
        }
        self.step.look = now + LOOK;
        self.number += 1;
        self.step.task = Some(self.number);
        let (number, machine, results) = (self.number, self.machine.clone(), self.results.clone());
        tokio::spawn(async move {
            // Nobody is left to hear it when the daemon ends.
            let _ = results.send(Done::Sessions(number, machine.sessions().await));
        });
    }

    /// Somebody is logged in, or nobody.
    pub(super) fn looked(&mut self, sessions: Result<Vec<Session>, String>) {
        let sessions = match sessions {
            Ok(sessions) if sessions.is_empty() => {
                let open = self.is_open();
                return self.go_on(Event::GraceOver { open });
            }
            Ok(sessions) => sessions,
            Err(why) => {
                log::warn(format!(
                    "who is logged in is not known, all have time: {why}"
                ));
                Vec::new()
            }
        };
        let now = Instant::now();
        let Some(allowed) = self.settings.reboot.login_grace.length() else {
            self.tell(&sessions, "now");
            let open = self.is_open();
            return self.go_on(Event::GraceOver { open });
        };
        let Some((grace, _)) = self.step.grace else {
            let until = Timestamp::now().saturating_add(allowed.duration());
            let until = until.unwrap_or(Timestamp::MAX);
            self.step.grace = Some((now + allowed.duration(), until));
            self.tell(&sessions, &format!("in {allowed}"));
            return;
        };
        let left = grace.saturating_duration_since(now);
        if left <= LAST_WORDS && !self.step.told_again {
            self.step.told_again = true;
            let left = Length::from_secs(left.as_secs());
            self.tell(&sessions, &format!("in {left}"));
        }
    }

    fn tell(&self, sessions: &[Session], when: &str) {
        let plan = &self.saved.plan;
        let reason = plan.need().map_or("", |need| need.reason.as_str());
        let message = format!(
            "{} reboots {when}: {reason}.\nTo stop this: locksmithctl unlock",
            self.host.name
        );
        let mut users: Vec<_> = sessions.iter().map(|s| s.user.as_str()).collect();
        users.sort_unstable();
        users.dedup();
        log::info(format!("told {}: reboot {when}", users.join(", ")));
        self.machine.tell(sessions, &message);
    }

    fn drain(&mut self) {
        if self.step.task.is_some() {
            return;
        }
        self.number += 1;
        self.step.task = Some(self.number);
        let (number, machine, results) = (self.number, self.machine.clone(), self.results.clone());
        tokio::spawn(async move {
            let _ = results.send(Done::Drained(number, machine.drain().await));
        });
    }

    /// Makes sure that the lock is held, then reboots.
    fn reboot(&mut self) {
        if self.step.began.elapsed() >= STUCK {
            let why = match (self.step.rebooted, self.trouble.why()) {
                (true, _) => "it was asked to, and nothing happened".into(),
                (false, Some(why)) => format!("that it holds the lock could not be seen: {why}"),
                (false, None) => "that it holds the lock could not be seen".into(),
            };
            return self.go_on(Event::Stuck(why));
        }
        if self.step.rebooted {
            return;
        }
        if self.saved.place.is_some() {
            return self.order(Order::Alive(self.host.id.clone()));
        }
        self.reboot_now();
    }

    pub(super) fn reboot_now(&mut self) {
        self.step.rebooted = true;
        log::info("rebooting");
        if let Err(error) = self.machine.reboot() {
            let why = format!("asking for a reboot: {error}");
            log::error(&why);
            self.go_on(Event::Stuck(why));
        }
    }

    fn release(&mut self) {
        let moved = self.saved.place.is_some() && self.facts().moved;
        if self.saved.place.is_none() {
            return self.go_on(Event::Released);
        }
        if moved && self.trouble.why().is_some() && self.step.began.elapsed() >= FAREWELL {
            let id = &self.host.id;
            log::error(format!(
                "lock: {id} may still be in a lock that the policy does not name any more, \
                 and that does not answer"
            ));
            return self.go_on(Event::Released);
        }
        self.order(Order::Release(self.host.id.clone()));
    }

    /// An event that follows from what was done, and all that follows from it.
    fn go_on(&mut self, event: Event) {
        let before = self.saved.plan.clone();
        self.happen(event);
        if self.saved.plan != before {
            self.do_duty();
        }
    }
}
