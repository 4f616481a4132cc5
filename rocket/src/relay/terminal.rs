//! A terminal of a program's own: what it shows is shown on ours, and what is typed there
//! goes to it.

use std::io::{Read as _, Stdin, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::runtime::{sync, terminal};

/// A program's terminal. Until this is dropped, ours passes on every key as it is.
pub struct Terminal {
    master: OwnedFd,
    /// Whether there may be more to type.
    has_input: bool,
    _raw: Raw,
}

/// Our terminal, which is as it was before when this is dropped.
struct Raw(Option<Termios>);

impl Terminal {
    /// The one whose master comes over a socket.
    ///
    /// # Errors
    /// It does not come.
    pub fn receive(console: &OwnedFd) -> anyhow::Result<Self> {
        let receiving = "receiving the terminal";
        let (_, master) = sync::receive_fd(console).context(receiving)?;
        let terminal = Self {
            master: master.context(receiving)?,
            has_input: true,
            _raw: Raw::set(),
        };
        terminal.copy_size();
        Ok(terminal)
    }

    /// What to wait for, for [`Self::pass_on`].
    pub fn watched<'a>(&'a self, stdin: &'a Stdin) -> Vec<PollFd<'a>> {
        let mut fds = vec![PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if self.has_input {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        fds
    }

    /// Passes on what there is; returns whether there may be more to show.
    ///
    /// # Errors
    /// One of our streams fails, or the program's terminal.
    pub fn pass_on(&mut self, ready: &[bool]) -> anyhow::Result<bool> {
        let shown = ready.first() == Some(&true) && show(&self.master)?;
        if ready.get(1) == Some(&true) {
            self.has_input = type_in(&self.master)?;
        }
        Ok(shown)
    }

    /// The program's terminal gets the size of ours, if that is one.
    pub fn copy_size(&self) {
        if let Ok((rows, columns)) = terminal::size(std::io::stdin()) {
            // The terminal may be gone just now.
            let _ = terminal::set_size(&self.master, rows, columns);
        }
    }
}

/// Shows what there is; returns whether there may be more.
fn show(master: &OwnedFd) -> anyhow::Result<bool> {
    let mut buffer = [0; 8192];
    match nix::unistd::read(master, &mut buffer) {
        // The last one who had it open is gone.
        Ok(0) | Err(Errno::EIO) => Ok(false),
        Ok(length) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&buffer[..length])
                .and_then(|()| out.flush())
                .context("writing to standard output")?;
            Ok(true)
        }
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(true),
        Err(error) => Err(error).context("reading the program's terminal"),
    }
}

/// Passes on what was typed; returns whether more can come.
fn type_in(master: &OwnedFd) -> anyhow::Result<bool> {
    let mut buffer = [0; 4096];
    let length = std::io::stdin()
        .read(&mut buffer)
        .context("reading standard input")?;
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match nix::unistd::write(master, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(_) => return Ok(false),
        }
    }
    Ok(length > 0)
}

impl Raw {
    fn set() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Without it the terminal echoes what is typed twice, which is no reason to fail.
        let _ = tcsetattr(&stdin, SetArg::TCSANOW, &raw);
        Self(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
