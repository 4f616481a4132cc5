//! What the process that makes a container and the one that becomes it tell each other.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, socketpair,
};

/// Bytes of one message: a state with its annotations, or an error.
pub const MAX_MESSAGE: usize = 128 << 10;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Parent: a mount that the child could not make itself follows as a descriptor.
    Mount,
    /// Parent: go on; with the container's state for hooks.
    Go(String),
    /// Child: all is prepared but the hooks; it waits for [`Message::Go`].
    HooksDue,
    /// Helper: the number of the process it made, and that of its descriptor.
    Made(i32, RawFd),
    /// Child: everything is there; it waits for [`Message::Start`].
    Ready,
    /// Parent: execute the program; with the container's state for hooks.
    Start(String),
    /// Child: what failed. It ends.
    Failed(String),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let (tag, text) = match self {
            Self::Mount => (b'M', String::new()),
            Self::Go(state) => (b'G', state.clone()),
            Self::HooksDue => (b'H', String::new()),
            Self::Made(pid, fd) => (b'P', format!("{pid} {fd}")),
            Self::Ready => (b'R', String::new()),
            Self::Start(state) => (b'S', state.clone()),
            Self::Failed(why) => (b'E', why.clone()),
        };
        let mut bytes = vec![tag];
        bytes.extend(text.into_bytes());
        bytes.truncate(MAX_MESSAGE);
        bytes
    }

    fn decode(bytes: &[u8]) -> nix::Result<Self> {
        let (tag, text) = bytes.split_first().ok_or(Errno::EBADMSG)?;
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(match tag {
            b'M' => Self::Mount,
            b'G' => Self::Go(text),
            b'H' => Self::HooksDue,
            b'P' => {
                let numbers = text.split_once(' ').ok_or(Errno::EBADMSG)?;
                let number = |text: &str| text.parse().map_err(|_| Errno::EBADMSG);
                Self::Made(number(numbers.0)?, number(numbers.1)?)
            }
            b'R' => Self::Ready,
            b'S' => Self::Start(text),
            b'E' => Self::Failed(text),
            _ => return Err(Errno::EBADMSG),
        })
    }
}

/// One end of a connection that keeps messages apart.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two ends, closed on execution.
    pub fn pair() -> nix::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// A connected socket of this kind.
    pub fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// In a process that was made as a copy: closes its copy of the other's end, or it would
    /// never see that the other is gone. Nothing may use this value afterwards.
    pub fn close_copy(&self) {
        // There is nothing to do about an error.
        let _ = nix::unistd::close(self.0.as_raw_fd());
    }

    /// Sends a message.
    pub fn send(&self, message: &Message) -> nix::Result<()> {
        send(&self.0, &message.encode(), None)
    }

    /// Sends a mount.
    pub fn send_mount(&self, mount: &OwnedFd) -> nix::Result<()> {
        send(&self.0, &Message::Mount.encode(), Some(mount))
    }

    /// Whether the other end is closed.
    pub fn is_abandoned(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let hung = |polled: &PollFd| {
            polled
                .revents()
                .is_some_and(|r| r.contains(PollFlags::POLLHUP))
        };
        poll(&mut polled, PollTimeout::ZERO).is_ok() && hung(&polled[0])
    }

    /// The message that is there already; nothing if there is none.
    pub fn received(&self) -> nix::Result<Option<Message>> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::ZERO)? == 0 {
            return Ok(None);
        }
        Ok(self.receive()?.map(|(message, _)| message))
    }

    /// The next message and the descriptor that came with it; nothing if the other end is
    /// closed.
    pub fn receive(&self) -> nix::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, fd) = receive(&self.0, &mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((Message::decode(&buffer[..length])?, fd)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends bytes and, if given, a descriptor in one message.
pub fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<&OwnedFd>) -> nix::Result<()> {
    let fds: Vec<RawFd> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
    loop {
        let sent = sendmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives a short message and the descriptor that came with it.
pub fn receive_fd(socket: &OwnedFd) -> nix::Result<(usize, Option<OwnedFd>)> {
    receive(socket, &mut [0; 256])
}

/// Receives one message and at most one descriptor.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    loop {
        let mut control = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let message = match received {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut fd = None;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = part {
                fd = fds.into_iter().map(adopt).next_back();
            }
        }
        return Ok((message.bytes, fd));
    }
}

#[allow(unsafe_code)]
fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put this descriptor into our table for this message.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (one, other) = Channel::pair().unwrap();
        let all = [
            Message::Go("{}".into()),
            Message::HooksDue,
            Message::Made(12, 7),
            Message::Ready,
            Message::Start(String::new()),
            Message::Failed("no".into()),
        ];
        for message in all {
            one.send(&message).unwrap();
            let (received, fd) = other.receive().unwrap().unwrap();
            assert_eq!((received, fd.is_some()), (message, false));
        }
        one.send_mount(&one.0).unwrap();
        let (message, fd) = other.receive().unwrap().unwrap();
        assert_eq!((message, fd.is_some()), (Message::Mount, true));
        drop(fd);
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [&b""[..], b"?", b"P", b"P1", b"Px y"] {
            assert!(Message::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
