//! Which part of a fleet may take a release when.

use jiff::Timestamp;
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::release::Waves;

/// A host's place in the order in which a fleet takes a release: 0 first. Below 100.
///
/// The same host has another place for every version, so that it is not always the same
/// ones that go first.
pub fn position(machine_id: &str, version: &Version) -> f64 {
    let hash = Sha256::new()
        .chain_update(machine_id.trim())
        .chain_update([0])
        .chain_update(version.to_string())
        .finalize();
    let mut first = [0; 4];
    first.copy_from_slice(&hash[..4]);
    f64::from(u32::from_be_bytes(first)) / (f64::from(u32::MAX) + 1.0) * 100.0
}

/// When a host may take a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Not before this time.
    At(Timestamp),
    /// With none of the steps that are planned.
    Never,
}

/// When the host at `position` may take a release that is rolled out in `waves`. A step
/// of `percent` takes in the positions below it.
pub fn turn(waves: Option<&Waves>, position: f64, now: Timestamp) -> Turn {
    let Some(waves) = waves else {
        return Turn::Now;
    };
    let first = waves
        .steps
        .iter()
        .filter(|step| position < f64::from(step.percent))
        .filter_map(|step| {
            let after = i64::try_from(step.after).ok()?;
            let after = jiff::SignedDuration::from_secs(after);
            waves.start.checked_add(after).ok()
        })
        .min();
    match first {
        Some(time) if time <= now => Turn::Now,
        Some(time) => Turn::At(time),
        None => Turn::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::WaveStep;

    fn waves(steps: &[(u64, u8)]) -> Waves {
        Waves {
            start: Timestamp::UNIX_EPOCH,
            steps: steps
                .iter()
                .map(|&(after, percent)| WaveStep { after, percent })
                .collect(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_host_waits_for_the_first_step_that_takes_it_in() {
        let waves = waves(&[(0, 10), (100, 50), (200, 100)]);
        let turn = |position, now| turn(Some(&waves), position, at(now));
        assert_eq!(turn(9.9, 0), Turn::Now);
        assert_eq!(turn(10.0, 0), Turn::At(at(100)));
        assert_eq!(turn(10.0, 99), Turn::At(at(100)));
        assert_eq!(turn(10.0, 100), Turn::Now);
        assert_eq!(turn(99.99, 100), Turn::At(at(200)));
        assert_eq!(turn(0.0, -1), Turn::At(at(0)));
    }

    #[test]
    fn waves_that_end_early_leave_the_rest_out() {
        assert_eq!(turn(Some(&waves(&[(0, 30)])), 30.0, at(9)), Turn::Never);
        assert_eq!(turn(Some(&waves(&[])), 0.0, at(9)), Turn::Never);
        assert_eq!(turn(None, 99.9, at(0)), Turn::Now);
        let far = waves(&[(u64::MAX, 100)]);
        assert_eq!(turn(Some(&far), 0.0, at(9)), Turn::Never);
    }

    #[test]
    fn positions_are_stable_and_spread_over_the_fleet() {
        let version = Version::new(1, 2, 3);
        let one = position("0123456789abcdef0123456789abcdef", &version);
        assert_eq!(
            one,
            position("0123456789abcdef0123456789abcdef\n", &version)
        );
        let other = position("0123456789abcdef0123456789abcdef", &Version::new(1, 2, 4));
        assert!((one - other).abs() > 1e-9);
        let below_ten = (0..1000)
            .filter(|n| position(&format!("{n:032x}"), &version) < 10.0)
            .count();
        assert!((60..140).contains(&below_ten), "{below_ten}");
    }
}
