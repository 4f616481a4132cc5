//! The command line: upstream's, whose long options have one dash or two.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};

use crate::provider::{self, Cmdline, ProviderError, System};
use crate::stage::{Settings, Stage};

/// Without the firmware's item, as on a machine that is not QEMU, it gives no
/// config, and the host boots with its defaults.
const DEFAULT_PLATFORM: &str = "qemu";

/// Provisions a host on its first boot from an Ignition config.
#[derive(Debug, Parser)]
#[command(name = "ignition", disable_version_flag = true)]
#[cfg_attr(
    feature = "tools",
    command(after_help = "For a laptop: ignition validate, translate, plan; each has --help.")
)]
pub struct Args {
    /// Platform the machine runs on (aws, azure, qemu, …) [default: the kernel
    /// argument ignition.platform.id, else qemu]
    #[arg(long)]
    pub platform: Option<String>,

    /// Stage to run: fetch-offline, fetch, kargs, disks, mount, files, umount
    #[arg(long, required_unless_present = "version")]
    pub stage: Option<Stage>,

    /// Root of the file system to provision
    #[arg(long, default_value = "/")]
    pub root: PathBuf,

    /// Where the merged config is kept between stages
    #[arg(long, default_value = "/run/ignition/config.json")]
    pub config_cache: PathBuf,

    /// Flag file that fetch-offline leaves if the network is needed
    #[arg(long, default_value = "/run/ignition/neednet")]
    pub neednet: PathBuf,

    /// Where other state is kept between stages
    #[arg(long, default_value = "/run/ignition/state")]
    pub state_file: PathBuf,

    /// How long to try one fetch, e.g. 2m0s
    #[arg(long, default_value = "2m0s", value_parser = duration)]
    pub fetch_timeout: Duration,

    /// Log to standard output instead of standard error
    #[arg(long)]
    pub log_to_stdout: bool,

    /// Remove the config cache first
    #[arg(long)]
    pub clear_cache: bool,

    /// Print the version and exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub version: bool,
}

impl Args {
    /// What the stages need of the arguments.
    ///
    /// Fails if the kernel command line cannot be read.
    pub fn settings(self) -> Result<Settings, ProviderError> {
        let cmdline = PathBuf::from("/proc/cmdline");
        let platform = match self.platform {
            Some(platform) => platform,
            None => provider::platform_id(&Cmdline::new(cmdline.clone()))?
                .unwrap_or_else(|| DEFAULT_PLATFORM.to_owned()),
        };
        Ok(Settings {
            platform,
            root: self.root,
            config_cache: self.config_cache,
            need_network: self.neednet,
            state_file: self.state_file,
            fetch_timeout: self.fetch_timeout,
            cmdline,
            system: System::from_environment(),
        })
    }
}

/// Gives long options with a single dash (`-stage`), as Go programs have
/// them, their second one, and `-flag=true` of booleans its short form.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    arguments
        .into_iter()
        .map(|argument| {
            let Some(text) = argument.to_str() else {
                return argument;
            };
            let Some(name) = text.strip_prefix('-') else {
                return argument;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() == 1 {
                return argument;
            }
            let flags = ["log-to-stdout", "clear-cache", "version"];
            let name = match name.split_once('=') {
                Some((flag, "true" | "1")) if flags.contains(&flag) => flag,
                _ => name,
            };
            OsString::from(format!("--{name}"))
        })
        .collect()
}

/// Go's notation of durations: `1h2m3.5s`, `300ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("expected a duration such as 2m0s, found {text:?}");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if text == "0" {
        return Ok(total);
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refuse)?;
        let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())?;
        rest = &rest[end..];
    }
    if text.is_empty() {
        Err(refuse())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = line.split_whitespace().map(OsString::from);
        Args::try_parse_from(normalise(words))
    }

    #[test]
    fn one_dash_and_two_mean_the_same() {
        for line in [
            "ignition -platform qemu -stage files -root /sysroot -log-to-stdout -fetch-timeout 1m30s",
            "ignition --platform=qemu --stage=files --root=/sysroot --log-to-stdout --fetch-timeout=90s",
            "ignition -platform=qemu -stage=files -root=/sysroot -log-to-stdout=true -fetch-timeout=90000ms",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.platform.as_deref(), Some("qemu"));
            assert_eq!(args.stage, Some(Stage::Files));
            assert_eq!(args.root, PathBuf::from("/sysroot"));
            assert!(args.log_to_stdout);
            assert_eq!(args.fetch_timeout, Duration::from_secs(90));
        }
    }

    #[test]
    fn all_of_upstreams_options_are_known() {
        let args = parse(
            "ignition -config-cache /c -neednet /n -state-file /s -clear-cache \
             -platform file -stage fetch-offline",
        )
        .unwrap();
        assert_eq!(args.config_cache, PathBuf::from("/c"));
        assert_eq!(args.neednet, PathBuf::from("/n"));
        assert_eq!(args.state_file, PathBuf::from("/s"));
        assert!(args.clear_cache);
        assert!(parse("ignition -version").unwrap().version);
        assert!(parse("ignition -bogus -stage files").is_err());
        assert!(parse("ignition -platform qemu").is_err());
        assert!(parse("ignition -stage nope").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("2m0s"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "s", "1d", "1e9s", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
