//! A small web server for guests: fixed contents and a log of requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

pub use benchmarks::registry::HOST_AS_SEEN_BY_GUESTS;

/// Serves until the process ends.
pub struct Server {
    port: u16,
    contents: Arc<Mutex<Contents>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// What a guest asked for, and sent along.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    body: Vec<u8>,
}

type Contents = BTreeMap<String, Vec<u8>>;

/// Longest body that is taken, in bytes.
const LIMIT: usize = 1 << 20;

impl Server {
    /// Serves `contents`, keyed by path without the leading slash.
    pub fn start(contents: Contents) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening on 127.0.0.1")?;
        let port = listener.local_addr().context("finding the port")?.port();
        let contents = Arc::new(Mutex::new(contents));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (served, log) = (Arc::clone(&contents), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A guest that breaks off asks again.
                let _ = answer(stream, &served, &log);
            }
        });
        Ok(Self {
            port,
            contents,
            requests,
        })
    }

    /// Serves `content` as `path` from now on.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.insert(path.to_string(), content.into());
    }

    /// Its port on this machine's loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a guest finds `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{HOST_AS_SEEN_BY_GUESTS}:{}/{path}", self.port)
    }

    /// Its address for programs of this machine.
    pub fn here(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Paths that were asked for, in order.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.log().into_iter();
        requests.map(|request| request.path).collect()
    }

    /// What was sent to `path`, in order.
    pub fn sent(&self, path: &str) -> Vec<Vec<u8>> {
        let requests = self.log().into_iter();
        let there = requests.filter(|request| request.path == path);
        there.map(|request| request.body).collect()
    }

    fn log(&self) -> Vec<Request> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(
    mut stream: TcpStream,
    contents: &Mutex<Contents>,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    let mut length = 0;
    while reader.read_line(&mut header)? > 2 {
        let (name, value) = header.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        header.clear();
    }
    let mut body = vec![0; LIMIT.min(length)];
    reader.read_exact(&mut body)?;
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let path = path.trim_start_matches('/');
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push(Request {
        path: path.to_string(),
        body,
    });
    drop(log);
    let contents = contents.lock().unwrap_or_else(PoisonError::into_inner);
    let found = contents.get(path).cloned();
    drop(contents);
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"no such path\n".to_vec()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_served_and_requests_are_logged() {
        let contents = BTreeMap::from([("a.ign".to_string(), b"{}".to_vec())]);
        let server = Server::start(contents).unwrap();
        let get = |path: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            write!(stream, "GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        assert!(get("a.ign").ends_with("Content-Length: 2\r\nConnection: close\r\n\r\n{}"));
        assert!(get("b").starts_with("HTTP/1.1 404 "));
        server.put("b", "new");
        assert!(get("b").ends_with("new"));
        assert_eq!(server.requests(), ["a.ign", "b", "b"]);
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let head = "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        write!(stream, "{head}hello").unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
        assert_eq!(server.sent("c"), [b"hello"]);
        assert!(server.url("x").starts_with("http://10.0.2.2:"));
    }
}
