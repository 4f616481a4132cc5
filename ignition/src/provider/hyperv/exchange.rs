//! The kernel's side of the exchange of key-value pairs (`linux/hyperv.h`):
//! messages of one length in both directions. This program answers as the
//! daemon that the kernel wants to speak with.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::pool::{self, Pair, Pairs};

/// Length of a message: four bytes, and a body as long as the longest one.
const MESSAGE: usize = 7432;

/// Where a message that sets a pair has the lengths and texts.
const KEY_SIZE: usize = 8;
const VALUE_SIZE: usize = 12;
const KEY: usize = 16;
const VALUE: usize = KEY + pool::KEY;

/// The first bytes of messages: what the host wants.
const GET: u8 = 0;
const SET: u8 = 1;
const DELETE: u8 = 2;
const ENUMERATE: u8 = 3;
/// What a daemon says first, and the kernel's answer to it.
const REGISTER: u8 = 100;

/// The pool that a host's administrator fills.
const EXTERNAL: u8 = 0;

/// Hyper-V's statuses.
const DONE: u32 = 0;
const NO_MORE: u32 = 0x8007_0103;
const FAILED: u32 = 0x8000_4005;

/// When there is nothing more to come.
#[derive(Debug, Clone, Copy)]
pub struct Quiet {
    /// The host was silent for so long. Nothing else tells the end.
    pub after: Duration,
    /// All took so long.
    pub total: Duration,
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(1),
            total: Duration::from_secs(30),
        }
    }
}

