//! Everything there is, and what happens to it next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ledger::{Ledger, Violation};
use super::model::Model;
use super::network::{Answer, Flight, Request};
use super::random::Random;
use super::{Outcome, Setup, Weather};
use crate::etcd::Keys;
use crate::record::{GroupName, HolderId};

/// What a host has on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// It needs nothing.
    Idle,
    /// It wants to reboot.
    Wanting,
    /// It was granted the lock and has not rebooted.
    Held,
    /// It has rebooted and is not well yet.
    Booted,
}

/// One of the hosts.
#[derive(Debug)]
pub struct Place {
    pub id: HolderId,
    pub disk: Disk,
    /// Number of the boot.
    pub boot: u32,
    /// When it comes up, if it is down.
    pub up_at: Option<Duration>,
    /// It reboots with the lock; else it crashed.
    pub reboots: bool,
    /// Whether nothing gets through between it and etcd.
    pub cut: bool,
    /// By how many seconds its clock is wrong.
    pub wrong: i64,
    /// How far its monotonic clock is from the world's, which never changes.
    pub since: Duration,
}

#[derive(Debug)]
pub struct World {
    pub setup: Setup,
    pub steps: u64,
    pub now: Duration,
    pub random: Random,
    pub etcd: Model,
    pub has_leader: bool,
    pub keys: Keys,
    pub hosts: Vec<Place>,
    pub flights: BTreeMap<u64, Flight>,
    pub answers: BTreeMap<u64, Answer>,
    pub timers: BTreeMap<u64, (usize, Duration)>,
    next: u64,
    /// Hosts that can go on.
    pub ready: BTreeSet<usize>,
    pub ledger: Ledger,
    pub outcome: Outcome,
    /// The release that everybody wants.
    pub target: u64,
    /// Who will not come back.
    pub dead: Option<usize>,
    pub fair: bool,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    pub fn new(setup: &Setup) -> Self {
        let mut random = Random::new(setup.seed);
        let actors = setup.hosts + usize::from(setup.operator || setup.dead);
        let hosts = (0..actors).map(|n| place(n, &mut random)).collect();
        #[allow(clippy::expect_used, reason = "the name is right here")]
        let group = GroupName::new("simulated").expect("a good name");
        Self {
            setup: *setup,
            steps: 0,
            now: Duration::ZERO,
            random,
            etcd: Model::default(),
            has_leader: true,
            keys: Keys::new(group),
            hosts,
            flights: BTreeMap::new(),
            answers: BTreeMap::new(),
            timers: BTreeMap::new(),
            next: 0,
            ready: (0..actors).collect(),
            ledger: Ledger::new(setup),
            outcome: Outcome::default(),
            target: 1,
            dead: None,
            fair: false,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One thing happens that is nobody's fault: a message comes through, or time passes.
    pub fn go_on(&mut self, weather: Weather) {
        let moving = self.moving();
        let impatient = match weather {
            Weather::Stormy => self.random.one_in(8),
            Weather::Fair => self.random.one_in(40),
        };
        match self.random.of(&moving).copied() {
            Some(id) if !impatient => self.move_on(id, weather),
            _ => self.pass_time(moving.is_empty(), weather),
        }
    }

    fn pass_time(&mut self, quiet: bool, weather: Weather) {
        let next = self.next_moment().saturating_sub(self.now);
        let pause = match (quiet, weather) {
            (true, _) => next,
            (false, Weather::Stormy) => self.random.time(Duration::ZERO, SECOND * 3).min(next),
            (false, Weather::Fair) => self.random.time(Duration::ZERO, SECOND / 20).min(next),
        };
        self.now += pause;
        if self.has_leader {
            self.etcd.expire(self.now);
        }
        self.ring();
        self.lose_patience();
        self.bring_up();
    }

    /// The next moment at which something happens by itself.
    fn next_moment(&self) -> Duration {
        let timers = self.timers.values().map(|(_, due)| *due);
        let deadlines = self.flights.values().filter_map(|flight| flight.deadline);
        let up = self.hosts.iter().filter_map(|host| host.up_at);
        let lease = self.etcd.next_expiry().filter(|_| self.has_leader);
        let all = timers.chain(deadlines).chain(up).chain(lease);
        all.min().unwrap_or(self.now + SECOND).max(self.now)
    }

    fn ring(&mut self) {
        let now = self.now;
        let due = self.timers.values().filter(|(_, due)| *due <= now);
        self.ready.extend(due.map(|(host, _)| *host));
    }

    fn bring_up(&mut self) {
        for (number, host) in self.hosts.iter_mut().enumerate() {
            if host.up_at.is_some_and(|at| at <= self.now) {
                host.up_at = None;
                if host.reboots {
                    host.reboots = false;
                    host.disk = Disk::Booted;
                    self.ledger.is_down.remove(&number);
                }
                self.ready.insert(number);
            }
        }
    }

    /// Sends a request.
    pub fn send(&mut self, host: usize, request: Request) -> u64 {
        let id = self.number();
        self.flights
            .insert(id, Flight::new(host, request, self.now));
        id
    }

    /// Everything is mended, but for what is dead.
    pub fn mend(&mut self, dead: Option<usize>) {
        self.fair = true;
        self.dead = dead;
        if !self.has_leader {
            self.has_leader = true;
            self.etcd.renew_all(self.now);
        }
        let now = self.now;
        for (number, host) in self.hosts.iter_mut().enumerate() {
            host.cut = false;
            match dead == Some(number) {
                true => host.up_at = None,
                false => host.up_at = host.up_at.map(|at| at.min(now + SECOND * 60)),
            }
        }
        // Who takes the lock from it has made sure that it is gone.
        self.ledger.is_down.retain(|host| dead != Some(*host));
        let hosts = 0..self.setup.hosts;
        self.ledger.hungry = hosts.filter(|host| dead != Some(*host)).collect();
    }

    /// Compares the world with what the lock promises.
    pub fn check(&mut self) -> Result<(), Violation> {
        if let Some(what) = self.ledger.violation.take() {
            return Err(self.violation(what));
        }
        if self.fair {
            self.check_idle_places()?;
        }
        Ok(())
    }

    pub fn violation(&self, what: String) -> Violation {
        Violation {
            seed: self.setup.seed,
            step: self.steps,
            what,
        }
    }

    pub fn starved(&self) -> Violation {
        let hungry: Vec<&str> = self
            .ledger
            .hungry
            .iter()
            .map(|n| self.hosts[*n].id.as_str())
            .collect();
        let mut what = format!("never got the lock: {}", hungry.join(", "));
        if let Some(entry) = self.etcd.get(&self.keys.semaphore).entry {
            what += &format!(
                "; the document is {}",
                String::from_utf8_lossy(&entry.value)
            );
        }
        self.violation(what)
    }
}

fn place(number: usize, random: &mut Random) -> Place {
    #[allow(clippy::expect_used, reason = "the name is right here")]
    let id = HolderId::new(format!("host-{number}")).expect("a good name");
    Place {
        id,
        disk: Disk::Idle,
        boot: 1,
        up_at: None,
        reboots: false,
        cut: false,
        wrong: 0,
        since: random.time(SECOND, SECOND * 1_000_000),
    }
}
