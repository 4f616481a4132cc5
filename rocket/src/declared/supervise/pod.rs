//! All containers of a pod: which of them starts when, and how they end together.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::CONTAINER_FAILED;
use super::home::Home;
use super::member::{Member, Why};
use crate::declared::model::Role;
use crate::declared::state::{self, ContainerState, PodState, Standing};
use crate::dirs::Dirs;
use crate::notify;
use crate::pod::Ended;

/// The supervisor of a pod.
pub struct Supervisor<'a> {
    home: &'a Home<'a>,
    dirs: &'a Dirs,
    members: Vec<Member<'a>>,
    ending: Option<Ending>,
    signals: SignalFd,
    state: &'a mut PodState,
    shown: Option<PodState>,
    was_ready: bool,
    /// The processes that were noted last.
    noted: Vec<(&'a str, i32)>,
}

/// A pod that ends.
#[derive(Debug, Clone, Copy)]
struct Ending {
    deadline: Instant,
    status: u8,
}

impl<'a> Supervisor<'a> {
    /// Of a pod none of whose containers was started.
    pub fn new(
        home: &'a Home<'a>,
        dirs: &'a Dirs,
        signals: SignalFd,
        state: &'a mut PodState,
    ) -> Self {
        let containers = home.declaration.all().zip(&home.manifest.apps);
        Self {
            members: containers
                .map(|(container, app)| Member::new(container, app))
                .collect(),
            home,
            dirs,
            ending: None,
            signals,
            state,
            shown: None,
            was_ready: false,
            noted: Vec::new(),
        }
    }

    /// Runs it to its end. Returns the exit status and how its containers ended.
    ///
    /// # Errors
    /// The kernel refuses to wait, or what others are to know cannot be written.
    pub fn run(mut self) -> anyhow::Result<(u8, Vec<Ended>)> {
        loop {
            let now = Instant::now();
            self.members
                .iter_mut()
                .for_each(|member| member.go_on(self.home, now));
            match self.ending {
                None => self.advance(now),
                Some(ending) => self.stop_next(ending, now),
            }
            self.note()?;
            self.show()?;
            if let Some(ending) = self.ending
                && self.members.iter().all(|member| member.is_over().is_some())
            {
                self.members.iter_mut().for_each(Member::finish_output);
                return Ok((ending.status, self.ended()));
            }
            self.wait(now)?;
            if self.is_asked_to_stop()? && self.ending.is_none() {
                eprintln!("rocket: pod {} stops", self.state.name);
                // It is told so that nobody takes the end for a failure.
                let _ = notify::send("STOPPING=1");
                self.end(0, Instant::now());
            }
        }
    }

    fn end(&mut self, status: u8, now: Instant) {
        let deadline = now + Duration::from_secs(self.home.declaration.grace);
        self.ending = Some(Ending { deadline, status });
        self.stop_next(Ending { deadline, status }, now);
    }

    /// Starts whatever's turn it is: init containers one after the other, then the containers
    /// all at once.
    fn advance(&mut self, now: Instant) {
        let init = self
            .members
            .iter()
            .take_while(|member| member.role() != Role::Main)
            .count();
        for number in 0..init {
            let member = &mut self.members[number];
            if member.is_waiting() {
                member.start(self.home, now);
            }
            match (member.role(), member.is_over()) {
                (Role::Init, Some(false)) => {}
                (_, Some(true)) => return self.end(CONTAINER_FAILED, now),
                // A sidecar that starts again later holds up nothing once the others run.
                (Role::Sidecar, _) if member.has_started() => {}
                (Role::Sidecar, _) if !self.is_mains_turn_over() => return,
                (Role::Sidecar, _) => {}
                _ => return,
            }
        }
        let home = self.home;
        let mains = self
            .members
            .iter_mut()
            .filter(|member| member.role() == Role::Main);
        for member in mains.filter(|member| member.is_waiting()) {
            member.start(home, now);
        }
        let mut mains = self
            .members
            .iter()
            .filter(|member| member.role() == Role::Main);
        if mains.clone().all(|member| member.is_over().is_some()) {
            let has_failed = mains.any(|member| member.is_over() == Some(true));
            self.end(if has_failed { CONTAINER_FAILED } else { 0 }, now);
        }
    }

    /// Whether something that comes after the sidecars was started already.
    fn is_mains_turn_over(&self) -> bool {
        let mut mains = self
            .members
            .iter()
            .filter(|member| member.role() == Role::Main);
        mains.any(|member| !member.is_waiting())
    }

