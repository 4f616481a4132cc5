//! Man pages and shell completions, from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

use super::Args;

/// Writes below `dir`, as they are installed below `/usr/share`: `man/man8`,
/// `bash-completion/completions`, `zsh/site-functions`, `fish/vendor_completions.d`.
pub fn generate(dir: &Path) -> io::Result<()> {
    let man = dir.join("man/man8");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(with_section(Args::command()), &man)?;
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

/// Administration commands are in section 8.
fn with_section(command: clap::Command) -> clap::Command {
    command
}
