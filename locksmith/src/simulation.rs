//! Hosts that contend for one lock, on a model of etcd, in a world where everything that
//! can go wrong does: answers are late or lost, hosts crash at any point, links are cut,
//! the leader goes, clocks jump. The code of the lock is the one that hosts run.
//!
//! A run is one thread and one random number generator: the same seed is the same run.
//! After every step the world is compared with what the lock promises ([`Violation`]).

mod defect;
mod faults;
mod host;
mod ledger;
mod memory;
mod model;
mod network;
mod operator;
mod port;
mod random;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use defect::Defect;
pub use ledger::Violation;
pub use memory::Memory;

use faults::Fault;
use host::Host;
use world::World;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What all chances come from.
    pub seed: u64,
    /// How many hosts contend.
    pub hosts: usize,
    /// How many may hold the lock at once.
    pub max: u32,
    /// How many steps things go wrong for.
    pub steps: u64,
    /// After which silence a holder is taken for gone.
    pub expire_after: Option<Duration>,
    /// Whether operators change `max`, and releases are bad.
    pub operator: bool,
    /// Whether one host never comes back once the other faults have ended.
    pub dead: bool,
    /// What is wrong with the code of the lock.
    pub defect: Option<Defect>,
}

/// What happened in a run that kept all promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// All steps.
    pub steps: u64,
    /// How often the lock was granted.
    pub grants: u64,
    /// How often a host crashed.
    pub crashes: u64,
    /// How many requests or answers were lost, or too late.
    pub lost: u64,
    /// How many holders were taken for gone.
    pub expired: u64,
    /// How often a release was refused because of a brake.
    pub braked: u64,
}

/// The world, shared by the hosts and the scheduler.
type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    // A panic in a test is the test's failure already.
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most steps in which everybody has to get the lock once the faults have ended, for each
/// host.
const SERVED_WITHIN: u64 = 20_000;

/// Runs a world until its steps are over and everybody had the lock after that.
pub fn run(setup: &Setup) -> Result<Outcome, Violation> {
    let mut run = Run::new(setup);
    for _ in 0..setup.steps {
        run.step(Weather::Stormy)?;
    }
    run.end_faults();
    let most = SERVED_WITHIN * (setup.hosts as u64 + 1);
    for _ in 0..most {
        if lock(&run.world).ledger.is_everybody_served() {
            return Ok(run.outcome());
        }
        run.step(Weather::Fair)?;
    }
    Err(lock(&run.world).starved())
}

/// Whether things go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Stormy,
    Fair,
}

struct Run {
    world: Shared,
    hosts: Vec<Host>,
    dead: bool,
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let world = Arc::new(Mutex::new(World::new(setup)));
        let actors = setup.hosts + usize::from(setup.operator || setup.dead);
        let hosts = (0..actors).map(|number| Host::new(&world, number));
        Self {
            hosts: hosts.collect(),
            dead: setup.dead,
            world,
        }
    }

    fn step(&mut self, weather: Weather) -> Result<(), Violation> {
        let fault = {
            let mut world = lock(&self.world);
            world.steps += 1;
            match weather {
                Weather::Stormy => world.chance_of_fault(),
                Weather::Fair => None,
            }
        };
        match fault {
            Some(Fault::Crash(host)) => self.hosts[host].crash(),
            Some(fault) => lock(&self.world).strike(fault),
            None => lock(&self.world).go_on(weather),
        }
        self.poll();
        lock(&self.world).check()
    }

    /// Lets hosts go on that got an answer or whose time has come.
    fn poll(&mut self) {
        let ready = std::mem::take(&mut lock(&self.world).ready);
        for host in ready {
            self.hosts[host].go_on();
        }
    }

    /// Everything is mended; what is dead stays so.
    fn end_faults(&mut self) {
        let dead = self.dead.then(|| lock(&self.world).choose_victim());
        if let Some(host) = dead {
            self.hosts[host].crash();
        }
        lock(&self.world).mend(dead);
    }

    fn outcome(&self) -> Outcome {
        let world = lock(&self.world);
        Outcome {
            steps: world.steps,
            ..world.outcome
        }
    }
}
