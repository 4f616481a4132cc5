//! A small HTTP server on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
pub struct Request {
    pub path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        Some(Self { path, headers })
    }
}

/// What is answered.
pub struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn ok(body: &[u8]) -> Self {
        Self {
            head: "200 OK".to_owned(),
            body: body.to_vec(),
        }
    }

    pub fn status(code: u16) -> Self {
        Self {
            head: format!("{code} Status"),
            body: b"no".to_vec(),
        }
    }

    pub fn redirect(to: &str) -> Self {
        Self {
            head: format!("302 Found\r\nLocation: {to}"),
            body: Vec::new(),
        }
    }
}

/// Serves until the test process ends.
pub struct Server {
    address: SocketAddr,
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Server {
    /// `answer` gets the request and how often its path was asked for.
    pub fn start(answer: impl Fn(&Request, u32) -> Answer + Send + 'static) -> Self {
        Self::start_with_url(|_| answer)
    }

    /// As `start`, for answers that contain the server's own URL.
    pub fn start_with_url<A>(make: impl FnOnce(&str) -> A) -> Self
    where
        A: Fn(&Request, u32) -> Answer + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = make(&format!("http://{address}"));
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = Request::read(&stream) else {
                    continue;
                };
                let count = {
                    let mut counts = counted.lock().unwrap();
                    let count = counts.entry(request.path.clone()).or_insert(0);
                    *count += 1;
                    *count
                };
                let Answer { head, body } = answer(&request, count);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let mut stream = stream;
                // A client that went away is not this server's business.
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { address, counts }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn count(&self, path: &str) -> u32 {
        self.counts.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}
