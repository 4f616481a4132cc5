//! The command line: one file per verb.

mod enter;
mod export;
mod fetch;
mod gc;
mod generate;
mod image;
mod list;
mod logs;
mod output;
mod pods;
mod prepare;
mod rm;
mod run;
mod status;
mod stop;
mod table;
mod trust;
mod which;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::dirs::Dirs;
use crate::options::SplitError;
use crate::runtime::protect_own_binary;

/// Containers without a daemon
///
/// Exit status of `run`, `run-prepared` and `enter`: that of the app, 128 and the number of
/// the signal that ended it. Of everything else: 0. Whatever rocket itself could not do ends
/// with 254.
#[derive(Debug, Parser)]
#[command(name = "rocket", version)]
pub struct Args {
    /// Keeps everything below this directory, instead of /var/lib/rocket, /run/rocket,
    /// /etc/rocket and /etc/cni
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What rocket can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a pod of images and runs it
    Run(Box<run::Args>),
    /// Makes a pod of images, to be run later; prints its UUID
    Prepare(Box<prepare::Args>),
    /// Runs a pod that was prepared
    RunPrepared(run::PreparedArgs),
    /// Notes that a unit's pod has ended
    #[command(hide = true)]
    Finish(run::FinishArgs),
    /// Fetches images into the store, from registries or files
    Fetch(fetch::Args),
    /// Lists, removes, checks and copies images of the store
    Image(image::Args),
    /// Runs the pods that files declare
    Pods(pods::Args),
    /// Says whose images may run
    Trust(trust::Args),
    /// Writes man pages and shell completions
    #[command(hide = true)]
    Generate(generate::Args),
    /// Lists pods
    List(list::Args),
    /// Shows one pod
    Status(status::Args),
    /// Runs a program in an app of a pod
    Enter(enter::Args),
    /// Writes the files of an app as a tar
    Export(export::Args),
    /// Asks pods to stop, and ends them when they do not
    Stop(stop::Args),
    /// Removes pods that do not run
    Rm(rm::Args),
    /// Removes what nobody needs any more
    Gc(gc::Args),
    /// Shows what a detached pod wrote
    Logs(logs::Args),
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
        let makes_containers = match &self.verb {
            Verb::Run(_) | Verb::RunPrepared(_) | Verb::Enter(_) => true,
            Verb::Pods(args) => args.makes_containers(),
            _ => false,
        };
        if makes_containers {
            protect_own_binary()?;
        }
        match self.on(&dirs) {
            Err(error) => match error.downcast_ref() {
                Some(SplitError::Help(text)) => {
                    print!("{text}");
                    Ok(ExitCode::SUCCESS)
                }
                _ => Err(error),
            },
            done => done,
        }
    }

    fn on(&self, dirs: &Dirs) -> anyhow::Result<ExitCode> {
        match &self.verb {
            Verb::Run(args) => run::run(dirs, args),
            Verb::Prepare(args) => prepare::run(dirs, args),
            Verb::RunPrepared(args) => run::run_prepared(dirs, args),
            Verb::Finish(args) => run::finish(dirs, args),
            Verb::Fetch(args) => fetch::run(dirs, args),
            Verb::Image(args) => image::run(dirs, args),
            Verb::Pods(args) => pods::run(dirs, args),
            Verb::Trust(args) => trust::run(dirs, args),
            Verb::Generate(args) => generate::run(args),
            Verb::List(args) => list::run(dirs, args),
            Verb::Status(args) => status::run(dirs, args),
            Verb::Enter(args) => enter::run(dirs, args),
            Verb::Export(args) => export::run(dirs, args),
            Verb::Stop(args) => stop::run(dirs, args),
            Verb::Rm(args) => rm::run(dirs, args),
            Verb::Gc(args) => gc::run(dirs, args),
            Verb::Logs(args) => logs::run(dirs, args),
        }
    }
}

/// What clap has to say: help and version are no failures.
pub fn wrong(error: &clap::Error) -> ExitCode {
    // Nothing more can be done if it cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(crate::FAILED)
    } else {
        ExitCode::SUCCESS
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

    #[test]
    fn words_after_an_image_are_the_apps() {
        let line = "rocket run --net=none --insecure-options=image docker-archive:/a --env A=1 -- /bin/sh -c x --- b";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Verb::Run(run) = args.verb else {
            panic!("not run");
        };
        let words = "docker-archive:/a --env A=1 -- /bin/sh -c x --- b";
        assert_eq!(run.pod_words(), words.split(' ').collect::<Vec<_>>());
    }
}
