//! TFTP, as boot servers have it: one datagram at a time, lost ones are asked
//! for again.

mod packet;
mod transfer;

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use packet::{BLOCK_SIZE, acknowledgement, refusal, request};

pub use packet::{Options, Packet};
pub use transfer::{Step, Transfer};

use super::patience::{Failed, patiently};
use super::sink::Sink;
use super::source::{UrlError, decoded};
use super::{FetchError, Fetcher, Pipe};

/// Waits for an answer double from this on, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often one packet is sent without an answer.
const SENDINGS: u32 = 6;
/// Longest path of a request.
const PATH: usize = 400;

/// A file on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    /// With its leading slash, as upstream sends it.
    path: Vec<u8>,
}

impl Address {
    /// Reads what follows `tftp:`.
    pub fn parse(after: &str) -> Result<Self, UrlError> {
        let rest = after.strip_prefix("//").ok_or(UrlError::NoHost)?;
        let rest = rest.split(['#', '?']).next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let uri: ureq::http::uri::Authority = authority
            .parse()
            .map_err(|error: ureq::http::uri::InvalidUri| UrlError::Malformed(error.to_string()))?;
        let malformed = |message: &str| UrlError::Malformed(message.to_owned());
        if uri.host().is_empty() {
            return Err(UrlError::NoHost);
        }
        let path = decoded(path)?;
        if path.len() < 2 || path.len() > PATH || path.contains(&0) {
            return Err(malformed(
                "expected tftp://host/path with a path of 1 to 399 bytes",
            ));
        }
        Ok(Self {
            host: uri.host().trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(69),
            path,
        })
    }
}

/// Fetches a file through `pipe` into `sink`.
pub(super) fn fetch(
    address: &Address,
    fetcher: &Fetcher,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), FetchError> {
    let mut options = true;
    let mut attempt = 0;
    patiently(&pipe.name, fetcher, |deadline| {
        sink.reset().map_err(|source| FetchError::Store {
            name: pipe.name.clone(),
            source,
        })?;
        let server = resolve(address, attempt).map_err(|e| Failed::ForNow(e.to_string()))?;
        attempt += 1;
        let mut session = Session::start(server, address, options, deadline);
        let result = match &mut session {
            Ok(session) => pipe.run(session, sink),
            Err(error) => return Err(Failed::ForNow(error.to_string())),
        };
        let failure = session.ok().and_then(|session| session.failure);
        match (result, failure) {
            (Err(_), Some(Failure::Options)) => {
                options = false;
                Err(Failed::ForNow(
                    "the server does not know options".to_owned(),
                ))
            }
            (Err(_), Some(Failure::ForNow(message))) => Err(Failed::ForNow(message)),
            (Err(_), Some(Failure::Refused { code, message })) => Err(refused(pipe, code, message)),
            (result, _) => result.map_err(Failed::ForGood),
        }
    })
}

/// Of several addresses each attempt takes the next.
fn resolve(address: &Address, attempt: usize) -> io::Result<SocketAddr> {
    let all: Vec<SocketAddr> = (address.host.as_str(), address.port)
        .to_socket_addrs()?
        .collect();
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    all.get(attempt % all.len().max(1))
        .copied()
        .ok_or_else(none)
}

/// RFC 1350's codes: 1 no such file, 2 no access, 4 illegal operation, 6 it
/// exists, 7 no such user. The others may pass.
fn refused(pipe: &Pipe, code: u16, message: String) -> Failed {
    let message = format!("the server refused: {message} (TFTP error {code})");
    match code {
        1 | 2 | 4 | 6 | 7 | 8 => Failed::ForGood(FetchError::Refused {
            name: pipe.name.clone(),
            message,
        }),
        _ => Failed::ForNow(message),
    }
}

/// Why a session ended early.
enum Failure {
    Options,
    ForNow(String),
    Refused { code: u16, message: String },
}

/// A transfer under way; reading it reads the file.
struct Session {
    socket: UdpSocket,
    /// The server; from its first answer on, with the port it answers from.
    peer: SocketAddr,
    answered: bool,
    transfer: Transfer,
    /// Sent again when no answer comes.
    last_sent: Vec<u8>,
    deadline: Option<Instant>,
    /// Bytes that were taken and not yet read.
    pending: Vec<u8>,
    read: usize,
    finished: bool,
    failure: Option<Failure>,
}

impl Session {
    fn start(
        server: SocketAddr,
        address: &Address,
        options: bool,
        deadline: Option<Instant>,
    ) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        let last_sent = request(&address.path, options);
        socket.send_to(&last_sent, server)?;
        Ok(Self {
            socket,
            peer: server,
            answered: false,
            transfer: Transfer::new(options),
            last_sent,
            deadline,
            pending: Vec::new(),
            read: 0,
            finished: false,
            failure: None,
        })
    }

    /// Brings the next block.
    fn advance(&mut self) -> Result<(), Failure> {
        // One byte more than any allowed datagram, to notice longer ones.
        let mut buffer = [0; BLOCK_SIZE as usize + 4 + 1];
        loop {
            let length = self.receive(&mut buffer)?;
            let packet = match Packet::parse(&buffer[..length]) {
                Ok(packet) => packet,
                Err(problem) => return Err(self.refuse(4, problem.to_owned())),
            };
            match self.transfer.on(packet) {
                Step::Take { bytes, block, last } => {
                    self.pending = bytes.to_vec();
                    self.read = 0;
                    self.finished = last;
                    // If the last one is lost, the server's trouble is small.
                    return self.send(acknowledgement(block).to_vec());
                }
                Step::Acknowledge(block) => self.send(acknowledgement(block).to_vec())?,
                Step::Ignore => {}
                Step::AskPlainly => return Err(Failure::Options),
                Step::Refused { code, message } => return Err(Failure::Refused { code, message }),
                Step::Broken(problem) => return Err(self.refuse(4, problem)),
            }
        }
    }

    /// The next datagram of the server. What others send is passed over.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut wait = FIRST_WAIT;
        for _ in 0..SENDINGS {
            let until = Instant::now() + wait;
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            if let Some(length) = self.receive_until(until, buffer)? {
                return Ok(length);
            }
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                break;
            }
            self.send(self.last_sent.clone())?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Err(Failure::ForNow(format!(
            "no answer from {} over UDP",
            self.peer
        )))
    }

    fn receive_until(
        &mut self,
        until: Instant,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Failure> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let received = self
                .socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.recv_from(buffer));
            let (length, from) = match received {
                Ok(received) => received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(Failure::ForNow(error.to_string())),
                },
            };
            if self.answered && from == self.peer {
                return Ok(Some(length));
            }
            // The first answer comes from a port of the server's choice.
            if !self.answered && from.ip() == self.peer.ip() {
                self.answered = true;
                self.peer = from;
                return Ok(Some(length));
            }
        }
    }

    fn send(&mut self, packet: Vec<u8>) -> Result<(), Failure> {
        let sent = self.socket.send_to(&packet, self.peer);
        self.last_sent = packet;
        sent.map(drop)
            .map_err(|error| Failure::ForNow(error.to_string()))
    }

    /// Tells the server that it breaks the rules.
    fn refuse(&mut self, code: u16, problem: String) -> Failure {
        // The failure is the server's; that it is told so is a courtesy.
        let _ = self.socket.send_to(&refusal(code, &problem), self.peer);
        Failure::ForNow(format!("the server sent {problem}"))
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.pending.len() && !self.finished {
            if let Err(failure) = self.advance() {
                self.failure = Some(failure);
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
        }
        let left = &self.pending[self.read..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.read += length;
        Ok(length)
    }
}
