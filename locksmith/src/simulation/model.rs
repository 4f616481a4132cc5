//! What etcd promises, as far as the lock uses it: a history of revisions, transactions
//! that happen at one of them, leases. A cluster that keeps a majority behaves as one such
//! machine; what goes wrong between it and a host is the network's matter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::etcd::{
    Committed, Compare, Entry, Kept, Lease, Listing, Op, Query, Read, Revision, Txn,
};

#[derive(Debug, Default)]
pub struct Model {
    revision: Revision,
    keys: BTreeMap<String, (Entry, Option<Lease>)>,
    /// When a key was last written or removed.
    touched: BTreeMap<String, Revision>,
    leases: BTreeMap<Lease, (Duration, Duration)>,
    next_lease: Lease,
}

impl Model {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &str) -> Read {
        Read {
            revision: self.revision,
            entry: self.keys.get(key).map(|(entry, _)| entry.clone()),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let keys = self
            .keys
            .range(prefix.to_owned()..)
            .map(|(key, _)| key.as_str());
        keys.take_while(move |key| key.starts_with(prefix))
    }

    pub fn list(&self, prefix: &str, query: &Query) -> Listing {
        let keys = self
            .keys(prefix)
            .filter_map(|key| self.keys.get_key_value(key));
        let mut entries: Vec<(String, Entry)> = keys
            .map(|(key, (entry, _))| (key.clone(), entry.clone()))
            .collect();
        let count = entries.len() as u32;
        entries.sort_by_key(|(_, entry)| entry.created);
        match query {
            Query::First { limit } => entries.truncate(*limit as usize),
            Query::LastBefore(created) => {
                entries.retain(|(_, entry)| entry.created < *created);
                entries = entries.split_off(entries.len().saturating_sub(1));
            }
            Query::Count => entries.clear(),
        }
        Listing {
            revision: self.revision,
            entries,
            count,
        }
    }

