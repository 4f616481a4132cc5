//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use semver::Version;

/// Shows and controls how this host is updated.
///
/// Anyone may look; changing something needs root. Exit status: 0 done; 1 failed; 2 wrong
/// usage; 3 the daemon does not answer; 4 refused, because of who asks, the state, or
/// what was found.
#[derive(Debug, Parser)]
#[command(name = "updatectl", version)]
pub struct Args {
    /// Print JSON, as docs/updates.md describes it
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Tell what runs, what is armed, what was denied and what happens next
    Status,
    /// Ask the server what there is, without taking it
    Check,
    /// Take a release now: fetch it, verify it, and make it the next one tried
    Apply(Apply),
    /// Go back to the other slot and deny the release that runs
    Rollback {
        /// Leave the reboot to somebody else
        #[arg(long)]
        no_reboot: bool,
    },
    /// Keep the running release: it is healthy
    Bless,
    /// Take no release by policy
    Hold {
        /// Why, for whoever reads the status
        reason: Vec<String>,
    },
    /// Take releases by policy again
    Unhold,
    /// Take a version again that was denied
    Allow {
        /// The version
        version: Version,
    },
    /// Show the channel that this host follows, or follow another one
    Channel {
        /// The channel to follow
        name: Option<String>,
    },
    /// Stop what is going on, or take back a release that is armed
    Cancel,
    /// Tell every attempt: times, bytes, reuse, outcome
    History,
    /// Look at the policy's files; needs no daemon
    Config {
        /// What to look for
        #[command(subcommand)]
        verb: Config,
    },
    /// Write man pages and shell completions
    #[command(hide = true)]
    Generate {
        /// Directory to write to
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Which release, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Apply {
    /// The version; the channel's release if it is left out
    pub version: Option<Version>,
    /// Also if the version is older than what runs
    #[arg(long, requires = "version")]
    pub allow_downgrade: bool,
    /// Return once it has begun
    #[arg(long)]
    pub no_wait: bool,
}

/// What to look for in the policy.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Config {
    /// Fail if anything in the policy's files is wrong or unknown
    Check,
    /// Show every value that counts, and where it was set
    Show,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use daemon::client::generate;
    use std::fs;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_downgrade_needs_a_version() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("updatectl apply --allow-downgrade").is_err());
        assert!(parse("updatectl apply --allow-downgrade 0.1.0").is_ok());
        assert!(parse("updatectl apply one").is_err());
        assert!(parse("updatectl status --json").unwrap().json);
    }

    #[test]
    fn every_verb_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        generate::<Args>(dir.path()).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        let page = read("man/man8/updatectl.8");
        assert!(page.contains(".TH updatectl 8"), "{page}");
        assert!(page.contains("updatectl\\-apply(8)"), "{page}");
        assert!(read("man/man8/updatectl-apply.8").contains("allow\\-downgrade"));
        assert!(read("man/man8/updatectl-config-check.8").contains(".TH updatectl-config-check 8"));
        assert!(!dir.path().join("man/man8/updatectl-generate.8").exists());
        assert!(read("bash-completion/completions/updatectl").contains("rollback"));
        assert!(read("zsh/site-functions/_updatectl").contains("rollback"));
        assert!(read("fish/vendor_completions.d/updatectl.fish").contains("rollback"));
    }
}
