//! The command line: upstream's, which is read as Go programs read theirs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, CommandFactory as _, Parser};

use crate::config::Accepts;
use crate::provider::{self, Cmdline, ProviderError, System};
use crate::stage::files::KeysFile;
use crate::stage::{Settings, Stage};

/// Without the firmware's item, as on a machine that is not QEMU, it gives no
/// config, and the host boots with its defaults.
const DEFAULT_PLATFORM: &str = "qemu";

/// Provisions a host on its first boot from an Ignition config.
#[derive(Debug, Parser)]
#[command(
    name = "ignition",
    disable_version_flag = true,
    args_override_self = true
)]
#[cfg_attr(
    feature = "tools",
    command(after_help = "For a laptop: ignition validate, translate, plan; each has --help.")
)]
pub struct Args {
    /// Platform the machine runs on (aws, azure, qemu, …) [default: the kernel
    /// argument ignition.platform.id, else qemu]
    #[arg(long, value_parser = platform)]
    pub platform: Option<String>,

    /// Stage to run: fetch-offline, fetch, kargs, disks, mount, files, umount
    #[arg(long, required_unless_present = "version")]
    pub stage: Option<Stage>,

    /// Root of the file system to provision
    #[arg(long, default_value = "/")]
    pub root: PathBuf,

    /// Where the merged config is kept between stages
    #[arg(long, default_value = "/run/ignition.json")]
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

    /// Accept the experimental spec 3.7.0-experimental, too
    #[arg(long)]
    pub experimental: bool,

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
        let named = provider::experimental(&Cmdline::new(cmdline.clone()))?;
        let accepts = if self.experimental || named {
            Accepts::Experimental
        } else {
            Accepts::Stable
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
            keys_file: KeysFile::from_environment(),
            accepts,
        })
    }
}

/// The arguments as Go's `flag` package understands them, in the form of this
/// parser: an option has one dash or two, its value follows or comes after
/// `=`; a switch may be `=true` or `=false`; the last of several counts; and
/// what comes after the first word that is no option is not looked at.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut normal: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            // Not an option of this program: its parser says so.
            normal.push(argument);
            continue;
        };
        let Some(option) = option_of(text) else {
            break;
        };
        let mut long = OsString::from(format!("--{option}"));
        match option.split_once('=') {
            None if matches!(option, "h" | "help") => normal.push("--help".into()),
            None if is_switch(option) => normal.push(long),
            None => {
                // Bound to its option, as it may start with a dash.
                if let Some(value) = arguments.next() {
                    long.push("=");
                    long.push(value);
                }
                normal.push(long);
            }
            Some((name, value)) if is_switch(name) => switch(&mut normal, name, value),
            Some(_) => normal.push(long),
        }
    }
    normal
}

/// Name, and value if there is one in the same word, of an option.
fn option_of(text: &str) -> Option<&str> {
    let name = text.strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

fn switch(normal: &mut Vec<OsString>, name: &str, value: &str) {
    let long = OsString::from(format!("--{name}"));
    match value {
        // Go's words for a truth value.
        "1" | "t" | "T" | "TRUE" | "true" | "True" => normal.push(long),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => normal.retain(|word| *word != long),
        // The parser refuses a switch with a value.
        other => normal.push(format!("--{name}={other}").into()),
    }
}

fn is_switch(name: &str) -> bool {
    let command = Args::command();
    command.get_arguments().any(|argument| {
        argument.get_long() == Some(name) && matches!(argument.get_action(), ArgAction::SetTrue)
    })
}

/// A platform that is not known is wrong usage. One that is known and cannot
/// be asked fails the stage, which says so on the consoles.
fn platform(name: &str) -> Result<String, String> {
    match provider::of_platform(name) {
        Err(error @ ProviderError::Unknown(_)) => Err(error.to_string()),
        _ => Ok(name.to_owned()),
    }
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
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())?;
        total = total.checked_add(part).ok_or_else(refuse)?;
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
    fn options_are_read_as_go_programs_read_them() {
        let args = parse("ignition -stage files -root -dir -log-to-stdout=1 -root /b").unwrap();
        assert_eq!(args.root, PathBuf::from("/b"));
        assert!(args.log_to_stdout);
        let args = parse("ignition -root -dir -stage files -log-to-stdout -log-to-stdout=F");
        let args = args.unwrap();
        assert_eq!(args.root, PathBuf::from("-dir"));
        assert!(!args.log_to_stdout);
        // What follows the first other word is not looked at.
        let args = parse("ignition -stage files word -root /b").unwrap();
        assert_eq!(args.root, PathBuf::from("/"));
        let args = parse("ignition -stage files -- -bogus").unwrap();
        assert_eq!(args.stage, Some(Stage::Files));
        for wrong in [
            "-version=maybe",
            "-stage",
            "-stage=",
            "-=x",
            "---stage files",
            "-platform plan9 -stage files",
        ] {
            assert!(parse(&format!("ignition {wrong}")).is_err(), "{wrong}");
        }
        for help in ["-h", "-help", "--help"] {
            let error = parse(&format!("ignition {help}")).unwrap_err();
            assert_eq!(error.exit_code(), 0, "{help}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("2m0s"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1s5us"), Ok(Duration::from_micros(1_000_005)));
        let long = "5000000000000000h".repeat(2);
        for bad in ["", "5", "s", "1d", "1e9s", "-1s", &long] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
