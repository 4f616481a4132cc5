//! What the pages for operators say.

mod host;
mod machine;
mod three;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use image::build::source_dir;
use qemu::Vm;

use crate::context::Context;
use crate::pages::Pages;
use crate::scenario::{Scenario, scenario};

use three::the_page_about_three_hosts_makes_a_node;

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        every_command_of_the_pages_works,
        15,
        "Every command of README and docs is run as it is written there, on a host or on this \
         machine; only names and paths are filled in."
    ),
    scenario!(
        the_page_about_three_hosts_makes_a_node,
        6,
        "With the commands of that page and its files alone, a host joins its control plane, and \
         its pod answers."
    ),
];

/// How long one command may take; scaled.
const COMMAND: Duration = Duration::from_secs(120);

fn every_command_of_the_pages_works(context: &Context) -> Result<()> {
    let mut pages = Pages::read(&source_dir())?;
    let config = machine::configs(context, &mut pages)?;
    machine::releases(context, &mut pages)?;
    host::commands(context, &mut pages, &config)?;
    pages.nothing_is_left()
}

/// A host, and the pages that somebody reads beside it.
struct Reader<'a> {
    vm: &'a mut Vm,
    pages: &'a mut Pages,
}

impl Reader<'_> {
    /// Runs a command as it is written.
    fn runs(&mut self, command: &str) -> Result<String> {
        self.fills_in(command, command)
    }

    /// Runs a command of the pages as `filled`.
    fn fills_in(&mut self, command: &str, filled: &str) -> Result<String> {
        self.ends(command, filled, &[0])
    }

    /// The same where other statuses are right, too.
    fn ends(&mut self, command: &str, filled: &str, statuses: &[i32]) -> Result<String> {
        self.pages.command(command)?;
        let filled = filled.trim_start_matches("sudo ");
        let output = self.vm.exec_within(filled, COMMAND)?;
        ensure!(
            statuses.contains(&output.status),
            "`{filled}`, of the pages, ended with {}: {}{}",
            output.status,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Starts a command of the pages that goes on.
    fn starts(&mut self, command: &str, filled: &str) -> Result<()> {
        self.pages.command(command)?;
        Ok(self.vm.start(filled.trim_start_matches("sudo "))?)
    }
}

/// Runs a command of the pages on this machine, from the source, as `filled`. `cargo` is the one
/// that runs this.
fn here(pages: &mut Pages, command: &str, filled: &str) -> Result<String> {
    pages.command(command)?;
    let output = shell(filled).output().context("starting a shell")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{filled}`, of the pages, ended with {}: {said}{why}",
            output.status
        );
    }
    Ok(said)
}

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    image::host::forget_cargo(&mut shell);
    shell.args(["-c", script]).current_dir(source_dir());
    shell
}
