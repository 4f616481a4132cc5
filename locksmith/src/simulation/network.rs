//! Messages between hosts and etcd.

use std::time::Duration;

use super::Weather;
use super::world::World;
use crate::etcd::{Committed, Fault, Kept, Lease, Listing, Query, Read, Revision, Txn};

/// What a host asks etcd.
#[derive(Debug, Clone)]
pub enum Request {
    Get(String),
    List(String, Query),
    Commit(Txn),
    /// From the present revision on if there is none.
    Watch(String, Option<Revision>),
    Lease(Duration),
    Keep(Lease),
    /// It, or the answer to it, was lost.
    Lost,
}

/// What etcd answers.
#[derive(Debug, Clone)]
pub enum Reply {
    Read(Read),
    Listing(Listing),
    Committed(Committed),
    Changed,
    Lease(Lease),
    Kept(Kept),
}

pub type Answer = Result<Reply, Fault>;

/// A request or its answer on the way.
#[derive(Debug)]
pub struct Flight {
    pub host: usize,
    pub request: Request,
    /// The answer, once etcd has it.
    pub answer: Option<Answer>,
    /// Nobody waits for the answer any more; the request may still have its effect.
    pub forgotten: bool,
    /// When the host stops waiting, and a forgotten request is lost for good.
    pub deadline: Option<Duration>,
}

/// How long a host waits, as the client of etcd does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a request may still have its effect after that.
const LATEST: Duration = Duration::from_secs(120);

/// In how many steps a request that nobody waits for can move once.
const SLOW: u64 = 40;

/// How long a watch is open on a link that is cut, until pings show it.
const PING: Duration = Duration::from_secs(30);

impl Flight {
    pub fn new(host: usize, request: Request, now: Duration) -> Self {
        let is_watch = matches!(request, Request::Watch(..));
        Self {
            host,
            request,
            answer: None,
            forgotten: false,
            deadline: (!is_watch).then(|| now + PATIENCE),
        }
    }
}

impl World {
    /// What can move: requests that reach etcd, answers that reach their host. What comes
    /// late comes much later than what was asked after it.
    pub fn moving(&mut self) -> Vec<u64> {
        let late = self.random.one_in(SLOW);
        let flights = self.flights.iter();
        let moving = flights.filter(|(_, f)| self.can_move(f) && (late || !f.forgotten));
        moving.map(|(id, _)| *id).collect()
    }

    fn can_move(&self, flight: &Flight) -> bool {
        if self.hosts[flight.host].cut {
            return false;
        }
        match (&flight.request, &flight.answer) {
            (Request::Lost, _) => false,
            (_, Some(_)) => true,
            (Request::Watch(key, Some(after)), None) => self.etcd.changed_since(key, *after),
            (Request::Watch(_, None), None) => true,
            (_, None) => true,
        }
    }

    /// A message goes one step further, or is lost.
    pub fn move_on(&mut self, id: u64, weather: Weather) {
        let is_lost = weather == Weather::Stormy && self.random.one_in(25);
        let Some(mut flight) = self.flights.remove(&id) else {
            return;
        };
        if is_lost {
            self.outcome.lost += 1;
            self.lose(id, flight);
            return;
        }
        match flight.answer.take() {
            Some(answer) => self.deliver(id, flight.host, answer),
            None if flight.forgotten => drop(self.serve(&mut flight.request)),
            None => {
                flight.answer = self.serve(&mut flight.request);
                // A watch that was only registered goes on waiting.
                let served =
                    flight.answer.is_some() || matches!(flight.request, Request::Watch(..));
                if served {
                    self.flights.insert(id, flight);
                }
            }
        }
    }

