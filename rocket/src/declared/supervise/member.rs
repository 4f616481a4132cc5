//! One container of a pod, from its first start to its last end.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::libc::SIGKILL;
use nix::poll::PollFlags;

use super::attempt::{Attempt, is_ready};
use super::backoff::Backoff;
use super::home::Home;
use super::output::Output;
use super::tracker::{Tracker, Verdict};
use crate::declared::model::{Container, Probe, Restart, Role};
use crate::declared::state::ContainerState;
use crate::pod::App;
use crate::runtime::Running;

/// The status of a container that could not be started.
const NOT_STARTED: u8 = 128;

/// A container of a pod.
#[derive(Debug)]
pub struct Member<'a> {
    container: &'a Container,
    app: &'a App,
    life: Life,
    backoff: Backoff,
    starts: u32,
    last_status: Option<u8>,
    /// Of its runs, until all of it has been passed on.
    outputs: Vec<Output>,
}

#[derive(Debug)]
enum Life {
    /// It was not its turn yet.
    Waiting,
    /// It is started again at this time.
    Again(Instant),
    /// It runs.
    Up(Box<Up>),
    /// It has ended, and is not started again.
    Over { is_failure: bool },
}

/// A run of a container.
#[derive(Debug)]
struct Up {
    running: Running,
    since: Instant,
    startup: Option<Asked>,
    readiness: Option<Asked>,
    liveness: Option<Asked>,
    stop: Option<Stop>,
}

/// A container that is to stop.
#[derive(Debug)]
struct Stop {
    why: Why,
    deadline: Instant,
    /// What runs in it before it is asked.
    hook: Option<Running>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hook,
    Asked,
    Killed,
}

/// Why a container is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its pod stops.
    PodStops,
    /// A probe says that it is of no use.
    IsUnwell,
}

/// A probe of a run.
#[derive(Debug)]
struct Asked {
    tracker: Tracker,
    attempt: Option<Attempt>,
}

/// Whether a container is started again when it has ended.
fn is_restarted(role: Role, restart: Restart, is_failure: bool) -> bool {
    match (role, restart) {
        (Role::Sidecar, _) | (Role::Main, Restart::Always) => true,
        (Role::Main, Restart::OnFailure) => is_failure,
        (Role::Main, Restart::Never) => false,
        (Role::Init, restart) => is_failure && restart != Restart::Never,
    }
}

impl<'a> Member<'a> {
    /// A container whose turn has not come.
    pub fn new(container: &'a Container, app: &'a App) -> Self {
        Self {
            container,
            app,
            life: Life::Waiting,
            backoff: Backoff::default(),
            starts: 0,
            last_status: None,
            outputs: Vec::new(),
        }
    }

    /// What it is in the pod.
    pub fn role(&self) -> Role {
        self.container.role
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.container.name
    }

    /// Its turn has not come.
    pub fn is_waiting(&self) -> bool {
        matches!(self.life, Life::Waiting)
    }

    /// It is not started again; says whether it failed.
    pub fn is_over(&self) -> Option<bool> {
        match self.life {
            Life::Over { is_failure } => Some(is_failure),
            _ => None,
        }
    }

    /// It runs, and what was asked of it at its start has been answered.
    pub fn has_started(&self) -> bool {
        matches!(&self.life, Life::Up(up) if up.stop.is_none() && up.has_started())
    }

    /// It does what it is for.
    pub fn is_ready(&self) -> bool {
        matches!(&self.life, Life::Up(up) if up.is_ready())
    }

