//! Processes by descriptors, which are never another process's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::runtime::{pidfd_open, pidfd_signal};

/// A process that may end at any time, and is known as long as this is held.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// The process with this number; nothing if there is none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        match pidfd_open(Pid::from_raw(pid)) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::ESRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends it a signal. That it has ended is no error.
    ///
    /// # Errors
    /// The signal is none, or this process may not.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match pidfd_signal(&self.0, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Handle {
    /// Readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_signalled_until_it_is_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let handle = Handle::open(pid).unwrap().unwrap();
        handle.signal(nix::libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(nix::libc::SIGTERM));
        handle.signal(nix::libc::SIGTERM).unwrap();
        assert!(Handle::open(pid).unwrap().is_none());
    }
}
