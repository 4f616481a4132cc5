//! What the lock promises, and whether it keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Setup;
use super::world::World;
use crate::etcd::{Entry, TTL};
use crate::record::{Document, Expired};

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The run.
    pub seed: u64,
    /// The step after which it was noticed.
    pub step: u64,
    /// What was not as promised.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, what } = self;
        write!(f, "seed {seed}, step {step}: {what}")
    }
}

impl std::error::Error for Violation {}

/// What the hosts were told.
#[derive(Debug)]
pub struct Ledger {
    /// Hosts that were told that they hold the lock, and have not begun to release it.
    pub believes: BTreeSet<usize>,
    /// Hosts that were told that they have released it, and have not asked again.
    pub is_free: BTreeSet<usize>,
    /// Hosts that are down with the lock.
    pub is_down: BTreeSet<usize>,
    /// Hosts that have to get the lock before the run is over.
    pub hungry: BTreeSet<usize>,
    /// When each host last changed what the document says of it.
    signs: BTreeMap<usize, Duration>,
    /// Since when there is a free place that somebody waits for.
    idle_since: Option<Duration>,
    pub violation: Option<String>,
    /// Whether a holder may lose the lock by policy.
    expires: bool,
    /// Whether operators may take it away.
    unlocks: bool,
    max: Option<u32>,
}

/// The longest time for which a free place may stay free: a waiting host that is gone
/// leaves the queue after its lease, and its successor comes.
const IDLE: Duration = Duration::from_secs(TTL.as_secs() + 120);

impl Ledger {
    pub fn new(setup: &Setup) -> Self {
        Self {
            believes: BTreeSet::new(),
            is_free: BTreeSet::new(),
            is_down: BTreeSet::new(),
            hungry: BTreeSet::new(),
            signs: BTreeMap::new(),
            idle_since: None,
            violation: None,
            expires: setup.expire_after.is_some(),
            unlocks: setup.dead,
            max: (!setup.operator).then_some(setup.max),
        }
    }

    pub fn is_everybody_served(&self) -> bool {
        self.hungry.is_empty()
    }

    fn broken(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

impl World {
    /// The document as etcd has it.
    pub fn document(&self) -> Document {
        let entry = self.etcd.get(&self.keys.semaphore).entry;
        let document = entry.and_then(|entry| Document::parse(&entry.value).ok());
        document.unwrap_or_default()
    }

    fn holds(&self, document: &Document, host: usize) -> bool {
        document.holder(&self.hosts[host].id).is_some()
    }

    /// Looks at a change of the document.
    pub fn compare_documents(&mut self, before: Option<&Entry>, after: Option<&Entry>) {
        let parse = |entry: Option<&Entry>| match entry {
            Some(entry) => Document::parse(&entry.value),
            None => Ok(Document::default()),
        };
        let (Ok(before), Ok(after)) = (parse(before), parse(after)) else {
            self.ledger.broken("the document is damaged".to_owned());
            return;
        };
        self.check_expired(&before, &after);
        self.check_new_holders(&before, &after);
        self.check_beliefs(&after);
    }

    /// Who is taken for gone must have been silent for as long as the policy says.
    fn check_expired(&mut self, before: &Document, after: &Document) {
        let is_new = |expired: &&Expired| !before.expired.contains(expired);
        let gone: Vec<&Expired> = after.expired.iter().filter(is_new).collect();
        self.outcome.expired += gone.len() as u64;
        for host in 0..self.setup.hosts {
            let id = &self.hosts[host].id;
            let silent = self.ledger.signs.get(&host).map(|at| self.now - *at);
            let long = self.setup.expire_after.unwrap_or(Duration::MAX);
            if gone.iter().any(|e| e.id == *id) && silent.is_some_and(|silent| silent < long) {
                let what = format!("{id} was taken for gone {silent:?} after a sign of life");
                self.ledger.broken(what);
            }
            if before.holder(id) != after.holder(id) {
                self.ledger.signs.insert(host, self.now);
            }
        }
    }

    fn check_new_holders(&mut self, before: &Document, after: &Document) {
        let is_new = |id| before.holder(id).is_none();
        for holder in after.holders.iter().filter(|h| is_new(&h.claim.id)) {
            self.outcome.grants += 1;
            let id = &holder.claim.id;
            if after.holders.len() > before.max as usize {
                let holders = after.holders.len();
                let what = format!("{id} is holder number {holders} of {}", before.max);
                self.ledger.broken(what);
            }
            if self.etcd.has(&self.keys.waiter(id)) {
                self.ledger
                    .broken(format!("{id} holds the lock and still waits for it"));
            }
            let braked = |to| before.brakes.iter().any(|b| Some(&b.version) == to);
            if braked(holder.claim.to.as_ref()) {
                self.ledger
                    .broken(format!("{id} goes to a release that is under a brake"));
            }
        }
    }

    /// What hosts were told must be so as long as they rely on it.
    fn check_beliefs(&mut self, document: &Document) {
        for host in 0..self.setup.hosts {
            let holds = self.holds(document, host);
            let id = &self.hosts[host].id;
            let may_lose = self.ledger.expires || self.ledger.unlocks && self.dead == Some(host);
            if self.ledger.believes.contains(&host) && !holds && !may_lose {
                let what = format!("{id} relies on the lock and does not hold it");
                self.ledger.broken(what);
            } else if self.ledger.is_free.contains(&host) && holds {
                let what = format!("{id} has released the lock and holds it");
                self.ledger.broken(what);
            }
        }
    }

    /// A host was told that it holds the lock.
    pub fn told_held(&mut self, host: usize) {
        self.ledger.believes.insert(host);
        self.ledger.hungry.remove(&host);
        self.check_beliefs(&self.document());
    }

    /// A host was told that it has released the lock.
    pub fn told_free(&mut self, host: usize) {
        self.ledger.is_free.insert(host);
        self.check_beliefs(&self.document());
    }

    /// A host goes down, relying on the lock.
    pub fn goes_down(&mut self, host: usize) {
        let document = self.document();
        let id = self.hosts[host].id.clone();
        if !self.holds(&document, host) {
            self.ledger.broken(format!("{id} reboots without the lock"));
        }
        self.ledger.is_down.insert(host);
        let down = self.ledger.is_down.len();
        let most = self.ledger.max.filter(|_| !self.ledger.expires);
        if most.is_some_and(|max| down > max as usize) {
            self.ledger.broken(format!("{down} hosts are down at once"));
        }
    }

    /// Whether a place that is free and wanted is taken in time.
    pub fn check_idle_places(&mut self) -> Result<(), super::Violation> {
        if !self.steps.is_multiple_of(16) {
            return Ok(());
        }
        let document = self.document();
        let is_free = document.holders.len() < document.max as usize;
        let is_wanted = self.etcd.keys(&self.keys.queue).next().is_some();
        if !(is_free && is_wanted) {
            self.ledger.idle_since = None;
            return Ok(());
        }
        let since = *self.ledger.idle_since.get_or_insert(self.now);
        match self.now.saturating_sub(since) > IDLE {
            true => Err(self.violation("a place is free, wanted and not taken".to_owned())),
            false => Ok(()),
        }
    }
}
