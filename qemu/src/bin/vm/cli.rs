//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use qemu::{Accel, Forward};

/// Boots a Ballast host in a virtual machine.
///
/// Builds the image if it is missing. Without --exec, says how to log in by SSH
/// and attaches this terminal to the guest's serial console. With --exec, runs
/// commands in the guest and ends. The image and the config are not changed.
#[derive(Debug, Parser)]
#[command(name = "vm", version, after_help = EXIT_CODES)]
pub struct Options {
    /// Ignition config (JSON) for the first boot [default:
    /// examples/single-host.ign]
    #[arg(long, value_name = "FILE")]
    pub ignition: Option<PathBuf>,

    /// Run CMD in the guest as root, print its output, and exit with its
    /// status. Repeatable: in order, up to the first that fails
    #[arg(long, value_name = "CMD")]
    pub exec: Vec<String>,

    /// Keep the disk in FILE; boot from it if it exists. After --exec the guest
    /// is shut down, not cut off [default: thrown away]
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,

    /// Disk image to boot, raw or qcow2 [default: built from this repository]
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,

    /// How to run the guest's CPUs; auto: KVM if it works, else TCG
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelName,

    /// Memory of the guest
    #[arg(long, value_name = "MIB", default_value_t = 2048,
          value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    pub memory: u32,

    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,

    /// Give up after this time, building and booting included
    #[arg(long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,

    /// Lead port HOST of this machine's 127.0.0.1 to port GUEST. Repeatable
    #[arg(long, value_name = "HOST:GUEST")]
    pub forward: Vec<Forward>,

    /// Second network card, on a network with all guests of the same GROUP
    #[arg(long, value_name = "GROUP")]
    pub net: Option<String>,
}

const EXIT_CODES: &str = "\
Exit status:
  0    every --exec command succeeded, or the guest powered off
  N    status of the first --exec command that failed
  2    wrong usage
  124  --timeout passed
  125  the machine could not be built, booted or reached
  130  interrupted (143: terminated)

On the console, Ctrl-] or Ctrl-a x ends the machine; Ctrl-a Ctrl-a types Ctrl-a.
BALLAST_DEADLINE_SCALE=F stretches the time that boot and login may take.";

/// The values of `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccelName {
    /// KVM if it works, else TCG
    Auto,
    /// Hardware virtualisation
    Kvm,
    /// Translation
    Tcg,
}

impl From<AccelName> for Accel {
    fn from(name: AccelName) -> Self {
        match name {
            AccelName::Auto => Self::Auto,
            AccelName::Kvm => Self::Kvm,
            AccelName::Tcg => Self::Tcg,
        }
    }
}

/// Refuses configs that are not JSON by their name, before anything is built.
pub fn check_config(file: &Path) -> Result<()> {
    let extension = file.extension().map(|e| e.to_string_lossy().to_lowercase());
    if let Some(extension @ ("bu" | "yaml" | "yml")) = extension.as_deref() {
        let json = file.with_extension("ign");
        bail!(
            "{} is .{extension}, but --ignition takes JSON: translate it first, for example with \
             `butane --strict {} > {}`",
            file.display(),
            file.display(),
            json.display()
        );
    }
    if !file.is_file() {
        bail!("--ignition {}: there is no such file", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_help_documents_every_exit_status() {
        let help = Options::command().render_long_help().to_string();
        for code in [super::super::exit::TIMED_OUT, super::super::exit::FAILED] {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}");
        }
    }

    #[test]
    fn options_are_read_as_the_contract_says() {
        let words = "vm --ignition a.ign --exec id --exec ls --disk d --image i --accel tcg \
                     --memory 1024 --timeout 9 --forward 1:2 --forward 3:4 --net g";
        let options = Options::try_parse_from(words.split_whitespace()).unwrap();
        assert_eq!(options.exec, ["id", "ls"]);
        assert_eq!(options.accel, AccelName::Tcg);
        assert_eq!(options.memory, 1024);
        assert_eq!(options.timeout, Some(9));
        let forwards: Vec<String> = options.forward.iter().map(ToString::to_string).collect();
        assert_eq!(forwards, ["1:2", "3:4"]);
        assert_eq!(options.net.as_deref(), Some("g"));
        for bad in ["vm --memory 1", "vm --forward 80", "vm --accel xen", "vm x"] {
            assert!(Options::try_parse_from(bad.split_whitespace()).is_err());
        }
    }

    #[test]
    fn yaml_is_refused_by_name_with_what_to_do() {
        for name in ["host.bu", "host.yaml", "host.YML"] {
            let message = check_config(Path::new(name)).unwrap_err().to_string();
            assert!(message.contains("> host.ign"), "{message}");
        }
        assert!(check_config(Path::new("/no/such.ign")).is_err());
        let file = tempfile::Builder::new().suffix(".ign").tempfile().unwrap();
        assert!(check_config(file.path()).is_ok());
    }
}
