//! The command line: one file per verb.

mod fetch;
mod image;
mod trust;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::dirs::Dirs;

/// Containers without a daemon
#[derive(Debug, Parser)]
#[command(name = "rocket", version)]
pub struct Args {
    /// Keeps everything below this directory, instead of /var/lib/rocket, /run/rocket and
    /// /etc/rocket
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What rocket can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Fetches images into the store, from registries or files
    Fetch(fetch::Args),
    /// Lists, removes, checks and copies images of the store
    Image(image::Args),
    /// Says whose images may run
    Trust(trust::Args),
}

impl Args {
    /// Does it.
    ///
    /// # Errors
    /// What could not be done.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let dirs = match &self.root {
            Some(root) => Dirs::below(root),
            None => Dirs::default(),
        };
        match &self.verb {
            Verb::Fetch(args) => fetch::run(&dirs, args),
            Verb::Image(args) => image::run(&dirs, args),
            Verb::Trust(args) => trust::run(&dirs, args),
        }
    }
}

/// Prints a value as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use std::io::Write as _;
    let mut text = serde_json::to_string_pretty(value).context("writing JSON")?;
    text.push('\n');
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_fits_together() {
        Args::command().debug_assert();
    }
}
