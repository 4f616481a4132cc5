//! Man pages and shell completions, from the definition of a command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// Writes below `dir`, as they are installed below `/usr/share`: `man/man8`,
/// `bash-completion/completions`, `zsh/site-functions`, `fish/vendor_completions.d`.
pub fn generate<A: CommandFactory>(dir: &Path) -> io::Result<()> {
    let man = dir.join("man/man8");
    fs::create_dir_all(&man)?;
    let mut command = A::command().disable_help_subcommand(true);
    let name = command.get_name().to_owned();
    // Gives the verbs their whole names, `updatectl-apply`.
    command.build();
    pages(&command, &man)?;
    for (shell, place) in [
        (Shell::Bash, "bash-completion/completions"),
        (Shell::Zsh, "zsh/site-functions"),
        (Shell::Fish, "fish/vendor_completions.d"),
    ] {
        let place = dir.join(place);
        fs::create_dir_all(&place)?;
        generate_to(shell, &mut A::command(), &name, &place)?;
    }
    // bash-completion looks for the bare name.
    let bash = dir.join("bash-completion/completions");
    fs::rename(bash.join(format!("{name}.bash")), bash.join(&name))
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
