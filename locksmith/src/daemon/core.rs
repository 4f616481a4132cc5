//! The daemon's state, and how it changes.

use std::sync::Arc;
use std::time::Duration;

use daemon::log::{self, chain};
use daemon::pause::{backoff, jittered, random};
use daemon::policy::follow::Reload;
use daemon::policy::{Follower, Severity};
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::answers::Done;
use super::locker::Locker;
use super::steps::Step;
use super::trouble::Trouble;
use super::{CommandError, Locks, Machine, Setup, TICK, sooner};
use crate::engine::Engine;
use crate::host::Host;
use crate::lock::Wait;
use crate::plan::{Allowed, By, Event, Facts, Known, Need, Plan, Why};
use crate::settings::{self, Place, Settings};
use crate::state::{Saved, Store};
use crate::window::Windows;

/// How long a host pauses after a reboot came to nothing; twice as long each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(600);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(7200);

/// When it is tried again to do what could not be done.
const RETRY: Duration = Duration::from_secs(1);

/// Decides and acts; [`super::run`] brings it what happens.
pub struct Core {
    pub(super) store: Store,
    pub(super) saved: Saved,
    pub(super) host: Host,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) locks: Arc<dyn Locks>,
    pub(super) follower: Follower,
    pub(super) settings: Settings,
    pub(super) windows: Windows,
    /// The policy could be read whole, once: what it says about locks is known.
    pub(super) whole: bool,
    pub(super) engine: Engine,
    /// The lock that the plan is about, while there is something to ask it.
    pub(super) locker: Option<Locker>,
    /// The order that the lock is at; another may have been asked for since.
    pub(super) busy: Option<u64>,
    /// The way to the lock has changed.
    pub(super) outdated: bool,
    pub(super) trouble: Trouble,
    /// Whom this host waits for.
    pub(super) wait: Option<Wait>,
    /// What goes on in the plan's state.
    pub(super) step: Step,
    /// Orders, tasks: each has a number, so that answers that come too late are known.
    pub(super) number: u64,
    /// Until when nothing is begun, by both clocks.
    pub(super) pause: Option<(Instant, Timestamp)>,
    /// Reboots in a row that came to nothing.
    pub(super) strikes: u32,
    /// Why the last one did.
    pub(super) last: Option<(Timestamp, Why)>,
    /// A release that was left is being told to the group.
    pub(super) reporting: bool,
    /// What was wrong with locksmith's own files.
    pub(super) warnings: Vec<String>,
    pub(super) results: UnboundedSender<Done>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("saved", &self.saved).finish()
    }
}

impl Core {
    /// Reads what was saved and the policy. Tasks report to `results`.
    pub fn new(setup: Setup, results: UnboundedSender<Done>) -> Self {
        let (saved, warning) = setup.store.load();
        let damaged = warning.is_some();
        warning.iter().for_each(log::warn);
        let follower = Follower::new(setup.roots, settings::schema());
        let mut core = Self {
            store: setup.store,
            saved,
            host: setup.host,
            machine: setup.machine,
            locks: setup.locks,
            follower,
            settings: Settings::default(),
            windows: Windows::always(),
            whole: false,
            engine: Engine::Unknown,
            locker: None,
            busy: None,
            outdated: false,
            trouble: Trouble::default(),
            wait: None,
            step: Step::new(),
            number: 0,
            pause: None,
            strikes: 0,
            last: None,
            reporting: false,
            warnings: warning.into_iter().collect(),
            results,
        };
        core.report_problems();
        core.read_settings();
        if damaged {
            // The lock may be held, and nobody would know any more.
            core.saved.plan = Plan::Settling;
            core.saved.place = core.settings.place();
        }
        core
    }

    /// Brings what was saved and this boot together.
    pub fn start(&mut self) {
        if self.saved.boot == self.host.boot {
            return;
        }
        let first = self.saved.boot.is_empty();
        let boot = self.host.boot.clone();
        let before = self.saved.clone();
        self.saved.boot = boot;
        self.saved.wish = None;
        if !first {
            self.happen(Event::Boot);
        }
        if self.saved.plan == before.plan {
            self.keep(before);
        }
    }

