//! What a container writes, on its way to the journal.
//!
//! The container has a pipe: programs open `/dev/stdout` and `/dev/stderr` by their names, which
//! sockets do not allow, and the journal's streams are sockets.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, fchown, pipe2};

use super::journal;
use crate::pod::User;

/// What is read at once. Pipes hold as much.
const CHUNK: usize = 64 << 10;

/// How often one container's output is read before others have their turn.
const TURNS: usize = 8;

/// How long the journal has for the last of it.
const LAST: Duration = Duration::from_secs(5);

/// The output of one run of a container.
#[derive(Debug)]
pub struct Output {
    name: String,
    pipe: File,
    journal: UnixStream,
    pending: Vec<u8>,
    is_over: bool,
}

impl Output {
    /// For a container of this name that runs as `user`. What is written to the descriptor
    /// becomes lines of the journal.
    ///
    /// # Errors
    /// The journal is not there, or the kernel refuses.
    pub fn new(name: &str, user: &User) -> anyhow::Result<(Self, OwnedFd)> {
        let journal = journal::stream(name).context("reaching the journal")?;
        Self::onto(journal, name, user).context("making a pipe")
    }

    fn onto(journal: UnixStream, name: &str, user: &User) -> std::io::Result<(Self, OwnedFd)> {
        let (mine, its) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&mine, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        journal.set_nonblocking(true)?;
        // Whoever opens it by name is asked for permission.
        fchown(
            &its,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        )?;
        let output = Self {
            name: name.to_owned(),
            pipe: mine.into(),
            journal,
            pending: Vec::new(),
            is_over: false,
        };
        Ok((output, its))
    }

    /// Nobody can write any more, and all that was written has gone.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What to wait for.
    pub fn watched(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self.pending.is_empty() {
            true => (self.pipe.as_fd(), PollFlags::POLLIN),
            false => (self.journal.as_fd(), PollFlags::POLLOUT),
        }
    }

    /// Passes on what there is, as far as the journal takes it. Says whether something was
    /// passed on.
    pub fn go_on(&mut self) -> bool {
        let mut has_moved = false;
        for _ in 0..TURNS {
            if !self.flush() || !self.fill() {
                return has_moved;
            }
            has_moved = true;
        }
        has_moved
    }

    /// Passes on all that is left of a container that has ended.
    pub fn finish(&mut self) {
        let until = Instant::now() + LAST;
        while !self.is_over {
            if self.go_on() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            // With nothing to pass on somebody outside of the container has its pipe.
            if self.is_over || self.pending.is_empty() || left.is_zero() {
                return;
            }
            let (fd, flags) = self.watched();
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if poll(&mut [PollFd::new(fd, flags)], left).is_err() {
                return;
            }
        }
    }

    /// Whether nothing waits for the journal.
    fn flush(&mut self) -> bool {
        let mut is_new = false;
        while !self.pending.is_empty() {
            match self.journal.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The journal was started anew.
                Err(_) if !is_new && self.reconnect().is_ok() => is_new = true,
                Err(error) => self.lose(&error),
            }
        }
        true
    }

    fn reconnect(&mut self) -> std::io::Result<()> {
        let journal = journal::stream(&self.name)?;
        journal.set_nonblocking(true)?;
        self.journal = journal;
        Ok(())
    }

    /// A container must not stand still for a journal that is not there.
    fn lose(&mut self, error: &std::io::Error) {
        let (name, count) = (&self.name, self.pending.len());
        eprintln!("rocket: container {name}: {count} bytes did not get to the journal: {error}");
        self.pending.clear();
    }

    /// Whether something was read.
    fn fill(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        let mut bytes = vec![0; CHUNK];
        match self.pipe.read(&mut bytes) {
            Ok(0) => self.is_over = true,
            Ok(count) => {
                bytes.truncate(count);
                self.pending = bytes;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                eprintln!(
                    "rocket: container {}: reading its output: {error}",
                    self.name
                );
                self.is_over = true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn output() -> (Output, File, UnixStream) {
        let (ours, journal) = UnixStream::pair().unwrap();
        let user = User {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            groups: Vec::new(),
        };
        let (output, pipe) = Output::onto(ours, "c", &user).unwrap();
        (output, pipe.into(), journal)
    }

    fn read(mut journal: UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        journal.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn a_program_may_open_its_output_by_name() {
        let (mut output, pipe, journal) = output();
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        let mut named = File::options().append(true).open(path).unwrap();
        named.write_all(b"one\n").unwrap();
        assert!(output.go_on());
        assert!(!output.go_on() && !output.is_over());
        drop(pipe);
        named.write_all(b"two").unwrap();
        drop(named);
        output.finish();
        assert!(output.is_over());
        drop(output);
        assert_eq!(read(journal), b"one\ntwo");
    }

    #[test]
    fn nothing_is_lost_when_the_journal_is_slow() {
        let (mut output, mut pipe, journal) = output();
        let written: Vec<u8> = (0..4 << 20).map(|number: u32| number as u8).collect();
        let copy = written.clone();
        let writer = std::thread::spawn(move || pipe.write_all(&copy).unwrap());
        let reader = std::thread::spawn(move || read(journal));
        while !output.is_over() {
            output.go_on();
            let (fd, flags) = output.watched();
            poll(&mut [PollFd::new(fd, flags)], PollTimeout::from(1000_u16)).unwrap();
        }
        drop(output);
        writer.join().unwrap();
        assert!(reader.join().unwrap() == written);
    }

    #[test]
    fn the_end_does_not_wait_for_who_keeps_the_pipe() {
        let (mut output, mut pipe, _journal) = output();
        pipe.write_all(b"last").unwrap();
        output.finish();
        assert!(!output.is_over());
        drop(pipe);
        output.finish();
        assert!(output.is_over());
    }
}
