//! `cargo image`: builds Ballast releases and publishes them.

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use image::host::SuiteState;
use image::tools::Tools;
use image::{BuildOptions, build};

/// Builds Ballast releases and publishes them.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "cargo image --", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing on this machine, and make the tree of tools.
    Prepare,
    /// Build a release: disk image, boot image, /usr, manifest, SBOM.
    Build {
        /// Version of the release (semver).
        #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
        version: String,
        /// Output directory [default: images/VERSION in the cache directory].
        #[arg(long)]
        out: Option<PathBuf>,
        /// Word to add to the kernel command line; for trying out.
        #[arg(long = "cmdline", value_name = "WORD")]
        cmdline: Vec<String>,
        /// Take packages as of Debian's last point release, without later updates; to
        /// measure updates with.
        #[arg(long)]
        as_released: bool,
        /// Directory to lay over the tree (`usr/…` in it).
        #[arg(long, value_name = "DIR")]
        overlay: Option<PathBuf>,
        /// TUF root that hosts trust [default: the newest one among the default keys,
        /// which are made if there are none].
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
    /// Build twice in different directories and compare every byte.
    Reproduce {
        /// Version of the release (semver).
        #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
        version: String,
    },
    /// Make the keys that sign a repository.
    Keys(cli::keys::Keys),
    /// Put a build into a repository, move a channel, or renew signatures.
    Publish(cli::publish::Publish),
    /// Serve a repository on HTTP, for trying out.
    Serve(cli::serve::Serve),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Prepare => Tools::ensure().map(|_| ()),
        Verb::Build {
            version,
            out,
            cmdline,
            as_released,
            overlay,
            root,
        } => build(&BuildOptions {
            version,
            out,
            cmdline,
            suites: match as_released {
                true => SuiteState::AsReleased,
                false => SuiteState::Updated,
            },
            overlay,
            root,
            work: None,
        })
        .map(|out| println!("{}", out.display())),
        Verb::Reproduce { version } => image::reproduce::reproduce(&version),
        Verb::Keys(keys) => keys.run(),
        Verb::Publish(publish) => publish.run(),
        Verb::Serve(serve) => serve.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
