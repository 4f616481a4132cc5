//! What a channel says next: decided from what it said, without touching a file.

use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use semver::Version;
use update_engine::release::{Channel, SCHEMA, WaveStep, Waves};

/// A release of the repository, as far as channels care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its version.
    pub version: Version,
    /// The oldest version that can go there directly.
    pub minimum: Version,
}

/// What the operator asks of a channel.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The release to go to; the one it names now if there is none.
    pub release: Option<Version>,
    /// Releases on the way; what it says now, if none are given.
    pub steps: Vec<Version>,
    /// Waves, if any.
    pub waves: Vec<Wave>,
    /// When the waves start; now, if not given.
    pub start: Option<Timestamp>,
}

/// Part of a fleet at a time: `10@6h` is 10 percent after 6 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave(pub WaveStep);

/// Text that is not like `10@6h`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not like 10@6h: percent of the hosts, time after the start (s, m, h, d)")]
pub struct NotAWave(String);

impl FromStr for Wave {
    type Err = NotAWave;

    fn from_str(text: &str) -> Result<Self, NotAWave> {
        let parse = || {
            let (percent, after) = text.split_once('@')?;
            let unit = after.chars().last()?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return None,
            };
            let count: u64 = after[..after.len() - 1].parse().ok()?;
            Some(Self(WaveStep {
                after: count.checked_mul(seconds)?,
                percent: percent.parse().ok().filter(|n| *n <= 100)?,
            }))
        };
        parse().ok_or_else(|| NotAWave(text.to_string()))
    }
}

/// The channel `name` after `wishes`, which said `before`. `known` are the releases of
/// the repository.
pub fn next(
    name: &str,
    before: Option<&Channel>,
    wishes: &Wishes,
    known: &[Known],
    now: Timestamp,
) -> Result<Channel> {
    let release = wishes.release.as_ref().or(before.map(|b| &b.release));
    let Some(release) = release else {
        bail!("channel {name} names no release yet: publish one to it with --from")
    };
    let steps = steps(name, before, release, &wishes.steps, known)?;
    let mut channel = Channel {
        schema: SCHEMA,
        channel: name.to_string(),
        release: release.clone(),
        steps,
        waves: waves(wishes, now),
    };
    let same = before.filter(|before| before.release == channel.release);
    if let Some(before) = same {
        keep_waves(&mut channel, before, wishes);
    }
    channel.check()?;
    Ok(channel)
}

fn waves(wishes: &Wishes, now: Timestamp) -> Option<Waves> {
    let steps: Vec<WaveStep> = wishes.waves.iter().map(|wave| wave.0).collect();
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    (!steps.is_empty()).then(|| Waves {
        start: wishes.start.unwrap_or(whole),
        steps,
    })
}

/// Waves of a release that is under way go on unless something else was asked for.
fn keep_waves(channel: &mut Channel, before: &Channel, wishes: &Wishes) {
    match (&mut channel.waves, &before.waves) {
        (None, Some(had)) => {
            channel.waves = Some(Waves {
                start: wishes.start.unwrap_or(had.start),
                ..had.clone()
            });
        }
        (Some(new), Some(had)) if new.steps == had.steps && wishes.start.is_none() => {
            new.start = had.start;
        }
        _ => {}
    }
}

