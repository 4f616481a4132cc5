//! An imitation of the service manager's private socket.
//!
//! Go Ignition asks the manager for its version before it writes presets of instances, and
//! has it start the units of devices that it waits for; it fails if nobody answers. In an
//! initrd systemd does; here there is none.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

/// What systemd of the image says, as the property is.
const VERSION: &str = "257";
/// Longest message that is read.
const LONGEST: usize = 64 << 10;
/// Bytes of the fixed part of a message.
const FIXED: usize = 16;

/// Kinds of messages.
const RETURN: u8 = 2;
const SIGNAL: u8 = 4;
/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_TO: u8 = 5;
const SIGNATURE: u8 = 8;

/// Who is connected.
///
/// The manager tells everybody when a job ends, and Go Ignition listens at a connection of
/// its own.
#[derive(Default)]
struct Manager {
    peers: Mutex<Vec<Peer>>,
    /// Connections and jobs so far.
    count: AtomicUsize,
}

/// One connection.
struct Peer {
    number: usize,
    stream: UnixStream,
    /// What it is told once it has said who it is; None when it has.
    waiting: Option<Vec<u8>>,
}

impl Peer {
    fn tell(&mut self, message: &[u8]) -> std::io::Result<()> {
        match &mut self.waiting {
            Some(waiting) => waiting.extend(message),
            None => self.stream.write_all(message)?,
        }
        Ok(())
    }
}

/// Answers at `directory/private` as long as the process lives.
pub fn imitate(directory: &Path) -> Result<()> {
    let path = directory.join("private");
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
    let manager = Arc::new(Manager::default());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let manager = Arc::clone(&manager);
            // Before it is answered: it may have another connection, and start a job there.
            let added = manager.add(&stream);
            // Who asks and is not answered fails, and that is seen.
            std::thread::spawn(move || added.and_then(|number| manager.answer(number, stream)));
        }
    });
    Ok(())
}

impl Manager {
    fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> usize {
        1 + self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn add(&self, stream: &UnixStream) -> Result<usize> {
        let number = self.next();
        self.peers().push(Peer {
            number,
            stream: stream.try_clone()?,
            waiting: Some(Vec::new()),
        });
        Ok(number)
    }

    /// Tells everybody; those who are gone are forgotten.
    fn tell_all(&self, message: &[u8]) {
        self.peers().retain_mut(|peer| peer.tell(message).is_ok());
    }

    /// Takes whoever connects for root, then answers every call: that to start a device's
    /// unit with a job that ends at once, every other one with the version.
    fn answer(&self, number: usize, stream: UnixStream) -> Result<()> {
        let mut out = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        while let Some(reply) = greeting(&mut input)? {
            out.write_all(reply)?;
        }
        for peer in self.peers().iter_mut().filter(|p| p.number == number) {
            let waiting = peer.waiting.take();
            peer.tell(&waiting.unwrap_or_default())?;
        }
        loop {
            let (serial, unit) = read_call(&mut input)?;
            // What is written at the same time must not get mixed.
            let peers = self.peers();
            match unit {
                None => out.write_all(&version(serial))?,
                Some(unit) => {
                    let job = self.next();
                    out.write_all(&started(serial, job))?;
                    drop(peers);
                    self.tell_all(&ended(job, &unit));
                }
            }
        }
    }
}

/// The reply to the next line of who connects, or nothing once he begins to call.
fn greeting(input: &mut impl BufRead) -> Result<Option<&'static [u8]>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    Ok(match line.trim_matches(['\0', '\r', '\n']) {
        "BEGIN" => None,
        "" => bail!("gone"),
        "AUTH" => Some(b"REJECTED EXTERNAL\r\n"),
        "NEGOTIATE_UNIX_FD" => Some(b"ERROR\r\n"),
        _ => Some(b"OK 0123456789abcdef0123456789abcdef\r\n"),
    })
}

/// The serial number of the next call, and the unit that it wants started, if it does.
fn read_call(input: &mut impl Read) -> Result<(usize, Option<String>)> {
    // Kind at 1, length of the body at 4, serial at 8, length of the fields at 12; all
    // little-endian, as every peer of this machine sends them.
    let mut fixed = [0; FIXED];
    input.read_exact(&mut fixed)?;
    let fields = number(&fixed, 12).next_multiple_of(8);
    let mut rest = vec![0; (fields + number(&fixed, 4)).min(LONGEST)];
    input.read_exact(&mut rest)?;
    let (fields, body) = rest.split_at(fields.min(rest.len()));
    Ok((number(&fixed, 8), unit_to_start(fields, body)))
}

fn number(bytes: &[u8], at: usize) -> usize {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    usize::try_from(u32::from_le_bytes(four)).unwrap_or(LONGEST)
}

