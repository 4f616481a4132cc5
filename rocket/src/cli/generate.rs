//! Man pages and shell completions, from the definition of the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use crate::options::AppOptions;

/// Writes man pages and shell completions
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to write to
    #[arg(long)]
    dir: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    generate(&args.dir).with_context(|| format!("writing below {}", args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes below `dir`, as they are installed below `/usr/share`.
fn generate(dir: &Path) -> io::Result<()> {
    let man = dir.join("man/man8");
    fs::create_dir_all(&man)?;
    let mut command = documented().disable_help_subcommand(true);
    // Gives the verbs their whole names, `rocket-run`.
    command.build();
    pages(&command, &man)?;
    for (shell, place) in [
        (Shell::Bash, "bash-completion/completions"),
        (Shell::Zsh, "zsh/site-functions"),
        (Shell::Fish, "fish/vendor_completions.d"),
    ] {
        let place = dir.join(place);
        fs::create_dir_all(&place)?;
        generate_to(shell, &mut documented(), "rocket", &place)?;
    }
    // bash-completion looks for the bare name.
    let bash = dir.join("bash-completion/completions");
    fs::rename(bash.join("rocket.bash"), bash.join("rocket"))
}

/// The command line with the options of apps, which follow their images and are read later.
fn documented() -> Command {
    let with_apps = |verb: Command| {
        let apps = AppOptions::command();
        let options = apps.get_arguments().cloned();
        verb.args(options.map(|option| option.help_heading("Options of an app, after its image")))
    };
    super::Args::command()
        .mut_subcommand("run", with_apps)
        .mut_subcommand("prepare", with_apps)
}

/// One page for a command and each of its verbs. Administration commands are in section 8.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    for verb in command.get_subcommands() {
        if !verb.is_hide_set() {
            pages(verb, dir)?;
        }
    }
    Man::new(command.clone()).section("8").generate_to(dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert!(read("man/man8/rocket.8").contains("rocket\\-run(8)"));
        let run = read("man/man8/rocket-run.8");
        assert!(
            run.contains("insecure\\-options") && run.contains("cap\\-drop"),
            "{run}"
        );
        assert!(!dir.path().join("man/man8/rocket-generate.8").exists());
        assert!(read("bash-completion/completions/rocket").contains("prepare"));
        assert!(read("zsh/site-functions/_rocket").contains("prepare"));
    }
}