    /// The host is told nothing, and notices by its deadline.
    fn lose(&mut self, id: u64, flight: Flight) {
        match (&flight.request, flight.deadline) {
            // The connection breaks with it.
            (Request::Watch(..), _) => self.deliver(id, flight.host, Err(Fault::Unreachable)),
            (_, Some(_)) if !flight.forgotten => {
                let lost = Flight {
                    request: Request::Lost,
                    answer: None,
                    ..flight
                };
                self.flights.insert(id, lost);
            }
            _ => {}
        }
    }

    pub fn deliver(&mut self, id: u64, host: usize, answer: Answer) {
        self.answers.insert(id, answer);
        self.ready.insert(host);
    }

    /// What etcd does with a request.
    fn serve(&mut self, request: &mut Request) -> Option<Answer> {
        if !self.has_leader {
            return Some(Err(Fault::NoLeader));
        }
        let now = self.now;
        Some(Ok(match request {
            Request::Get(key) => Reply::Read(self.etcd.get(key)),
            Request::List(prefix, query) => Reply::Listing(self.etcd.list(prefix, query)),
            Request::Commit(txn) => return Some(self.commit(txn)),
            Request::Watch(key, after) => {
                let after = *after.get_or_insert(self.etcd.revision());
                match self.etcd.changed_since(key, after) {
                    true => Reply::Changed,
                    false => return None,
                }
            }
            Request::Lease(ttl) => Reply::Lease(self.etcd.lease(*ttl, now)),
            Request::Keep(lease) => Reply::Kept(self.etcd.keep(*lease, now)),
            Request::Lost => return None,
        }))
    }

    fn commit(&mut self, txn: &Txn) -> Answer {
        let before = self.etcd.get(&self.keys.semaphore).entry;
        let committed = self.etcd.commit(txn).ok_or(Fault::NoLease)?;
        let after = self.etcd.get(&self.keys.semaphore).entry;
        if before != after {
            self.compare_documents(before.as_ref(), after.as_ref());
        }
        Ok(Reply::Committed(committed))
    }

    /// Hosts stop waiting for what takes too long.
    pub fn lose_patience(&mut self) {
        let now = self.now;
        let late = |(_, flight): &(&u64, &Flight)| flight.deadline.is_some_and(|at| at <= now);
        let late: Vec<u64> = self
            .flights
            .iter()
            .filter(late)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(mut flight) = self.flights.remove(&id) else {
                continue;
            };
            if flight.forgotten {
                continue;
            }
            self.outcome.lost += 1;
            self.deliver(id, flight.host, Err(Fault::Unreachable));
            let is_gone = matches!(flight.request, Request::Watch(..) | Request::Lost);
            if !is_gone && flight.answer.is_none() {
                flight.forgotten = true;
                flight.deadline = Some(now + LATEST);
                self.flights.insert(id, flight);
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, id: u64) {
        self.answers.remove(&id);
        let latest = self.now + LATEST;
        if let Some(mut flight) = self.flights.remove(&id)
            && flight.answer.is_none()
            && !matches!(flight.request, Request::Watch(..) | Request::Lost)
        {
            (flight.forgotten, flight.deadline) = (true, Some(latest));
            self.flights.insert(id, flight);
        }
    }

    /// Watches over a link end some time after it was cut.
    pub fn let_watches_end(&mut self, host: usize) {
        let end = self.now + PING;
        let of_host = self
            .flights
            .values_mut()
            .filter(|flight| flight.host == host);
        for flight in of_host {
            if matches!(flight.request, Request::Watch(..)) && flight.deadline.is_none() {
                flight.deadline = Some(end);
            }
        }
    }

    /// Watches go with the leader, or hang until there is another.
    pub fn end_watches(&mut self) {
        let watches: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| matches!(flight.request, Request::Watch(..)))
            .map(|(id, _)| *id)
            .collect();
        for id in watches {
            if self.random.one_in(2)
                && let Some(flight) = self.flights.get_mut(&id)
                && flight.deadline.is_none()
            {
                flight.answer = Some(Err(Fault::NoLeader));
            }
        }
    }
}