    /// Its first process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        match &self.life {
            Life::Up(up) => Some(up.running.pid()),
            _ => None,
        }
    }

    /// How it ended the last time.
    pub fn last_status(&self) -> Option<u8> {
        self.last_status
    }

    /// As others see it.
    pub fn state(&self) -> ContainerState {
        ContainerState {
            name: self.container.name.clone(),
            role: self.container.role,
            pid: self.pid(),
            is_ready: self.is_ready(),
            restarts: self.starts.saturating_sub(1),
            last_status: self.last_status,
        }
    }

    /// Starts it. If it cannot be started, it has failed.
    pub fn start(&mut self, home: &Home<'_>, now: Instant) {
        self.starts = self.starts.saturating_add(1);
        match home.start(self.app) {
            Ok((running, output)) => {
                self.outputs.extend(output);
                let asked = |probe: &Option<Probe>| {
                    let tracker = probe.as_ref().map(|probe| Tracker::new(probe, now));
                    tracker.map(|tracker| Asked {
                        tracker,
                        attempt: None,
                    })
                };
                let probes = &self.container.probes;
                self.life = Life::Up(Box::new(Up {
                    running,
                    since: now,
                    startup: asked(&probes.startup),
                    readiness: asked(&probes.readiness),
                    liveness: asked(&probes.liveness),
                    stop: None,
                }));
            }
            Err(error) => {
                eprintln!("rocket: container {} did not start: {error:#}", self.name());
                self.ended(home, NOT_STARTED, true, Duration::ZERO, now);
            }
        }
    }

    /// Goes on as far as it can.
    pub fn go_on(&mut self, home: &Home<'_>, now: Instant) {
        for output in &mut self.outputs {
            output.go_on();
        }
        self.outputs.retain(|output| !output.is_over());
        match &mut self.life {
            Life::Again(at) if now >= *at => self.start(home, now),
            Life::Up(up) => {
                if is_ready(up.running.pidfd(), PollFlags::POLLIN) {
                    self.see_end(home, now);
                } else if let Some(stop) = &mut up.stop {
                    stop.go_on(&up.running, self.app.stop_signal, now);
                } else if let Some(what) = up.ask(self.app, home, now) {
                    let name = self.name();
                    eprintln!("rocket: container {name} is stopped: its {what} probe fails");
                    self.stop(home, Why::IsUnwell, now);
                }
            }
            _ => {}
        }
    }

    /// Passes on what is left of its output: it has ended.
    pub fn finish_output(&mut self) {
        self.outputs.iter_mut().for_each(Output::finish);
    }

    /// Asks it to stop, and has it killed after `pod`'s time of grace.
    pub fn stop(&mut self, home: &Home<'_>, why: Why, now: Instant) {
        let deadline = now + Duration::from_secs(home.declaration.grace);
        self.stop_until(home, why, now, deadline);
    }

    /// Asks it to stop, and has it killed at `deadline`.
    pub fn stop_until(&mut self, home: &Home<'_>, why: Why, now: Instant, deadline: Instant) {
        match &mut self.life {
            Life::Up(up) => match &mut up.stop {
                // The pod stops meanwhile.
                Some(stop) => {
                    stop.deadline = stop.deadline.min(deadline);
                    stop.why = why;
                }
                None => {
                    let pid = up.running.pid();
                    let hook = self.container.pre_stop.as_ref().and_then(|command| {
                        let begun = home.enter(self.app, pid, command);
                        let said = begun.inspect_err(|error| {
                            eprintln!(
                                "rocket: container {}: preStop: {error:#}",
                                self.container.name
                            );
                        });
                        said.ok()
                    });
                    let mut stop = Stop {
                        why,
                        deadline,
                        hook,
                        step: Step::Hook,
                    };
                    stop.go_on(&up.running, self.app.stop_signal, now);
                    up.stop = Some(stop);
                    // Nobody wants the answers any more.
                    (up.startup, up.readiness, up.liveness) = (None, None, None);
                }
            },
            Life::Waiting | Life::Again(_) => self.life = Life::Over { is_failure: false },
            Life::Over { .. } => {}
        }
    }

    fn see_end(&mut self, home: &Home<'_>, now: Instant) {
        let Life::Up(up) = &self.life else {
            return;
        };
        let status = match up.running.wait() {
            Ok(exit) => exit.code(),
            Err(error) => {
                eprintln!("rocket: container {}: {error}", self.container.name);
                u8::MAX
            }
        };
        // Programs that its first process left behind elsewhere in its group.
        if let Some(group) = up.running.cgroup()
            && let Err(error) = group.remove()
        {
            eprintln!("rocket: container {}: {error}", self.container.name);
        }
        let why = up.stop.as_ref().map(|stop| stop.why);
        let is_failure = match why {
            Some(Why::IsUnwell) => true,
            Some(Why::PodStops) => false,
            None => status != 0,
        };
        let ran = now.saturating_duration_since(up.since);
        if why == Some(Why::PodStops) {
            self.last_status = Some(status);
            self.life = Life::Over { is_failure };
            eprintln!(
                "rocket: container {} stopped with status {status}",
                self.container.name
            );
        } else {
            self.ended(home, status, is_failure, ran, now);
        }
    }

    fn ended(
        &mut self,
        home: &Home<'_>,
        status: u8,
        is_failure: bool,
        ran: Duration,
        now: Instant,
    ) {
        let name = &self.container.name;
        self.last_status = Some(status);
        if is_restarted(self.container.role, home.declaration.restart, is_failure) {
            let wait = self.backoff.wait(ran);
            eprintln!(
                "rocket: container {name} ended with status {status}, starts again in {} s",
                wait.as_secs()
            );
            self.life = Life::Again(now + wait);
        } else {
            eprintln!("rocket: container {name} ended with status {status}");
            self.life = Life::Over { is_failure };
        }
    }

    /// What to wait for.
    pub fn watched(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut all: Vec<_> = self.outputs.iter().map(Output::watched).collect();
        if let Life::Up(up) = &self.life {
            let hook = up.stop.as_ref().and_then(|stop| stop.hook.as_ref());
            let programs = [Some(&up.running), hook].into_iter().flatten();
            all.extend(programs.map(|running| (running.pidfd(), PollFlags::POLLIN)));
            let attempts = up.active().filter_map(|asked| asked.attempt.as_ref());
            all.extend(attempts.filter_map(Attempt::watched));
        }
        all
    }

    /// When there is something to do though nothing happens.
    pub fn next(&self) -> Option<Instant> {
        match &self.life {
            Life::Again(at) => Some(*at),
            Life::Up(up) => match &up.stop {
                Some(stop) if stop.step == Step::Killed => None,
                Some(stop) => Some(stop.deadline),
                None => up.active().map(Asked::next).min(),
            },
            _ => None,
        }
    }
}

