//! Asking a probe once, without waiting for the answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, socket,
    sockopt,
};

use crate::declared::model::{Check, Probe};
use crate::runtime::{Exit, Running};

/// What is read of an answer at most, to find its first line.
const LINE: usize = 4096;

/// A question that was asked.
#[derive(Debug)]
pub struct Attempt {
    deadline: Instant,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Program(Running),
    Connecting(TcpStream, Option<Vec<u8>>),
    Reading(TcpStream, Vec<u8>),
    /// It could not even be asked, or was answered.
    Over,
}

impl Attempt {
    /// Asks `probe` at the pod's `address`; `enter` begins a program in the container.
    pub fn new(
        probe: &Probe,
        address: IpAddr,
        now: Instant,
        enter: impl FnOnce(&[String]) -> anyhow::Result<Running>,
    ) -> Self {
        let way = match &probe.check {
            Check::Exec(command) => enter(command).map_or(Way::Over, Way::Program),
            Check::Tcp { host, port } => {
                connecting(SocketAddr::new(host.unwrap_or(address), *port), None)
            }
            Check::Http {
                host,
                port,
                path,
                headers,
            } => {
                let to = SocketAddr::new(host.unwrap_or(address), *port);
                connecting(to, Some(request(to, path, headers)))
            }
        };
        Self {
            deadline: now + Duration::from_secs(probe.timeout),
            way,
        }
    }

    /// When it is too late for an answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to wait for.
    pub fn watched(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.way {
            Way::Program(running) => Some((running.pidfd(), PollFlags::POLLIN)),
            Way::Connecting(stream, _) => Some((stream.as_fd(), PollFlags::POLLOUT)),
            Way::Reading(stream, _) => Some((stream.as_fd(), PollFlags::POLLIN)),
            Way::Over => None,
        }
    }

    /// Goes on as far as it can. Says the answer once there is one.
    pub fn go_on(&mut self, now: Instant) -> Option<bool> {
        let answer = self.step();
        if answer.is_none() && now >= self.deadline {
            self.end();
            return Some(false);
        }
        answer
    }

    /// Ends a program that was not seen ending. As long as nobody has, it keeps the first process
    /// of its namespace from ending.
    fn end(&mut self) {
        if let Way::Program(running) = &self.way {
            // It may have ended just now.
            let _ = running.signal(nix::libc::SIGKILL);
            let _ = running.wait();
        }
        self.way = Way::Over;
    }