    /// Takes the plan to the next one: saved, logged. An event that does not belong to the
    /// state changes nothing.
    pub(super) fn happen(&mut self, event: Event) {
        let begins = matches!(event, Event::Begin(_));
        let next = match self.saved.plan.on(event) {
            Ok(next) => next,
            Err(rejected) => return log::debug(rejected),
        };
        if next == self.saved.plan {
            return;
        }
        let before = self.saved.clone();
        if before.plan == Plan::Resting {
            self.saved.place = begins.then(|| self.settings.place()).flatten();
        }
        let line = plan_line(&before.plan, &next);
        self.saved.plan = next;
        self.saved.since = Some(Timestamp::now());
        if !self.keep(before) {
            return;
        }
        log::info(line);
        self.entered();
    }

    /// Saves what is to be remembered; where that fails, it is `before` again. Tells
    /// whether it worked.
    pub(super) fn keep(&mut self, before: Saved) -> bool {
        match self.store.save(&self.saved) {
            Ok(()) => true,
            Err(error) => {
                let why = chain(&error);
                if !self.warnings.contains(&why) {
                    log::error(&why);
                    self.warnings.push(why);
                }
                self.saved = before;
                false
            }
        }
    }

    /// What goes with a state that was just entered.
    fn entered(&mut self) {
        self.step = Step::new();
        self.wait = None;
        match self.saved.plan.clone() {
            Plan::Resting => {
                self.locker = None;
                self.trouble.forget();
            }
            Plan::Releasing { why } => {
                if why.is_orderly() {
                    self.strikes = 0;
                } else {
                    self.pause_for(&why);
                }
                self.last = Some((Timestamp::now(), why));
            }
            _ => {}
        }
    }

    fn pause_for(&mut self, why: &Why) {
        self.strikes = self.strikes.saturating_add(1);
        let pause = backoff(FIRST_PAUSE, LONGEST_PAUSE, self.strikes);
        let pause = jittered(pause, 0.2, random());
        let until = Timestamp::now().saturating_add(pause);
        let until = until.unwrap_or(Timestamp::MAX);
        self.pause = Some((Instant::now() + pause, until));
        log::warn(format!(
            "not now: {why}; nothing is begun before {until:.0}"
        ));
    }

    /// Changes what an operator wants. Fails if that cannot be saved.
    pub(super) fn want(&mut self, edit: impl FnOnce(&mut Saved)) -> Result<(), CommandError> {
        let before = self.saved.clone();
        edit(&mut self.saved);
        if self.keep(before) {
            // Whoever asks now is not put off by what came to nothing before.
            self.pause = None;
            return Ok(());
        }
        let why = self.warnings.last().cloned();
        Err(CommandError::Failed(why.unwrap_or_default()))
    }

    /// update-engine says something else.
    pub fn hear(&mut self, engine: Engine) {
        self.engine = engine;
    }

    /// Reads the policy again.
    pub fn reload(&mut self) {
        match self.follower.reload() {
            Reload::Unchanged => return,
            Reload::Changed => log::info("policy: read again"),
            Reload::Kept => log::error("policy: the last good one stays in force"),
        }
        self.report_problems();
        self.read_settings();
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
        let problems = self.follower.problems();
        let whole = problems.iter().all(|p| p.severity == Severity::Warning);
        self.whole |= whole;
        match Settings::read(self.follower.policy()) {
            Ok(settings) if settings != self.settings => {
                // What was wrong may have been the policy.
                self.pause = None;
                self.outdated = true;
                self.settings = settings;
            }
            Ok(_) => {}
            Err(error) => log::error(error),
        }
        let (reboot, host) = (&self.settings.reboot, &self.host);
        self.windows = Windows::of(reboot, host.id.as_str(), &host.zone);
    }