/// The unit that the call is about, if it is one to start a unit.
fn unit_to_start(fields: &[u8], body: &[u8]) -> Option<String> {
    let mut member = Message::default();
    member.field(MEMBER, b's');
    member.string("StartUnit");
    let asks = fields.windows(member.0.len()).any(|part| part == member.0);
    let length = asks.then(|| body.get(..4).map(|_| number(body, 0)))??;
    let name = body.get(4..4 + length)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The node that a device's unit is about: `dev-loop1p2.device`, with `\x2d` for a dash.
fn node(unit: &str) -> Option<PathBuf> {
    let name = unit.strip_suffix(".device")?;
    let parts = name.split('-').map(|part| part.replace("\\x2d", "-"));
    Some(PathBuf::from(format!(
        "/{}",
        parts.collect::<Vec<_>>().join("/")
    )))
}

fn job_path(job: usize) -> String {
    format!("/org/freedesktop/systemd1/job/{job}")
}

/// The job's path.
fn started(serial: usize, job: usize) -> Vec<u8> {
    let mut body = Message::default();
    body.string(&job_path(job));
    reply(serial, "o", &body.0)
}

/// The signal that a job is removed: a device that is not there now will not be.
fn ended(job: usize, unit: &str) -> Vec<u8> {
    let there = node(unit).is_some_and(|node| node.exists());
    let mut fields = Message::default();
    fields.field(PATH, b'o');
    fields.string("/org/freedesktop/systemd1");
    fields.field(INTERFACE, b's');
    fields.string("org.freedesktop.systemd1.Manager");
    fields.field(MEMBER, b's');
    fields.string("JobRemoved");
    fields.field(SIGNATURE, b'g');
    fields.signature("uoss");
    let mut body = Message::default();
    body.number(job);
    body.string(&job_path(job));
    body.string(unit);
    body.string(if there { "done" } else { "timeout" });
    message(SIGNAL, job, &fields.0, &body.0)
}

/// A variant with the version.
fn version(serial: usize) -> Vec<u8> {
    let mut body = Message::default();
    body.signature("s");
    body.string(VERSION);
    reply(serial, "v", &body.0)
}

fn reply(serial: usize, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Message::default();
    fields.field(REPLY_TO, b'u');
    fields.number(serial);
    fields.field(SIGNATURE, b'g');
    fields.signature(signature);
    message(RETURN, serial, &fields.0, body)
}

fn message(kind: u8, serial: usize, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut message = Message(vec![b'l', kind, 1, 1]);
    message.number(body.len());
    message.number(serial);
    message.number(fields.len());
    message.0.extend(fields);
    message.align(8);
    message.0.extend(body);
    message.0
}

/// A message, or a part of one that begins at a multiple of eight bytes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: usize) {
        self.align(4);
        let number = u32::try_from(number).unwrap_or_default();
        self.0.extend(number.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or_default());
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    /// The beginning of a header field whose value has the type `kind`.
    fn field(&mut self, code: u8, kind: u8) {
        self.align(8);
        self.0.extend([code, 1, kind, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to the imitation at `directory`.
    fn connect(directory: &Path) -> UnixStream {
        let mut stream = UnixStream::connect(directory.join("private")).unwrap();
        stream.write_all(b"\0AUTH EXTERNAL 30\r\n").unwrap();
        let mut line = [0; 37];
        stream.read_exact(&mut line).unwrap();
        assert!(line.starts_with(b"OK "));
        stream.write_all(b"BEGIN\r\n").unwrap();
        stream
    }

    fn contains(bytes: &[u8], text: &str) -> bool {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }

    #[test]
    fn the_version_is_given_to_who_asks() {
        let directory = tempfile::tempdir().unwrap();
        imitate(directory.path()).unwrap();
        let mut stream = connect(directory.path());
        let call = [b'l', 1, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        stream.write_all(&call).unwrap();
        // As systemd sends it: reply to 9, a variant with a string.
        let mut expected = vec![b'l', 2, 1, 1, 12, 0, 0, 0, 9, 0, 0, 0, 15, 0, 0, 0];
        expected.extend([5, 1, b'u', 0, 9, 0, 0, 0, 8, 1, b'g', 0, 1, b'v', 0, 0]);
        expected.extend([1, b's', 0, 0, 3, 0, 0, 0, b'2', b'5', b'7', 0]);
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected);
    }

    #[test]
    fn everybody_hears_that_a_device_is_there_or_not() {
        let directory = tempfile::tempdir().unwrap();
        imitate(directory.path()).unwrap();
        let mut asking = connect(directory.path());
        let mut listening = connect(directory.path());
        for (unit, result) in [
            ("dev-null.device", "done"),
            ("dev-nowhere.device", "timeout"),
        ] {
            let mut fields = Message::default();
            fields.field(MEMBER, b's');
            fields.string("StartUnit");
            let mut body = Message::default();
            body.string(unit);
            body.string("replace");
            let call = message(1, 3, &fields.0, &body.0);
            asking.write_all(&call).unwrap();
            let mut answer = vec![0; started(3, 3).len() + ended(3, unit).len()];
            asking.read_exact(&mut answer).unwrap();
            assert!(contains(&answer, "/org/freedesktop/systemd1/job/"));
            let mut signal = vec![0; ended(3, unit).len()];
            listening.read_exact(&mut signal).unwrap();
            assert!(contains(&signal, "JobRemoved") && contains(&signal, unit));
            assert!(contains(&signal, result), "{unit}");
        }
        let node = node("dev-disk-by\\x2dlabel-a.device");
        assert_eq!(node, Some("/dev/disk/by-label/a".into()));
    }
}