/// Registers at `device` and takes in what the host sets, until it is `quiet`.
pub fn converse(device: &mut File, quiet: Quiet) -> io::Result<Pairs> {
    let deadline = Instant::now() + quiet.total;
    let mut pairs = Pairs::default();
    let mut first = [0; MESSAGE];
    first[0] = REGISTER;
    send(device, &first)?;
    while let Some(message) = receive(device, quiet.after)? {
        if let Some(status) = answer(&message, &mut pairs).map_err(io::Error::other)? {
            let mut reply = [0; MESSAGE];
            reply[..4].copy_from_slice(&status.to_ne_bytes());
            send(device, &reply)?;
        }
        if Instant::now() >= deadline {
            let message = "the host sends key-value pairs without end";
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
    }
    Ok(pairs)
}

/// Takes `message` in. The status that the host waits for, if it does.
fn answer(message: &[u8; MESSAGE], pairs: &mut Pairs) -> Result<Option<u32>, String> {
    let external = message[1] == EXTERNAL;
    Ok(match message[0] {
        REGISTER => None,
        SET if external => {
            pairs.set(pair(message)?)?;
            Some(DONE)
        }
        SET => Some(DONE),
        DELETE if external => {
            // The length of the key, then the key.
            let key = part(message, 4, 8, pool::KEY)?;
            let known = pairs.remove(key);
            Some(if known { DONE } else { NO_MORE })
        }
        // This machine has nothing to tell.
        GET | DELETE | ENUMERATE => Some(NO_MORE),
        _ => Some(FAILED),
    })
}

fn pair(message: &[u8; MESSAGE]) -> Result<Pair, String> {
    Ok(Pair {
        key: part(message, KEY_SIZE, KEY, pool::KEY)?.to_vec(),
        value: part(message, VALUE_SIZE, VALUE, pool::VALUE)?.to_vec(),
    })
}

/// The text at `start`, whose length with its zero is at `size`.
fn part(message: &[u8; MESSAGE], size: usize, start: usize, most: usize) -> Result<&[u8], String> {
    let mut length = [0; 4];
    length.copy_from_slice(&message[size..size + 4]);
    let length = u32::from_ne_bytes(length) as usize;
    if length > most {
        return Err(format!("a text of {length} bytes, where {most} have room"));
    }
    Ok(pool::text(&message[start..start + length]))
}

fn send(device: &mut File, message: &[u8; MESSAGE]) -> io::Result<()> {
    match device.write(message)? {
        MESSAGE => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// The next message, or None if none comes within `patience`.
fn receive(device: &mut File, patience: Duration) -> io::Result<Option<[u8; MESSAGE]>> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut message = [0; MESSAGE];
        match device.read(&mut message) {
            Ok(MESSAGE) => return Ok(Some(message)),
            Ok(0) => return Ok(None),
            Ok(length) => {
                let message = format!("a message of {length} bytes, expected {MESSAGE}");
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::thread;

    use super::*;

    /// The host's end of the conversation ends it, and no clock.
    const PATIENT: Quiet = Quiet {
        after: Duration::from_secs(60),
        total: Duration::from_secs(60),
    };

    fn set(pool: u8, key: &str, value: &str) -> Vec<u8> {
        let mut message = vec![0; MESSAGE];
        message[..2].copy_from_slice(&[SET, pool]);
        message[4] = 1;
        let length = |text: &str| (text.len() as u32 + 1).to_ne_bytes();
        message[8..12].copy_from_slice(&length(key));
        message[12..16].copy_from_slice(&length(value));
        message[16..16 + key.len()].copy_from_slice(key.as_bytes());
        message[528..528 + value.len()].copy_from_slice(value.as_bytes());
        message
    }

    fn plain(operation: u8) -> Vec<u8> {
        let mut message = vec![0; MESSAGE];
        message[0] = operation;
        message
    }

    /// A kernel that sends `messages` one by one; returns the answers.
    fn talk(messages: Vec<Vec<u8>>) -> (io::Result<Pairs>, Vec<u32>) {
        let (kernel, device) = UnixDatagram::pair().unwrap();
        let wakes_host = kernel.try_clone().unwrap();
        let ends_device = device.try_clone().unwrap();
        let mut device = File::from(OwnedFd::from(device));
        let host = thread::spawn(move || {
            let mut buffer = [0; MESSAGE];
            kernel.recv(&mut buffer).unwrap();
            assert_eq!(buffer[0], REGISTER);
            let mut answers = Vec::new();
            for message in messages {
                kernel.send(&message).unwrap();
                if message[0] == REGISTER {
                    continue;
                }
                if kernel.recv(&mut buffer).unwrap_or(0) != MESSAGE {
                    break;
                }
                answers.push(u32::from_ne_bytes(buffer[..4].try_into().unwrap()));
            }
            ends_device.shutdown(Shutdown::Read).unwrap();
            answers
        });
        let pairs = converse(&mut device, PATIENT);
        wakes_host.shutdown(Shutdown::Both).unwrap();
        (pairs, host.join().unwrap())
    }

    #[test]
    fn what_the_host_sets_is_taken_in_and_everything_answered() {
        let (pairs, answers) = talk(vec![
            plain(REGISTER),
            set(0, "ignition.config.0", "{\"a\""),
            set(0, "ignition.config.1", ": 1}"),
            set(1, "ignition.config.2", "of another pool"),
            set(0, "ignition.config.1", ": 2}"),
            plain(ENUMERATE),
            plain(GET),
            plain(4),
        ]);
        let pairs = pairs.unwrap();
        assert_eq!(pairs.get("ignition.config.0"), Some(&b"{\"a\""[..]));
        assert_eq!(pairs.get("ignition.config.1"), Some(&b": 2}"[..]));
        assert_eq!(pairs.get("ignition.config.2"), None);
        let done = [DONE; 4].into_iter();
        let expected: Vec<u32> = done.chain([NO_MORE, NO_MORE, FAILED]).collect();
        assert_eq!(answers, expected);
    }

    #[test]
    fn what_the_host_deletes_is_gone() {
        let mut delete = plain(DELETE);
        delete[4..8].copy_from_slice(&4u32.to_ne_bytes());
        delete[8..11].copy_from_slice(b"key");
        let (pairs, answers) = talk(vec![set(0, "key", "value"), delete.clone(), delete]);
        assert_eq!(pairs.unwrap(), Pairs::default());
        assert_eq!(answers, [DONE, DONE, NO_MORE]);
    }

    #[test]
    fn lengths_beyond_the_message_are_an_error() {
        let mut long = set(0, "key", "value");
        long[12..16].copy_from_slice(&2049u32.to_ne_bytes());
        let (pairs, _) = talk(vec![long]);
        assert!(pairs.unwrap_err().to_string().contains("2049"));
        let (pairs, _) = talk(vec![vec![1; 5]]);
        assert!(pairs.unwrap_err().to_string().contains("5 bytes"));
    }
}