    /// What is known of this host.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            need: self.need(),
            keep: self.saved.keep.clone(),
            allowed: self.allowed(),
            open: self.is_open(),
            settled: self.engine.is_settled() && self.unreported().is_none(),
            pausing: self.pausing().is_some(),
            moved: self.whole && self.has_moved(),
        }
    }

    pub(super) fn allowed(&self) -> Allowed {
        match self.whole {
            true => self.settings.allowed(),
            false => Allowed::Unknown,
        }
    }

    /// Why this host is to reboot.
    pub(super) fn need(&self) -> Known<Need> {
        let engine = self.engine.need();
        if let Some(reason) = &self.saved.wish {
            let to = match engine {
                Known::Yes(need) => need.to,
                _ => None,
            };
            return Known::Yes(Need {
                reason: reason.clone(),
                to,
                by: By::Operator,
            });
        }
        match (engine, self.host.wanted()) {
            (Known::Yes(need), _) => Known::Yes(need),
            (_, Some(reason)) => Known::Yes(Need {
                reason,
                to: None,
                by: By::Host,
            }),
            (other, None) => other,
        }
    }

    /// A window is open; an operator's wish needs none where the policy reboots nobody.
    pub(super) fn is_open(&self) -> bool {
        let now = Timestamp::now();
        self.allowed() == Allowed::ByOperator || self.windows.at(now).is_open()
    }

    pub(super) fn pausing(&self) -> Option<Timestamp> {
        let (until, shown) = self.pause?;
        (Instant::now() < until).then_some(shown)
    }

    /// The lock of the plan is not the one that the policy names now.
    fn has_moved(&self) -> bool {
        match (&self.saved.place, self.settings.place()) {
            (Some(ours), Some(theirs)) => !ours.is_same(&theirs),
            (None, None) => false,
            _ => true,
        }
    }

    /// Where the plan's lock is, the way there as the policy has it now.
    pub(super) fn place(&self) -> Option<Place> {
        let ours = self.saved.place.as_ref()?;
        let theirs = self.settings.place();
        let same = theirs.filter(|theirs| ours.is_same(theirs));
        Some(same.unwrap_or_else(|| ours.clone()))
    }

    /// Does what follows from what is known.
    pub fn drive(&mut self) {
        // Every event leads to another state, and none of them follow each other for long;
        // what cannot be saved is tried again later.
        for _ in 0..4 {
            let Some(event) = self.saved.plan.next(&self.facts()) else {
                break;
            };
            self.happen(event);
        }
        self.do_duty();
        self.report_rollback();
    }

    /// When [`Core::drive`] is to be called again, if nothing happens before.
    pub fn due(&self) -> Instant {
        let now = Instant::now();
        let mut due = now + TICK;
        let opening = self.windows.at(Timestamp::now()).until();
        let left = opening.map(|until| until.duration_since(Timestamp::now()));
        if let Some(Ok(left)) = left.map(Duration::try_from) {
            // A moment later, since timers are not exact.
            due = due.min(now + left + Duration::from_millis(50));
        }
        due = sooner(due, self.pause.map(|(until, _)| until).filter(|u| *u > now));
        due = sooner(due, self.trouble.again());
        due = sooner(due, self.step.due(&self.saved.plan));
        // What is still due could not be done.
        if due > now { due } else { now + RETRY }
    }
}

/// The one line about a change of state.
fn plan_line(old: &Plan, new: &Plan) -> String {
    let mut line = format!("plan: {} -> {}", old.name(), new.name());
    if let Some(need) = new.need() {
        if let Some(to) = &need.to {
            line.push_str(&format!(" to={to}"));
        }
        line.push_str(&format!(" reason={:?}", need.reason));
    }
    if let Plan::Releasing { why } = new {
        line.push_str(&format!(" reason={:?}", why.to_string()));
    }
    if let Plan::Kept { reason } = new {
        line.push_str(&format!(" reason={reason:?}"));
    }
    line
}
