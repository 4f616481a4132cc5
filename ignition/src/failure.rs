//! Telling people that first boot stopped, wherever they look.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::durable::{self, Attributes};
use crate::log;

/// Present in an initrd (systemd's convention).
const INITRD: &str = "/etc/initrd-release";

/// Holds the message when only a change of the config helps; what handles
/// emergencies then waits instead of rebooting.
pub const MESSAGE: &str = "/run/ignition/failure";

/// How long one console may take for the message; 9600 baud carry some 9 kB
/// in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this is an initrd, and consoles and reboots are this program's business.
pub fn in_initrd() -> bool {
    Path::new(INITRD).exists()
}

/// Prints `message` on every active console and, if the failure is `is_final`,
/// leaves it in [`MESSAGE`]. Does nothing outside of an initrd: consoles are
/// not ours there.
pub fn announce(message: &str, is_final: bool) {
    if !in_initrd() {
        return;
    }
    if is_final {
        keep(message);
    }
    let text = banner(message, is_final);
    tell_consoles(&text);
    for line in message.lines() {
        print(Path::new("/dev/kmsg"), &format!("<3>ignition: {line}\n"));
    }
}

/// Prints `text`, whose lines end with a carriage return, on every active console.
pub fn tell_consoles(text: &str) {
    for console in consoles() {
        print(&console, text);
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
    if let Err(error) = deliver(device, text.as_bytes(), PATIENCE) {
        log::warn(&format!("writing to {}: {error}", device.display()));
    }
}

/// Writes all of `bytes` to `device`, waiting for room for at most `patience`
/// altogether: a serial line is busy with what the kernel and systemd print,
/// and one that nobody drains must not keep the others from the message.
fn deliver(device: &Path, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut console = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(device)?;
    while !bytes.is_empty() {
        match console.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_for_room(&console, deadline)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for_room(console: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    // The nearest whole millisecond above, so that the last one does not spin.
    let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let mut wanted = [PollFd::new(console.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut wanted, left) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn the_banner_names_the_program_on_every_line() {
        let text = banner("first\nsecond", true);
        assert!(text.contains("ignition: first\r\nignition: second\r\n"));
        assert!(text.contains("Mend the config"));
        assert!(!banner("x", false).contains("Mend"));
    }

    /// A line without any room: a pipe in `dir` and its holder, filled.
    fn busy_line(dir: &Path) -> (PathBuf, File, usize) {
        let path = dir.join("line");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("mkfifo");
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true);
        let mut line = open
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)
            .expect("open");
        let mut filled = 0;
        while let Ok(length) = line.write(&[b'.'; 4096]) {
            filled += length;
        }
        (path, line, filled)
    }

    #[test]
    fn a_busy_line_gets_the_whole_message_once_there_is_room() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, mut line, filled) = busy_line(dir.path());
        let text = banner(&"why\n".repeat(20_000), true);
        let expected = text.clone();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            while read.len() < filled + expected.len() {
                match line.read(&mut buffer) {
                    Ok(length) => read.extend_from_slice(&buffer[..length]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(
                read[filled..] == *expected.as_bytes(),
                "the message differs"
            );
        });
        deliver(&path, text.as_bytes(), Duration::from_secs(60)).expect("delivered");
        reader.join().expect("the reader");
    }

    #[test]
    fn a_line_that_nobody_drains_is_given_up() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, _line, _) = busy_line(dir.path());
        let error = deliver(&path, b"why", Duration::from_millis(20)).expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
