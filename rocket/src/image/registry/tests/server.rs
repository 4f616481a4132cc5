//! A registry for tests.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::super::testing::Fixture;
use super::Digest;

/// What a registry does that a good one does not, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whim {
    /// Ends a connection in the middle of a blob.
    Breaks,
    /// Says that it is busy.
    Busy,
    /// Begins at another byte than it was asked for.
    Shifts,
    /// Sends more than there is.
    Overruns,
}

/// A registry of files in memory, on this machine's loopback interface.
pub struct Registry {
    port: u16,
    pub shared: Arc<Shared>,
}

#[derive(Default)]
pub struct Shared {
    /// What is answered, by path.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What is sent somewhere else.
    pub moved: Mutex<BTreeMap<String, String>>,
    pub whims: Mutex<Vec<Whim>>,
    /// Lines of the requests, with their ranges.
    seen: Mutex<Vec<String>>,
    pub wants_token: AtomicBool,
    /// What the `Authorization` header has to be, in small letters.
    pub wants_password: Mutex<Option<String>>,
    pub no_ranges: AtomicBool,
    port: AtomicUsize,
}

impl Registry {
    pub fn start() -> Self {
        Self::behind(|server, stream| server.answer(stream))
    }

    /// One whose connections are taken by `take`.
    pub fn behind(
        take: impl Fn(&Shared, std::net::TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let take = Arc::new(take);
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.port.store(port.into(), Ordering::SeqCst);
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, take) = (Arc::clone(&server), Arc::clone(&take));
                // Whoever breaks off does not want the answer.
                thread::spawn(move || take(server.as_ref(), stream));
            }
        });
        Self { port, shared }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn put(&self, path: &str, content: &[u8]) {
        let mut files = self.shared.files.lock().unwrap();
        files.insert(path.to_owned(), content.to_vec());
    }

    /// Puts an image where it belongs.
    pub fn publish(&self, repository: &str, tag: &str, fixture: &Fixture) {
        for (digest, bytes) in fixture.blobs() {
            self.put(&format!("/v2/{repository}/blobs/{digest}"), &bytes);
        }
        self.publish_manifest(repository, tag, &fixture.manifest);
    }

    pub fn publish_manifest(&self, repository: &str, tag: &str, manifest: &[u8]) {
        for selector in [tag.to_owned(), Digest::of(manifest).to_string()] {
            self.put(&format!("/v2/{repository}/manifests/{selector}"), manifest);
        }
    }

    pub fn whim(&self, whim: Whim) {
        self.shared.whims.lock().unwrap().push(whim);
    }

    pub fn seen(&self, part: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|line| line.contains(part)).count()
    }
}

impl Shared {
    pub fn answer(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let (mut range, mut shown) = (None, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(from) = line.strip_prefix("range: bytes=") {
                range = from.trim_end_matches('-').parse::<usize>().ok();
            }
            if let Some(value) = line.strip_prefix("authorization: ") {
                shown = value.to_owned();
            }
        }
        let asked = request.split(' ').nth(1).unwrap_or_default();
        let line = format!("{asked} {range:?} {shown}");
        self.seen.lock().unwrap().push(line);
        // A proxy is asked for whole addresses.
        let path = asked.strip_prefix("http://").unwrap_or(asked);
        let path = path.find('/').map_or(path, |at| &path[at..]);
        self.reply(reader.get_mut(), path, range, &shown)
    }

    /// Only long blobs are worth it.
    fn take_whim(&self, path: &str, length: usize) -> Option<Whim> {
        let blob = path.contains("/blobs/") && length > 10_000;
        blob.then(|| self.whims.lock().unwrap().pop()).flatten()
    }

    fn reply(
        &self,
        stream: &mut (impl Read + Write),
        path: &str,
        range: Option<usize>,
        shown: &str,
    ) -> std::io::Result<()> {
        let port = self.port.load(Ordering::SeqCst);
        if path.starts_with("/token") {
            return send(stream, "200 OK", "", br#"{"token":"secret"}"#);
        }
        if let Some(wanted) = &*self.wants_password.lock().unwrap()
            && shown != wanted
        {
            let wants = "WWW-Authenticate: Basic realm=\"r\"\r\n";
            return send(stream, "401 Unauthorized", wants, b"");
        }
        if self.wants_token.load(Ordering::SeqCst) && shown != "bearer secret" {
            let wants = format!(
                "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"\r\n"
            );
            return send(stream, "401 Unauthorized", &wants, b"");
        }
        if let Some(to) = self.moved.lock().unwrap().get(path) {
            return send(stream, "307 Moved", &format!("Location: {to}\r\n"), b"");
        }
        let Some(content) = self.files.lock().unwrap().get(path).cloned() else {
            let why = br#"{"errors":[{"code":"X","message":"there is no such thing"}]}"#;
            return send(stream, "404 Not Found", "", why);
        };
        let whim = self.take_whim(path, content.len());
        if whim == Some(Whim::Busy) {
            return send(stream, "503 Busy", "Retry-After: 0\r\n", b"");
        }
        let ranges = !self.no_ranges.load(Ordering::SeqCst);
        let from = range.filter(|_| ranges).unwrap_or(0).min(content.len());
        let (first, last) = (from, content.len().saturating_sub(1));
        let (status, header) = match from {
            0 => ("200 OK", String::new()),
            _ => {
                let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
                ("206 Partial Content", range)
            }
        };
        let rest = &content[from..];
        if whim == Some(Whim::Shifts) {
            let range = format!("Content-Range: bytes {}-{last}/*\r\n", from + 1);
            return send(stream, "206 Partial Content", &range, &rest[1..]);
        }
        if whim == Some(Whim::Overruns) {
            return send(stream, status, &header, &[rest, rest].concat());
        }
        if whim == Some(Whim::Breaks) {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{header}\r\n",
                rest.len()
            );
            stream.write_all(head.as_bytes())?;
            return stream.write_all(&rest[..rest.len() / 2]);
        }
        send(stream, status, &header, rest)
    }
}

fn send(stream: &mut impl Write, status: &str, header: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
