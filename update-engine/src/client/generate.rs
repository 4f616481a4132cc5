//! Man pages and shell completions, from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

use super::Args;

/// Writes below `dir`, as they are installed below `/usr/share`: `man/man8`,
/// `bash-completion/completions`, `zsh/site-functions`, `fish/vendor_completions.d`.
pub fn generate(dir: &Path) -> io::Result<()> {
    let man = dir.join("man/man8");
    fs::create_dir_all(&man)?;
    let mut command = Args::command().disable_help_subcommand(true);
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
        generate_to(shell, &mut Args::command(), "updatectl", &place)?;
    }
    // bash-completion looks for the bare name.
    let bash = dir.join("bash-completion/completions");
    fs::rename(bash.join("updatectl.bash"), bash.join("updatectl"))
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