/// The releases on the way to `release`: those that are asked for, or those that there
/// were. The release that the channel named until now is added when hosts that it was
/// good for could not go on without it.
fn steps(
    name: &str,
    before: Option<&Channel>,
    release: &Version,
    asked: &[Version],
    known: &[Known],
) -> Result<Vec<Version>> {
    let mut steps = match asked {
        [] => before.map(|b| b.steps.clone()).unwrap_or_default(),
        asked => asked.to_vec(),
    };
    let minimum = |version: &Version| {
        let found = known.iter().find(|known| known.version == *version);
        match found {
            Some(found) => Ok(found.minimum.clone()),
            None => bail!(
                "release {version}, which channel {name} would name, is not in the repository"
            ),
        }
    };
    let needed = minimum(release)?;
    if let Some(last) = before.map(|b| &b.release) {
        let reaches = |from: &Version| from >= &needed && from < release;
        let helps = reaches(last) && minimum(last)? < needed;
        if asked.is_empty() && helps && !steps.iter().any(reaches) {
            steps.push(last.clone());
        }
    }
    steps.retain(|step| step < release);
    steps.sort();
    steps.dedup();
    for pair in [steps.as_slice(), std::slice::from_ref(release)]
        .concat()
        .windows(2)
    {
        let needed = minimum(&pair[1])?;
        ensure!(
            pair[0] >= needed,
            "hosts on {} cannot go on to {}, which wants at least {needed}: name a release \
             in between with --step",
            pair[0],
            pair[1]
        );
    }
    for step in &steps {
        minimum(step)?;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn known(list: &[(&str, &str)]) -> Vec<Known> {
        let known = |(version, minimum): &(&str, &str)| Known {
            version: v(version),
            minimum: v(minimum),
        };
        list.iter().map(known).collect()
    }

    fn to(release: &str) -> Wishes {
        Wishes {
            release: Some(v(release)),
            ..Wishes::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_release_that_old_hosts_cannot_take_gets_the_last_one_as_a_step() {
        let releases = known(&[("1.0.0", "0.0.0"), ("2.0.0", "0.0.0"), ("3.0.0", "2.0.0")]);
        let first = next("stable", None, &to("2.0.0"), &releases, at(0)).unwrap();
        assert_eq!(first.steps, []);
        let second = next("stable", Some(&first), &to("3.0.0"), &releases, at(0)).unwrap();
        assert_eq!(second.steps, [v("2.0.0")]);
        let same = next("stable", Some(&second), &to("3.0.0"), &releases, at(9)).unwrap();
        assert_eq!(same, second);
    }

    #[test]
    fn a_way_that_cannot_be_gone_is_refused() {
        let releases = known(&[("1.0.0", "0.0.0"), ("3.0.0", "2.0.0"), ("4.0.0", "0.0.0")]);
        let mut wishes = to("3.0.0");
        wishes.steps = vec![v("1.0.0")];
        let error = next("stable", None, &wishes, &releases, at(0)).unwrap_err();
        assert!(error.to_string().contains("--step"), "{error}");
        wishes.steps = vec![v("2.0.0")];
        let error = next("stable", None, &wishes, &releases, at(0)).unwrap_err();
        assert!(
            error.to_string().contains("not in the repository"),
            "{error}"
        );
        let error = next("stable", None, &Wishes::default(), &releases, at(0)).unwrap_err();
        assert!(error.to_string().contains("--from"), "{error}");
    }

    #[test]
    fn waves_start_now_and_are_not_started_again() {
        let releases = known(&[("1.0.0", "0.0.0"), ("2.0.0", "0.0.0")]);
        let waves: Vec<Wave> = ["1@0s", "50@6h", "100@2d"]
            .map(|w| w.parse().unwrap())
            .to_vec();
        let wishes = Wishes {
            waves,
            ..to("1.0.0")
        };
        let first = next("stable", None, &wishes, &releases, at(100)).unwrap();
        let steps = first.waves.as_ref().unwrap();
        assert_eq!(steps.start, at(100));
        assert_eq!(steps.steps[2].after, 172_800);
        let again = next("stable", Some(&first), &wishes, &releases, at(900)).unwrap();
        assert_eq!(again, first);
        let renewed = next(
            "stable",
            Some(&first),
            &Wishes::default(),
            &releases,
            at(900),
        );
        assert_eq!(renewed.unwrap(), first);
        let other = next("stable", Some(&first), &to("2.0.0"), &releases, at(900)).unwrap();
        assert_eq!(other.waves, None);
    }

    #[test]
    fn waves_are_percent_and_time() {
        for bad in ["", "10", "101@1h", "10@1", "10@1w", "-1@1h", "10@é"] {
            assert!(bad.parse::<Wave>().is_err(), "{bad}");
        }
    }
}
