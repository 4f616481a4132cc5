//! Which release a host takes next: a pure decision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use semver::Version;

use crate::release::Channel;
use crate::state::{Denied, Hold};
use crate::wave::{self, Turn};

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The channel, as far as one was asked for.
    pub channel: Option<Channel>,
    /// For each release that could be taken, the oldest version that can go to it
    /// directly.
    pub releases: BTreeMap<Version, Version>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The channel's release, when it is this host's turn.
    Policy,
    /// The channel's release, now.
    Channel,
    /// This version, now.
    Version {
        /// Which one.
        version: Version,
        /// Also if it is older than what runs.
        downgrade: bool,
    },
}

/// What the decision stands on.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The version that runs.
    pub running: &'a Version,
    /// The version that is armed, if one is.
    pub armed: Option<&'a Version>,
    /// What the server offers.
    pub offer: &'a Offer,
    /// Versions that are not taken.
    pub denied: &'a [Denied],
    /// No version is taken by policy.
    pub held: Option<&'a Hold>,
    /// This host's position, by version.
    pub position: f64,
    /// The policy follows a channel to an older release.
    pub allow_downgrade: bool,
    /// The time.
    pub now: Timestamp,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Take this version.
    Take(Version),
    /// There is nothing newer.
    UpToDate,
    /// The version is armed already.
    Armed(Version),
    /// Not now: this host's turn is later, or never.
    Wait {
        /// The version.
        version: Version,
        /// When, if ever.
        until: Option<Timestamp>,
    },
    /// Not by policy: an operator holds this host back.
    Held {
        /// The version.
        version: Version,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Not at all.
    Refused {
        /// The version.
        version: Version,
        /// Why, and what an operator can do about it.
        reason: String,
    },
}

/// Decides. Pure: the same situation gives the same decision.
pub fn next(situation: &Situation<'_>, wish: &Wish) -> Next {
    let goal = match wish {
        Wish::Version { version, .. } => version,
        Wish::Policy | Wish::Channel => match &situation.offer.channel {
            Some(channel) => &channel.release,
            None => return Next::UpToDate,
        },
    };
    if goal == situation.running {
        return Next::UpToDate;
    }
    let version = goal.clone();
    if goal < situation.running && !may_go_down(situation, wish) {
        return match wish {
            Wish::Version { .. } => Next::Refused {
                version,
                reason: format!(
                    "it is older than {}, which runs; use --allow-downgrade",
                    situation.running
                ),
            },
            Wish::Policy | Wish::Channel => Next::UpToDate,
        };
    }
    let step = match step(situation, wish, goal) {
        Ok(step) => step,
        Err(reason) => return Next::Refused { version, reason },
    };
    if situation.armed == Some(&step) {
        return Next::Armed(step);
    }
    if let Some(denied) = situation.denied.iter().find(|d| d.version == step) {
        let reason = format!(
            "it was denied: {}; updatectl allow {step} lifts that",
            denied.reason
        );
        return Next::Refused {
            version: step,
            reason,
        };
    }
    match wish {
        Wish::Policy => by_policy(situation, step),
        Wish::Channel | Wish::Version { .. } => Next::Take(step),
    }
}

fn may_go_down(situation: &Situation<'_>, wish: &Wish) -> bool {
    match wish {
        Wish::Version { downgrade, .. } => *downgrade,
        Wish::Policy | Wish::Channel => situation.allow_downgrade,
    }
}

/// What the policy says about a version that could be taken.
fn by_policy(situation: &Situation<'_>, version: Version) -> Next {
    if let Some(hold) = situation.held {
        let reason = hold.reason.clone();
        return Next::Held { version, reason };
    }
    let channel = situation.offer.channel.as_ref();
    let waves = channel.and_then(|channel| channel.waves.as_ref());
    match wave::turn(waves, situation.position, situation.now) {
        Turn::Now => Next::Take(version),
        Turn::At(time) => Next::Wait {
            version,
            until: Some(time),
        },
        Turn::Never => Next::Wait {
            version,
            until: None,
        },
    }
}

/// The first version on the way to `goal`: itself, or the newest of the channel's steps
/// that a host on the running version can take directly and that leads on.
fn step(situation: &Situation<'_>, wish: &Wish, goal: &Version) -> Result<Version, String> {
    let running = situation.running;
    let minimum = |version: &Version| situation.offer.releases.get(version);
    let direct = |version: &Version| minimum(version).is_some_and(|minimum| minimum <= running);
    let Some(wanted) = minimum(goal) else {
        return Err("the repository does not hold it".into());
    };
    // An older release was made before anybody knew what would update to it.
    if goal < running || direct(goal) {
        return Ok(goal.clone());
    }
    let steps = match (&situation.offer.channel, wish) {
        (Some(channel), Wish::Policy | Wish::Channel | Wish::Version { .. }) => &channel.steps,
        (None, _) => return Err(too_old(running, wanted)),
    };
    let between = |version: &&Version| *version > running && *version < goal && direct(version);
    let best = steps.iter().filter(between).max();
    best.cloned().ok_or_else(|| too_old(running, wanted))
}

fn too_old(running: &Version, wanted: &Version) -> String {
    format!(
        "it needs at least {wanted}, {running} runs, and the channel names no release in \
         between that can be taken from here"
    )
}

#[cfg(test)]
mod tests;
