//! Being the parent of programs: signals to this process go on to them, and how they end is
//! seen.

mod terminal;

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::runtime::{Exit, Running, Session};
pub use terminal::Terminal;

/// What is passed on: everything that somebody may send a program on purpose.
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

/// Signals to this process, held back from the time this was made.
#[derive(Debug)]
pub struct Relay {
    signals: SignalFd,
    session: Session,
}

impl Relay {
    /// From now on signals wait. `session` is that of the programs to come.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(session: Session) -> anyhow::Result<Self> {
        let set: SigSet = PASSED.into_iter().collect();
        set.thread_block().context("blocking signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            signals: SignalFd::with_flags(&set, flags).context("watching signals")?,
            session,
        })
    }

    /// Passes on signals, and what is typed and shown if the programs have a terminal, until
    /// the last of them has ended. Returns which ended how, in the order in which they did.
    ///
    /// # Errors
    /// The kernel refuses to wait, or what a program shows cannot be shown.
    pub fn until_all_ended(
        &self,
        programs: &[&Running],
        mut terminal: Option<Terminal>,
    ) -> anyhow::Result<Vec<(usize, Exit)>> {
        let mut ended = Vec::new();
        let mut left: Vec<usize> = (0..programs.len()).collect();
        while !left.is_empty() {
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let running = left.iter().map(|number| programs[*number].pidfd());
            fds.extend(running.map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)));
            let stdin = std::io::stdin();
            fds.extend(
                terminal
                    .iter()
                    .flat_map(|terminal| terminal.watched(&stdin)),
            );
            let ready = wait(fds)?;
            if ready[0] {
                let to: Vec<&Running> = left.iter().map(|number| programs[*number]).collect();
                self.pass_on(&to, terminal.as_ref())?;
            }
            let (of_programs, of_terminal) = ready[1..].split_at(left.len());
            // All that was written is shown before the end counts.
            if let Some(terminal) = &mut terminal
                && terminal.pass_on(of_terminal)?
            {
                continue;
            }
            let over: Vec<usize> = left
                .iter()
                .zip(of_programs)
                .filter_map(|(number, is_ready)| is_ready.then_some(*number))
                .collect();
            for number in over {
                ended.push((number, programs[number].wait()?));
                left.retain(|other| *other != number);
            }
        }
        Ok(ended)
    }

    fn pass_on(&self, programs: &[&Running], terminal: Option<&Terminal>) -> anyhow::Result<()> {
        while let Some(info) = self.signals.read_signal().context("reading signals")? {
            let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
            // What our terminal sends, it has sent to programs of our session as well.
            if self.session == Session::Caller && info.ssi_code == nix::libc::SI_KERNEL {
                continue;
            }
            match terminal {
                Some(terminal) if signal == Signal::SIGWINCH as i32 => terminal.copy_size(),
                // One may have ended just now.
                _ => programs.iter().for_each(|one| drop(one.signal(signal))),
            }
        }
        Ok(())
    }
}

/// Waits until something can be read of one of these, or nobody is there who could write.
/// Returns of which.
fn wait(mut fds: Vec<PollFd<'_>>) -> anyhow::Result<Vec<bool>> {
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("waiting for programs"),
    }
    Ok(fds.iter().map(|fd| fd.any().unwrap_or(false)).collect())
}
