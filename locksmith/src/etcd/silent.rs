//! How long holders have been without a sign of life, by this host's own clock.
//!
//! No times of two hosts are compared. A silence counts from when this host first saw the
//! record as it still is, and only as long as this host itself is in touch with etcd: in
//! an outage of etcd no holder can give a sign.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::{Document, Holder, HolderId};

/// The longest time without an answer of etcd in which silence still counts.
pub const TOUCH: Duration = Duration::from_secs(150);

/// What was seen of the holders.
#[derive(Debug, Default)]
pub struct Silent {
    since: BTreeMap<HolderId, (Holder, Duration)>,
    touched: Option<Duration>,
}

impl Silent {
    /// Notes that etcd answered at `now`.
    pub fn touch(&mut self, now: Duration) {
        let last = self.touched.replace(now);
        if last.is_some_and(|last| now.saturating_sub(last) > TOUCH) {
            self.since.clear();
        }
    }

    /// Notes that etcd did not answer: all silences begin again.
    pub fn lose_touch(&mut self) {
        self.since.clear();
    }

    /// Notes what was read at `now`.
    pub fn look(&mut self, document: &Document, now: Duration) {
        self.touch(now);
        let mut since = BTreeMap::new();
        for holder in &document.holders {
            let id = &holder.claim.id;
            let known = self.since.remove(id).filter(|(known, _)| known == holder);
            since.insert(id.clone(), known.unwrap_or_else(|| (holder.clone(), now)));
        }
        self.since = since;
    }

    /// Who has been silent for `long` at `now`.
    pub fn gone(&self, long: Duration, now: Duration) -> Vec<HolderId> {
        let is_gone = |since: Duration| now.saturating_sub(since) >= long;
        let silent = self.since.iter().filter(|(_, (_, since))| is_gone(*since));
        silent.map(|(id, _)| id.clone()).collect()
    }

    /// How long after `now` the next one will have been silent for `long`.
    pub fn next(&self, long: Duration, now: Duration) -> Option<Duration> {
        let left = |since: Duration| (since + long).saturating_sub(now);
        let left = self.since.values().map(|(_, since)| left(*since));
        left.min()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Map;

    use super::*;
    use crate::record::{Claim, Text};

    const LONG: Duration = Duration::from_secs(600);

    fn document(signs: u64) -> Document {
        let claim = Claim {
            id: HolderId::new("a").unwrap(),
            host: Text::default(),
            boot_id: Text::default(),
            reason: Text::default(),
            from: None,
            to: None,
        };
        let holder = Holder {
            claim,
            since: Timestamp::UNIX_EPOCH,
            seen: Timestamp::UNIX_EPOCH,
            signs,
            other: Map::new(),
        };
        let mut document = Document::default();
        document.holders.push(holder);
        document
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Looks at the same document every two minutes.
    fn watched(signs: u64, from: u64, to: u64, silent: &mut Silent) {
        for n in (from..=to).step_by(120) {
            silent.look(&document(signs), second(n));
        }
    }

    #[test]
    fn a_holder_without_a_sign_is_gone_after_that_long() {
        let mut silent = Silent::default();
        watched(1, 0, 600, &mut silent);
        assert!(silent.gone(LONG, second(599)).is_empty());
        assert_eq!(silent.next(LONG, second(590)), Some(second(10)));
        assert_eq!(silent.gone(LONG, second(600)).len(), 1);
    }

    #[test]
    fn a_sign_of_life_begins_the_time_again() {
        let mut silent = Silent::default();
        watched(1, 0, 480, &mut silent);
        watched(2, 540, 1080, &mut silent);
        assert!(silent.gone(LONG, second(1139)).is_empty());
        assert_eq!(silent.gone(LONG, second(1140)).len(), 1);
    }

    #[test]
    fn time_without_touch_does_not_count() {
        let mut silent = Silent::default();
        watched(1, 0, 480, &mut silent);
        silent.look(&document(1), second(700));
        assert!(
            silent.gone(LONG, second(1299)).is_empty(),
            "a gap in between"
        );
        let mut silent = Silent::default();
        watched(1, 0, 480, &mut silent);
        silent.lose_touch();
        watched(1, 540, 1020, &mut silent);
        assert!(
            silent.gone(LONG, second(1139)).is_empty(),
            "an error in between"
        );
    }

    #[test]
    fn who_released_is_forgotten() {
        let mut silent = Silent::default();
        watched(1, 0, 600, &mut silent);
        silent.look(&Document::default(), second(601));
        assert!(silent.gone(LONG, second(9999)).is_empty());
    }
}