    fn step(&mut self) -> Option<bool> {
        match &mut self.way {
            Way::Over => Some(false),
            Way::Program(running) => {
                if !is_ready(running.pidfd(), PollFlags::POLLIN) {
                    return None;
                }
                let is_good = matches!(running.wait(), Ok(Exit::Status(0)));
                self.way = Way::Over;
                Some(is_good)
            }
            Way::Connecting(stream, request) => {
                if !is_ready(stream.as_fd(), PollFlags::POLLOUT) {
                    return None;
                }
                if !matches!(getsockopt(stream, sockopt::SocketError), Ok(0)) {
                    return Some(false);
                }
                let Some(request) = request else {
                    return Some(true);
                };
                // It fits into the buffer of a new connection.
                if stream.write_all(request).is_err() {
                    return Some(false);
                }
                match stream.try_clone() {
                    Ok(stream) => self.way = Way::Reading(stream, Vec::new()),
                    Err(_) => return Some(false),
                }
                self.step()
            }
            Way::Reading(stream, line) => loop {
                let mut bytes = [0; 512];
                match stream.read(&mut bytes) {
                    Ok(0) => return Some(false),
                    Ok(count) => line.extend(&bytes[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                    Err(_) => return Some(false),
                }
                if line.contains(&b'\n') || line.len() > LINE {
                    return Some(is_success(line));
                }
            },
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether there is something to be had of `fd` now.
pub fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut polled = [PollFd::new(fd, flags)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
}

fn connecting(to: SocketAddr, request: Option<Vec<u8>>) -> Way {
    match begin(to) {
        Ok(stream) => Way::Connecting(stream, request),
        Err(_) => Way::Over,
    }
}

/// A connection that is on its way.
fn begin(to: SocketAddr) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let make = |family| socket(family, SockType::Stream, flags, None).map(TcpStream::from);
    let (stream, begun) = match to {
        SocketAddr::V4(to) => {
            let stream = make(AddressFamily::Inet)?;
            let begun = connect(stream.as_raw_fd(), &SockaddrIn::from(to));
            (stream, begun)
        }
        SocketAddr::V6(to) => {
            let stream = make(AddressFamily::Inet6)?;
            let begun = connect(stream.as_raw_fd(), &SockaddrIn6::from(to));
            (stream, begun)
        }
    };
    match begun {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(stream),
        Err(error) => Err(error),
    }
}

fn request(to: SocketAddr, path: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    let has = |name: &str| {
        headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    for (name, value) in [
        ("Host", to.to_string()),
        ("User-Agent", "rocket".into()),
        ("Accept", "*/*".into()),
        ("Connection", "close".into()),
    ] {
        if !has(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// `HTTP/1.1 204 No Content`: from 200 to 399 is good.
fn is_success(answer: &[u8]) -> bool {
    let line = answer
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let is_http = words
        .next()
        .is_some_and(|version| version.starts_with("HTTP/"));
    let status: Option<u16> = words.next().and_then(|status| status.parse().ok());
    is_http && status.is_some_and(|status| (200..400).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn probe(check: Check) -> Probe {
        Probe {
            check,
            delay: 0,
            period: 1,
            timeout: 5,
            successes: 1,
            failures: 1,
        }
    }

    fn answer(check: Check) -> bool {
        let none = |_: &[String]| anyhow::bail!("no container");
        let mut attempt = Attempt::new(&probe(check), HOME, Instant::now(), none);
        loop {
            if let Some(answer) = attempt.go_on(Instant::now()) {
                return answer;
            }
            let Some((fd, flags)) = attempt.watched() else {
                continue;
            };
            let mut polled = [PollFd::new(fd, flags)];
            poll(&mut polled, PollTimeout::from(5000_u16)).unwrap();
        }
    }

    /// A server that answers once, and what it was asked.
    fn asked(says: &'static [u8]) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 512];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut bytes).unwrap();
                request.extend(&bytes[..count]);
            }
            stream.write_all(says).unwrap();
            String::from_utf8(request).unwrap()
        });
        let answer = answer(Check::Http {
            host: None,
            port,
            path: "/healthz".into(),
            headers: vec![("Host".into(), "shop".into())],
        });
        (answer, server.join().unwrap())
    }

    #[test]
    fn the_status_of_a_server_is_the_answer() {
        for (says, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], true),
            (b"HTTP/1.0 302 Found\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", false),
            (b"HTTP/1.1 500 x\r\n\r\n", false),
            (b"220 mail ready\r\n", false),
            (b"", false),
        ] {
            let (answer, request) = asked(says);
            assert_eq!(answer, expected, "{}", String::from_utf8_lossy(says));
            assert!(
                request.starts_with("GET /healthz HTTP/1.1\r\nUser-Agent: rocket\r\n"),
                "{request}"
            );
            assert!(request.contains("\r\nHost: shop\r\n"), "{request}");
        }
    }

    #[test]
    fn a_port_is_open_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(answer(Check::Tcp { host: None, port }));
        drop(listener);
        assert!(!answer(Check::Tcp { host: None, port }));
    }

    #[test]
    fn no_answer_in_time_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = Check::Http {
            host: Some(HOME),
            port,
            path: "/".into(),
            headers: Vec::new(),
        };
        let none = |_: &[String]| anyhow::bail!("no container");
        let now = Instant::now();
        let mut attempt = Attempt::new(&probe(check), HOME, now, none);
        let mut polled = [PollFd::new(
            attempt.watched().unwrap().0,
            PollFlags::POLLOUT,
        )];
        poll(&mut polled, PollTimeout::from(5000_u16)).unwrap();
        assert_eq!(attempt.go_on(now), None);
        assert_eq!(attempt.go_on(attempt.deadline()), Some(false));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_a_bad_answer() {
        assert!(!answer(Check::Exec(vec!["true".into()])));
    }
}
