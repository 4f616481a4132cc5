//! `publish`: put a build into a repository, move a channel, renew signatures.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use image::keys;
use image::publish::{Expiry, LEVEL, PATCHES, PublishOptions, Published, Wave, Wishes, publish};
use semver::Version;

/// Options of `publish`.
#[derive(Args)]
pub struct Publish {
    /// Directory of the repository; made if it is not there.
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// Channel that goes to the release.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Build to add, as `build` made it.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Release of the repository that the channel goes to, instead of a build.
    #[arg(
        long,
        value_name = "VERSION",
        conflicts_with = "from",
        requires = "channel"
    )]
    release: Option<Version>,
    /// Directory of keys [default: ~/.local/share/ballast/keys].
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Further directory with private keys. Repeatable.
    #[arg(long, value_name = "DIR")]
    also: Vec<PathBuf>,
    /// Oldest version that can update to the build directly.
    #[arg(long, value_name = "VERSION", default_value = "0.0.0")]
    minimum_version: Version,
    /// Address where an operator reads what changed.
    #[arg(long, value_name = "URL", requires = "from")]
    notes: Option<String>,
    /// Waves: percent of the hosts and when, as in 1@0h,10@6h,100@2d [default: all
    /// hosts at once; waves of a release that is under way go on].
    #[arg(
        long,
        value_name = "WAVES",
        value_delimiter = ',',
        requires = "channel"
    )]
    waves: Vec<Wave>,
    /// When the waves start, as in 2026-11-21T14:00:00Z [default: now].
    #[arg(long, value_name = "TIME", requires = "channel")]
    start: Option<jiff::Timestamp>,
    /// Release on the way, for hosts below the minimum version. Repeatable [default: as
    /// before, and the release until now where the new one needs it].
    #[arg(long = "step", value_name = "VERSION", requires = "channel")]
    steps: Vec<Version>,
    /// Releases before that the build gets a patch from: the one that the channel names,
    /// and the newest others.
    #[arg(long, value_name = "N", default_value_t = PATCHES as u8,
          value_parser = clap::value_parser!(u8).range(0..=16))]
    patches: u8,
    /// Level of zstd, 1 to 22.
    #[arg(long, default_value_t = LEVEL, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
    /// Days until metadata expires, as in timestamp=14. Repeatable [default:
    /// targets=365, snapshot=90, timestamp=30].
    #[arg(long, value_name = "ROLE=DAYS")]
    expires: Vec<Expires>,
}

/// `timestamp=14`.
#[derive(Clone, Copy)]
enum Expires {
    Targets(u32),
    Snapshot(u32),
    Timestamp(u32),
}

impl FromStr for Expires {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (role, days) = text.split_once('=')?;
            let days = days.parse().ok().filter(|days| *days > 0)?;
            match role {
                "targets" => Some(Self::Targets(days)),
                "snapshot" => Some(Self::Snapshot(days)),
                "timestamp" => Some(Self::Timestamp(days)),
                _ => None,
            }
        };
        parse().ok_or_else(|| "expected targets, snapshot or timestamp, and days".to_string())
    }
}

impl Publish {
    pub fn run(self) -> Result<()> {
        let mut expiry = Expiry::default();
        for expires in &self.expires {
            match *expires {
                Expires::Targets(days) => expiry.targets = days,
                Expires::Snapshot(days) => expiry.snapshot = days,
                Expires::Timestamp(days) => expiry.timestamp = days,
            }
        }
        let repo = self.repo.display().to_string();
        let published = publish(&PublishOptions {
            repo: self.repo,
            keys: self.keys.unwrap_or_else(keys::default_dir),
            also: self.also,
            channel: self.channel,
            from: self.from,
            wishes: Wishes {
                release: self.release,
                steps: self.steps,
                waves: self.waves,
                start: self.start,
            },
            minimum_version: self.minimum_version,
            notes: self.notes,
            patches: self.patches.into(),
            level: self.level,
            expiry,
        })?;
        let days = expiry.timestamp.min(expiry.snapshot);
        match published {
            Published::Changed => eprintln!("publish: {repo} is new, valid for {days} days"),
            Published::Renewed => eprintln!("publish: {repo} is unchanged, valid for {days} days"),
            Published::Nothing => eprintln!("publish: nothing to do, {repo} says so already"),
        }
        Ok(())
    }
}
