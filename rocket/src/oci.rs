//! The command line by which other engines call the runtime, as runc and crun have it.
//!
//! podman and containerd are given it as `rocket-oci`, a link to rocket, or as `rocket oci`.
//! What is kept of a container is a directory below `--root`, see [`store`].

mod args;
mod create;
mod delete;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod signals;
mod spec;
pub mod store;
mod update;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::runtime::protect_own_binary;
use args::{Args, Verb};
use store::Store;

/// The name that engines know the runtime by.
pub const NAME: &str = "rocket-oci";

/// Runs a command line whose first word is the program. Failures have status 1, as engines
/// expect it; `run` and `exec` have that of their program.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            // Nothing more can be done if it cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    args.run().unwrap_or_else(|error| {
        log::failure(args.log.as_deref(), args.log_format, &format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Whether the program was called by the name for engines.
pub fn is_called_so(program: &OsString) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == NAME)
}

/// Verbs that only engines use.
const VERBS: [&str; 11] = [
    "create", "delete", "exec", "features", "kill", "pause", "ps", "resume", "start", "state",
    "update",
];

/// Options before the verb that have a value in the next word.
const WITH_VALUE: [&str; 4] = ["--root", "--log", "--log-format", "--rootless"];

/// Whether this is an engine's command line: so rocket itself can be its runtime. Verbs that
/// people use too, `run` and `list`, are theirs.
pub fn is_meant(words: &[OsString]) -> bool {
    let mut rest = words.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = rest.next() {
        if WITH_VALUE.contains(&word.as_ref()) {
            rest.next();
        } else if !word.starts_with("--") {
            return VERBS.contains(&word.as_ref());
        }
    }
    false
}

/// Whether bytes are a config.json of which a container can be made. Nothing is made.
///
/// # Errors
/// Says what is wrong, by its place.
pub fn check(config: &[u8]) -> anyhow::Result<crate::runtime::Container> {
    Ok(crate::runtime::Container::of(&spec::parse(config)?)?)
}

impl Args {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let store = Store::new(&self.root);
        let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
        match &self.verb {
            Verb::Create(args) => {
                protect_own_binary()?;
                done(create::create(&store, self, args))
            }
            Verb::Run(args) => {
                protect_own_binary()?;
                create::run(&store, self, args)
            }
            Verb::Exec(args) => {
                protect_own_binary()?;
                exec::run(&store, args)
            }
            Verb::Start(args) => done(create::start(&store, &args.id)),
            Verb::State(args) => done(list::state(&store, &args.id)),
            Verb::Kill(args) => done(kill::kill(&store, args)),
            Verb::Delete(args) => done(delete::delete(&store, &args.id, args.force)),
            Verb::Pause(args) => done(kill::freeze(&store, &args.id, true)),
            Verb::Resume(args) => done(kill::freeze(&store, &args.id, false)),
            Verb::Update(args) => done(update::update(&store, args)),
            Verb::Ps(args) => done(list::ps(&store, args)),
            Verb::List(args) => done(list::list(&store, args)),
            Verb::Features => done(features::print()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_an_engine_is_known_by_its_verb() {
        let meant = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_meant(&words)
        };
        assert!(meant(
            "rocket --root /run/x --log=/y --systemd-cgroup create --bundle b id"
        ));
        assert!(meant("rocket --log-format json state id"));
        assert!(!meant("rocket --root create run image"));
        assert!(!meant("rocket list"));
        assert!(!meant("rocket --version"));
    }
}
