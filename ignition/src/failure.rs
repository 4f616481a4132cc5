//! Telling people that first boot stopped, wherever they look.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::durable::{self, Attributes};
use crate::log;

/// Present in an initrd (systemd's convention).
const INITRD: &str = "/etc/initrd-release";

/// Holds the message when only a change of the config helps; what handles
/// emergencies then waits instead of rebooting.
pub const MESSAGE: &str = "/run/ignition/failure";

/// Prints `message` on every active console and, if the failure is `is_final`,
/// leaves it in [`MESSAGE`]. Does nothing outside of an initrd: consoles are
/// not ours there.
pub fn announce(message: &str, is_final: bool) {
    if !Path::new(INITRD).exists() {
        return;
    }
    if is_final {
        keep(message);
    }
    let text = banner(message, is_final);
    for console in consoles() {
        print(&console, &text);
    }
    for line in message.lines() {
        print(Path::new("/dev/kmsg"), &format!("<3>ignition: {line}\n"));
    }
}

fn keep(message: &str) {
    let path = Path::new(MESSAGE);
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let text = format!("{message}\n");
        durable::replace(path, text.as_bytes(), Attributes::own(0o600))
    };
    if let Err(error) = write() {
        log::warn(&format!("writing {MESSAGE}: {error}"));
    }
}

fn banner(message: &str, is_final: bool) -> String {
    let mut text = "\r\n*** first boot failed: this host was not provisioned ***\r\n".to_owned();
    for line in message.lines() {
        text.push_str(&format!("ignition: {line}\r\n"));
    }
    if is_final {
        text.push_str("Mend the config and start the machine again.\r\n");
    }
    text
}

/// /dev/console, the first virtual terminal, and what the kernel lists.
fn consoles() -> BTreeSet<PathBuf> {
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let mut names: Vec<&str> = active.split_whitespace().collect();
    // With several consoles /dev/console is one of them; named alone, it
    // would be printed on twice.
    if names.is_empty() {
        names.push("console");
    }
    if Path::new("/sys/class/tty/tty1").exists() && !names.contains(&"tty0") {
        names.push("tty1");
    }
    let devices = names.into_iter().map(|name| Path::new("/dev").join(name));
    devices.collect()
}

fn print(device: &Path, text: &str) {
    // O_NONBLOCK | O_NOCTTY: a serial line that nobody drains must not stop
    // the others from getting the message.
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(device);
    let written = opened.and_then(|mut console| console.write_all(text.as_bytes()));
    if let Err(error) = written {
        log::warn(&format!("writing to {}: {error}", device.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_names_the_program_on_every_line() {
        let text = banner("first\nsecond", true);
        assert!(text.contains("ignition: first\r\nignition: second\r\n"));
        assert!(text.contains("Mend the config"));
        assert!(!banner("x", false).contains("Mend"));
    }
}