impl Up {
    fn has_started(&self) -> bool {
        self.startup.as_ref().is_none_or(Asked::is_yes)
    }

    fn is_ready(&self) -> bool {
        self.stop.is_none()
            && self.has_started()
            && self.readiness.as_ref().is_none_or(Asked::is_yes)
    }

    /// Probes whose time has come: that of the start, until it was answered, then the others.
    fn active(&self) -> impl Iterator<Item = &Asked> {
        let probes = match self.has_started() {
            true => [&self.readiness, &self.liveness],
            false => [&self.startup, &None],
        };
        probes.into_iter().flatten()
    }

    /// Asks what is due. Names the probe by which the container should stop.
    fn ask(&mut self, app: &App, home: &Home<'_>, now: Instant) -> Option<&'static str> {
        let pid = self.running.pid();
        let go_on = |asked: &mut Option<Asked>| {
            let asked = asked.as_mut()?;
            asked.go_on(now, |probe| {
                Attempt::new(probe, home.address(), now, |command| {
                    home.enter(app, pid, command)
                })
            });
            asked.tracker.verdict()
        };
        if !self.has_started() {
            let verdict = go_on(&mut self.startup);
            return (verdict == Some(Verdict::No)).then_some("startup");
        }
        go_on(&mut self.readiness);
        let verdict = go_on(&mut self.liveness);
        (verdict == Some(Verdict::No)).then_some("liveness")
    }
}

impl Asked {
    fn is_yes(&self) -> bool {
        self.tracker.verdict() == Some(Verdict::Yes)
    }

    fn next(&self) -> Instant {
        match &self.attempt {
            Some(attempt) => attempt.deadline(),
            None => self.tracker.next(),
        }
    }

    fn go_on(&mut self, now: Instant, ask: impl FnOnce(&Probe) -> Attempt) {
        if self.attempt.is_none() && now >= self.tracker.next() {
            self.tracker.asked(now);
            self.attempt = Some(ask(self.tracker.probe()));
        }
        if let Some(attempt) = &mut self.attempt
            && let Some(answer) = attempt.go_on(now)
        {
            self.attempt = None;
            self.tracker.answered(answer);
        }
    }
}

impl Stop {
    fn go_on(&mut self, running: &Running, signal: i32, now: Instant) {
        let hook = self
            .hook
            .take_if(|hook| is_ready(hook.pidfd(), PollFlags::POLLIN));
        if let Some(hook) = hook {
            // How it ended changes nothing; that it is seen lets the container end.
            let _ = hook.wait();
        }
        if self.step == Step::Hook && self.hook.is_none() {
            self.step = Step::Asked;
            // It may have ended just now.
            let _ = running.signal(signal);
        }
        if now >= self.deadline && self.step != Step::Killed {
            self.step = Step::Killed;
            // Its programs go with the first process of its namespace: the hook too.
            let _ = running.signal(SIGKILL);
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(hook) = &self.hook {
            let _ = hook.signal(SIGKILL);
            let _ = hook.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_again_follows_from_role_and_policy() {
        use Restart::{Always, Never, OnFailure};
        use Role::{Init, Main, Sidecar};
        let cases = [
            (
                Main,
                [
                    (Always, [true, true]),
                    (OnFailure, [false, true]),
                    (Never, [false, false]),
                ],
            ),
            (
                Sidecar,
                [
                    (Always, [true, true]),
                    (OnFailure, [true, true]),
                    (Never, [true, true]),
                ],
            ),
            (
                Init,
                [
                    (Always, [false, true]),
                    (OnFailure, [false, true]),
                    (Never, [false, false]),
                ],
            ),
        ];
        for (role, policies) in cases {
            for (restart, [well, failed]) in policies {
                assert_eq!(
                    is_restarted(role, restart, false),
                    well,
                    "{role:?} {restart:?}"
                );
                assert_eq!(
                    is_restarted(role, restart, true),
                    failed,
                    "{role:?} {restart:?}"
                );
            }
        }
    }
}