    /// Stops containers together, then sidecars one after the other, the last one first.
    fn stop_next(&mut self, ending: Ending, now: Instant) {
        let home = self.home;
        let mut is_left = false;
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.role() != Role::Sidecar)
        {
            member.stop_until(home, Why::PodStops, now, ending.deadline);
            is_left |= member.is_over().is_none();
        }
        let sidecars = self.members.iter_mut().rev();
        for member in sidecars.filter(|member| member.role() == Role::Sidecar) {
            if is_left {
                return;
            }
            member.stop_until(home, Why::PodStops, now, ending.deadline);
            is_left = member.is_over().is_none();
        }
    }

    /// Notes processes whenever they change.
    fn note(&mut self) -> anyhow::Result<()> {
        let running = self.members.iter();
        let running: Vec<(&'a str, i32)> = running
            .filter_map(|member| Some((member.name(), member.pid()?)))
            .collect();
        if self.noted != running {
            self.home.write_record(&running)?;
            self.noted = running;
        }
        Ok(())
    }

    /// Tells others whenever something has changed.
    fn show(&mut self) -> anyhow::Result<()> {
        self.state.containers = self.members.iter().map(Member::state).collect();
        self.state.standing = self.standing();
        self.state.status = status(self.state.standing, &self.state.containers);
        if self.shown.as_ref() == Some(&*self.state) {
            return Ok(());
        }
        state::write(self.dirs, self.state)?;
        let mut message = format!("STATUS={}", self.state.status);
        let is_done = self.ending.is_some_and(|ending| ending.status == 0);
        if !self.was_ready && (self.state.standing == Standing::Ready || is_done) {
            // A pod that has done its work was as good as ready.
            self.was_ready = true;
            message.push_str("\nREADY=1");
        }
        // A service manager that is gone has nobody to show it to.
        let _ = notify::send(&message);
        self.shown = Some(self.state.clone());
        Ok(())
    }

    /// A container that has done its work keeps nobody from being ready.
    fn standing(&self) -> Standing {
        let counts =
            |member: &&Member<'_>| member.role() != Role::Init && member.is_over() != Some(false);
        let mut members = self.members.iter().filter(counts);
        if self.ending.is_some() {
            Standing::Stopping
        } else if members.all(Member::is_ready) {
            Standing::Ready
        } else if self.was_ready {
            Standing::Unready
        } else {
            Standing::Starting
        }
    }

    fn wait(&self, now: Instant) -> anyhow::Result<()> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let watched = self.members.iter().flat_map(Member::watched);
        fds.extend(watched.map(|(fd, flags)| PollFd::new(fd, flags)));
        let next = self.members.iter().filter_map(Member::next).min();
        let timeout = next.map_or(PollTimeout::NONE, |next| {
            // Milliseconds are rounded down: too early would be for nothing.
            let left = next.saturating_duration_since(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("waiting for containers"),
        }
    }

    fn is_asked_to_stop(&self) -> anyhow::Result<bool> {
        let mut is_asked = false;
        while self
            .signals
            .read_signal()
            .context("reading signals")?
            .is_some()
        {
            is_asked = true;
        }
        Ok(is_asked)
    }

    fn ended(&self) -> Vec<Ended> {
        let ended = |member: &Member<'_>| Ended {
            name: member.name().to_owned(),
            status: member.last_status(),
        };
        self.members.iter().map(ended).collect()
    }
}

/// `2/2 ready, 1 restart`
fn status(standing: Standing, containers: &[ContainerState]) -> String {
    let init = containers.iter().filter(|one| one.role == Role::Init);
    let of_init = init
        .clone()
        .find(|one| one.last_status != Some(0) || one.pid.is_some());
    let restarts: u32 = containers.iter().map(|one| one.restarts).sum();
    let rest = containers.iter().filter(|one| one.role != Role::Init);
    let ready = rest.clone().filter(|one| one.is_ready).count();
    let mut text = match of_init {
        Some(one) if standing == Standing::Starting => match (one.pid, one.last_status) {
            (Some(_), _) => format!("init container {} runs", one.name),
            (None, Some(status)) => {
                format!("init container {} failed with status {status}", one.name)
            }
            (None, None) => format!("init container {} waits", one.name),
        },
        _ => format!("{ready}/{} ready", rest.clone().count()),
    };
    if standing == Standing::Stopping {
        text = format!("stopping: {text}");
    }
    match restarts {
        0 => {}
        1 => text.push_str(", 1 restart"),
        many => text.push_str(&format!(", {many} restarts")),
    }
    let is_down = |one: &&ContainerState| one.pid.is_none() && one.last_status.is_some();
    if standing != Standing::Stopping {
        for one in rest.filter(is_down) {
            let status = one.last_status.unwrap_or_default();
            text.push_str(&format!("; {} ended with status {status}", one.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(role: Role, pid: Option<i32>, is_ready: bool, restarts: u32) -> ContainerState {
        ContainerState {
            name: "c".into(),
            role,
            pid,
            is_ready,
            restarts,
            last_status: pid.is_none().then_some(3),
        }
    }

    #[test]
    fn a_pod_says_how_it_is_in_one_line() {
        let init = ContainerState {
            last_status: Some(0),
            ..container(Role::Init, None, false, 0)
        };
        let main = container(Role::Main, Some(7), true, 1);
        let side = container(Role::Sidecar, Some(8), true, 0);
        let all = [init, side, main];
        assert_eq!(status(Standing::Ready, &all), "2/2 ready, 1 restart");
        assert_eq!(
            status(Standing::Stopping, &all),
            "stopping: 2/2 ready, 1 restart"
        );
        let down = [container(Role::Main, None, false, 2)];
        let expected = "0/1 ready, 2 restarts; c ended with status 3";
        assert_eq!(status(Standing::Unready, &down), expected);
        let init = [container(Role::Init, Some(9), false, 0)];
        assert_eq!(status(Standing::Starting, &init), "init container c runs");
    }
}
