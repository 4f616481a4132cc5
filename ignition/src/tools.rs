//! What an operator runs on a laptop, without root: `ignition validate`,
//! `ignition translate`, `ignition plan`.
//!
//! The tools use the same code as the machine that is provisioned, so what
//! they accept is what it accepts. They are behind the cargo feature `tools`
//! and not part of an image.
//!
//! - [`command`]: the command line, its exit status, reading and printing;
//! - [`report`]: problems as text and as JSON;
//! - [`butane`]: configs in YAML to Ignition configs, on [`yaml`], a tree
//!   whose nodes know where they are in their [`text`];
//! - [`plan`]: what a machine will do with a config.

pub mod butane;
pub mod command;
pub mod plan;
pub mod report;
pub mod text;
pub mod yaml;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

/// The words that make the command line one of the tools'; everything else is
/// upstream's command line.
const VERBS: [&str; 3] = ["plan", "translate", "validate"];

/// Upstream's name of what is `validate` here; a link of that name will do.
const VALIDATE: &str = "ignition-validate";

/// Runs the tool that `arguments` (with the program's name) name.
///
/// `None` if they name none.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if Path::new(arguments.first()?).file_name() == Some(OsStr::new(VALIDATE)) {
        arguments.insert(1, "validate".into());
    }
    let verb = arguments.get(1)?.to_str()?;
    if !VERBS.contains(&verb) {
        return None;
    }
    let tool = match command::Tools::try_parse_from(arguments) {
        Ok(tool) => tool,
        Err(error) => {
            let _ = error.print();
            return Some(ExitCode::from(if error.use_stderr() { 2 } else { 0 }));
        }
    };
    Some(match command::run(tool) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ignition: {error:#}");
            ExitCode::from(2)
        }
    })
}
