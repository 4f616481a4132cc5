//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use semver::Version;

/// Shows and controls when this host and its group reboot.
///
/// Anyone may look; changing something needs root. Exit status: 0 done; 1 failed; 2 wrong
/// usage; 3 the daemon does not answer; 4 refused, because of who asks, the state, or
/// because it was not confirmed.
#[derive(Debug, Parser)]
#[command(name = "locksmithctl", version)]
pub struct Args {
    /// Print JSON, as docs/reboots.md describes it
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Tell who holds the lock, who waits, what this host plans and what to do about it
    Status,
    /// Hold the lock for this host, which then does not reboot by itself
    Lock {
        /// Return once it is asked for
        #[arg(long)]
        no_wait: bool,
        /// Why, for whoever reads the status
        reason: Vec<String>,
    },
    /// Give back the lock that this host holds, or take it from one that is gone for good
    Unlock(Unlock),
    /// Reboot this host as soon as its policy lets it
    Reboot {
        /// At once: no window, no lock, no grace, no programs before
        #[arg(long)]
        force: bool,
        /// Why, for whoever reads the status
        reason: Vec<String>,
    },
    /// Change how many hosts of the group may be down at once; nobody loses the lock by it
    SetMax {
        /// So many; 0 stops all of them
        max: u32,
    },
    /// Show the releases that hosts of the group had to leave, and who is kept from them
    Brake {
        /// What to do about one
        #[command(subcommand)]
        verb: Option<Brake>,
    },
    /// Tell what keeps this host from rebooting
    WhoBlocks,
    /// Take over the semaphore of CoreOS's locksmith, once
    Migrate {
        /// A file with its JSON; the group's own key in the same etcd, if it is left out
        file: Option<PathBuf>,
    },
    /// Write man pages and shell completions
    #[command(hide = true)]
    Generate {
        /// Directory to write to
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Whose lock is given back.
#[derive(Debug, Clone, clap::Args)]
pub struct Unlock {
    /// The ID or the name of a host that is gone for good; this one, if it is left out
    pub id: Option<String>,
    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
}

/// What to do about a release that hosts had to leave.
#[derive(Debug, Clone, Subcommand)]
pub enum Brake {
    /// Let hosts reboot into it again
    Lift {
        /// The release
        version: Version,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory as _;
    use daemon::client::generate;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn verbs_take_what_they_are_for() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("locksmithctl status --json").unwrap().json);
        assert!(parse("locksmithctl reboot --force new firmware").is_ok());
        assert!(parse("locksmithctl brake").is_ok());
        assert!(parse("locksmithctl brake lift 0.3.0").is_ok());
        assert!(parse("locksmithctl brake lift three").is_err());
        assert!(parse("locksmithctl set-max").is_err());
        assert!(parse("locksmithctl set-max -1").is_err());
        assert!(parse("locksmithctl unlock --yes web-1").is_ok());
    }

    #[test]
    fn every_verb_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        generate::<Args>(dir.path()).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        let page = read("man/man8/locksmithctl.8");
        assert!(page.contains("locksmithctl\\-unlock(8)"), "{page}");
        assert!(read("man/man8/locksmithctl-brake-lift.8").contains(".TH locksmithctl-brake-lift"));
        assert!(read("bash-completion/completions/locksmithctl").contains("who-blocks"));
        assert!(read("fish/vendor_completions.d/locksmithctl.fish").contains("who-blocks"));
    }
}
