//! Being the parent of apps: signals go to them, how they end is noted.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::super::Ended;
use crate::runtime::Running;

/// What is passed on to apps: everything that somebody may send a program on purpose.
const PASSED: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// Signals to this process, held back until they are passed on.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// From now on they are held back.
    pub fn block() -> nix::Result<Self> {
        let set: SigSet = PASSED.into_iter().collect();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }
}

/// Passes signals on until the last app has ended.
///
/// # Errors
/// The kernel refuses to wait.
pub fn until_all_ended(
    signals: &Signals,
    mut apps: Vec<(String, Running)>,
) -> anyhow::Result<Vec<Ended>> {
    let mut ended = Vec::new();
    while !apps.is_empty() {
        let mut fds = vec![PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            apps.iter()
                .map(|(_, app)| PollFd::new(app.pidfd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("waiting for apps"),
        }
        let is_ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        if is_ready[0] {
            pass_on(signals, &apps)?;
        }
        for number in (0..apps.len()).rev() {
            if is_ready[number + 1] {
                let (name, app) = apps.remove(number);
                let status = app
                    .wait()
                    .with_context(|| format!("waiting for app {name}"))?;
                ended.push(Ended {
                    name,
                    status: Some(status.code()),
                });
            }
        }
    }
    Ok(ended)
}

fn pass_on(signals: &Signals, apps: &[(String, Running)]) -> anyhow::Result<()> {
    while let Some(info) = signals.fd.read_signal().context("reading signals")? {
        // What a terminal sends, it has sent to the apps as well.
        if info.ssi_code == nix::libc::SI_KERNEL {
            continue;
        }
        let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
        for (name, app) in apps {
            app.signal(signal)
                .with_context(|| format!("sending signal {signal} to app {name}"))?;
        }
    }
    Ok(())
}
