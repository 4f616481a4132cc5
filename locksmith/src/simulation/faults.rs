//! What goes wrong.

use std::time::Duration;

use super::network::Request;
use super::world::World;

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A host loses its memory; it comes back.
    Crash(usize),
    /// Nothing gets through between a host and etcd.
    Cut(usize),
    /// It does again.
    Heal(usize),
    /// etcd has no leader.
    NoLeader,
    /// It has one again.
    Leader,
    /// A host's time of day jumps.
    Jump(usize),
    /// Another release is offered.
    Release,
}

/// Once in how many steps something goes wrong.
const RARE: u64 = 40;

impl World {
    /// What goes wrong in this step, if anything does.
    pub fn chance_of_fault(&mut self) -> Option<Fault> {
        if !self.random.one_in(RARE) {
            return None;
        }
        let host = self.unlucky();
        let fault = match self.random.below(12) {
            0..=3 => Fault::Crash(host),
            4 | 5 => Fault::Cut(host),
            6 | 7 => Fault::Heal(host),
            8 => Fault::NoLeader,
            9 => Fault::Jump(host),
            10 => Fault::Release,
            _ => Fault::Leader,
        };
        // Most of the time there is a leader, or nothing would ever get on.
        if !self.has_leader && self.random.one_in(3) {
            return Some(Fault::Leader);
        }
        Some(fault)
    }

    /// Whom it happens to: often one that is just changing something.
    fn unlucky(&mut self) -> usize {
        let any = self.random.below(self.hosts.len() as u64) as usize;
        let flights = self.flights.values();
        let changing = flights.filter(|f| !f.forgotten && matches!(f.request, Request::Commit(_)));
        let changing: Vec<usize> = changing.map(|flight| flight.host).collect();
        match self.random.one_in(2) {
            true => self.random.of(&changing).copied().unwrap_or(any),
            false => any,
        }
    }

    pub fn strike(&mut self, fault: Fault) {
        match fault {
            // The host itself forgets; see there.
            Fault::Crash(_) => {}
            Fault::Cut(host) => {
                self.hosts[host].cut = true;
                self.let_watches_end(host);
            }
            Fault::Heal(host) => self.hosts[host].cut = false,
            Fault::NoLeader => {
                self.has_leader = false;
                self.end_watches();
            }
            Fault::Leader if self.has_leader => {}
            Fault::Leader => {
                self.has_leader = true;
                self.etcd.renew_all(self.now);
            }
            Fault::Jump(host) => {
                let days = self.random.below(4000) as i64 - 2000;
                self.hosts[host].wrong = days * 86_400;
            }
            Fault::Release => self.target += 1,
        }
    }

    /// A host that crashed comes back: at once if only the program died, later if it was
    /// the host. What reboots with the lock takes its time anyway.
    pub fn crashed(&mut self, host: usize) {
        self.outcome.crashes += 1;
        let only_program = self.random.one_in(2);
        let most = if only_program { 1 } else { 300 };
        let pause = self.random.time(Duration::ZERO, Duration::from_secs(most));
        let at = self.now + pause;
        let place = &mut self.hosts[host];
        if !only_program {
            place.boot += 1;
        }
        place.up_at = Some(place.up_at.map_or(at, |up| up.max(at)));
    }

    /// Who is to die: one that holds the lock, if any does.
    pub fn choose_victim(&mut self) -> usize {
        let holders: Vec<usize> = self.ledger.believes.iter().copied().collect();
        let any = self.random.below(self.setup.hosts as u64) as usize;
        self.random.of(&holders).copied().unwrap_or(any)
    }
}