    /// As etcd: the transaction fails as a whole if it binds a key to a lease that is
    /// not there.
    pub fn commit(&mut self, txn: &Txn) -> Option<Committed> {
        let holds = |compare: &Compare| match compare {
            Compare::Modified(key, at) => self.keys.get(key).map_or(0, |(e, _)| e.modified) == *at,
            Compare::Created(key, at) => self.keys.get(key).map_or(0, |(e, _)| e.created) == *at,
        };
        if !txn.compare.iter().all(holds) {
            return Some(Committed::No);
        }
        let is_there = |lease: &Lease| self.leases.contains_key(lease);
        let bound = txn.then.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => lease.as_ref(),
            Op::Delete { .. } => None,
        });
        if !bound.into_iter().all(is_there) {
            return None;
        }
        let revision = self.revision + 1;
        for op in &txn.then {
            if self.apply(op, revision) {
                self.revision = revision;
            }
        }
        Some(Committed::Yes(self.revision))
    }

    /// Whether there was anything to do.
    fn apply(&mut self, op: &Op, revision: Revision) -> bool {
        match op {
            Op::Put { key, value, lease } => {
                let created = self.keys.get(key).map_or(revision, |(e, _)| e.created);
                let entry = Entry {
                    value: value.clone(),
                    created,
                    modified: revision,
                };
                self.keys.insert(key.clone(), (entry, *lease));
                self.touched.insert(key.clone(), revision);
                true
            }
            Op::Delete { key } => {
                let was = self.keys.remove(key).is_some();
                if was {
                    self.touched.insert(key.clone(), revision);
                }
                was
            }
        }
    }

    pub fn changed_since(&self, key: &str, after: Revision) -> bool {
        self.touched.get(key).is_some_and(|at| *at > after)
    }

    pub fn lease(&mut self, ttl: Duration, now: Duration) -> Lease {
        self.next_lease += 1;
        self.leases.insert(self.next_lease, (ttl, now + ttl));
        self.next_lease
    }

    pub fn keep(&mut self, lease: Lease, now: Duration) -> Kept {
        match self.leases.get_mut(&lease) {
            Some((ttl, until)) => {
                *until = now + *ttl;
                Kept::Yes
            }
            None => Kept::Gone,
        }
    }

    /// Ends leases whose time is over. Without a leader none ends.
    pub fn expire(&mut self, now: Duration) {
        let over = |(_, (_, until)): &(&Lease, &(Duration, Duration))| *until <= now;
        let over: Vec<Lease> = self.leases.iter().filter(over).map(|(id, _)| *id).collect();
        for lease in over {
            self.leases.remove(&lease);
            let bound = self.keys.iter().filter(|(_, (_, of))| *of == Some(lease));
            let bound: Vec<String> = bound.map(|(key, _)| key.clone()).collect();
            for key in bound {
                let revision = self.revision + 1;
                self.apply(&Op::Delete { key }, revision);
                self.revision = revision;
            }
        }
    }

    /// When the next lease ends.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.leases.values().map(|(_, until)| *until).min()
    }

    /// All leases begin anew: a new leader gives each its whole time.
    pub fn renew_all(&mut self, now: Duration) {
        for (ttl, until) in self.leases.values_mut() {
            *until = now + *ttl;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, lease: Option<Lease>) -> Op {
        Op::Put {
            key: key.to_owned(),
            value: b"v".to_vec(),
            lease,
        }
    }

    fn change(compare: Vec<Compare>, op: Op) -> Txn {
        Txn {
            compare,
            then: vec![op],
        }
    }

    #[test]
    fn conditions_are_about_revisions() {
        let mut etcd = Model::default();
        let absent = Compare::Created("a".to_owned(), 0);
        let make = change(vec![absent], put("a", None));
        assert_eq!(etcd.commit(&make), Some(Committed::Yes(1)));
        assert_eq!(etcd.commit(&make), Some(Committed::No));
        let first = Compare::Modified("a".to_owned(), 1);
        let replace = change(vec![first], put("a", None));
        assert_eq!(etcd.commit(&replace), Some(Committed::Yes(2)));
        assert_eq!(etcd.commit(&replace), Some(Committed::No));
        let entry = etcd.get("a").entry.unwrap();
        assert_eq!((entry.created, entry.modified), (1, 2));
        assert!(etcd.changed_since("a", 1) && !etcd.changed_since("a", 2));
    }

    #[test]
    fn keys_go_with_the_lease_they_were_bound_to_last() {
        let mut etcd = Model::default();
        let second = Duration::from_secs(1);
        let [one, two] = [1, 5].map(|n| etcd.lease(second * n, Duration::ZERO));
        for (key, lease) in [("a", one), ("b", one), ("b", two)] {
            etcd.commit(&change(Vec::new(), put(key, Some(lease))));
        }
        etcd.expire(second);
        assert!(!etcd.has("a") && etcd.has("b"));
        assert!(etcd.changed_since("a", 3));
        assert_eq!(etcd.keep(one, second), Kept::Gone);
        assert_eq!(etcd.keep(two, second * 4), Kept::Yes);
        etcd.expire(second * 6);
        assert!(etcd.has("b"));
        assert_eq!(etcd.commit(&change(Vec::new(), put("c", Some(one)))), None);
    }

    #[test]
    fn the_one_before_is_found() {
        let mut etcd = Model::default();
        for key in ["q/c", "q/a", "q/b", "r"] {
            etcd.commit(&change(Vec::new(), put(key, None)));
        }
        let names = |query| {
            let listing = etcd.list("q/", &query);
            let names: Vec<String> = listing.entries.into_iter().map(|(key, _)| key).collect();
            (names.join(" "), listing.count)
        };
        assert_eq!(names(Query::First { limit: 2 }), ("q/c q/a".to_owned(), 3));
        assert_eq!(names(Query::LastBefore(3)), ("q/a".to_owned(), 3));
        assert_eq!(names(Query::LastBefore(1)), (String::new(), 3));
        assert_eq!(names(Query::Count), (String::new(), 3));
    }
}
