//! Being the parent of a program in the foreground: signals go to it, and what a terminal of
//! its own shows is shown on ours.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::runtime::sync;
use crate::runtime::{Exit, Running, terminal};

/// What is passed on.
const PASSED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGPWR,
];

/// Signals to this process, held back from the time this was made.
pub struct Relay {
    signals: SignalFd,
}

/// Our terminal, which is as it was before when this is dropped.
struct Raw(Option<Termios>);

impl Relay {
    /// From now on signals wait.
    pub fn new() -> anyhow::Result<Self> {
        let set: SigSet = PASSED.into_iter().collect();
        set.thread_block().context("blocking signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            signals: SignalFd::with_flags(&set, flags).context("watching signals")?,
        })
    }

    /// Passes on signals, and what is typed and shown if the program has a terminal (whose
    /// master comes over `console`), until the program ends.
    pub fn until_end(&self, running: &Running, console: Option<OwnedFd>) -> anyhow::Result<Exit> {
        let master = console.map(|socket| receive(&socket)).transpose()?;
        let _raw = Raw::set(master.is_some());
        if let Some(master) = &master {
            copy_size(master);
        }
        let mut typing = master.is_some();
        loop {
            let mut fds = vec![
                PollFd::new(running.pidfd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            let stdin = std::io::stdin();
            if let Some(master) = &master {
                fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
                if typing {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                }
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for the program"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            drop(fds);
            if ready[1] {
                self.pass_on(running, master.as_ref())?;
            }
            if let Some(master) = &master {
                let shown = ready[2] && show(master)?;
                if typing && ready.get(3) == Some(&true) {
                    typing = type_in(master)?;
                }
                // All that was written is shown before the end counts.
                if shown {
                    continue;
                }
            }
            if ready[0] {
                return Ok(running.wait()?);
            }
        }
    }

    fn pass_on(&self, running: &Running, master: Option<&OwnedFd>) -> anyhow::Result<()> {
        while let Some(info) = self.signals.read_signal().context("reading signals")? {
            let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
            match master {
                Some(master) if signal == Signal::SIGWINCH as i32 => copy_size(master),
                // It may have ended just now.
                _ => drop(running.signal(signal)),
            }
        }
        Ok(())
    }
}

fn receive(socket: &OwnedFd) -> anyhow::Result<OwnedFd> {
    let receiving = "receiving the terminal";
    let (_, fd) = sync::receive_fd(socket).context(receiving)?;
    fd.context(receiving)
}

/// The program's terminal gets the size of ours, if that is one.
fn copy_size(master: &OwnedFd) {
    if let Ok((rows, columns)) = terminal::size(std::io::stdin()) {
        // The terminal may be gone just now.
        let _ = terminal::set_size(master, rows, columns);
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
    fn set(wanted: bool) -> Self {
        let stdin = std::io::stdin();
        let Some(before) = wanted.then(|| tcgetattr(&stdin).ok()).flatten() else {
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
