//! A web server for a repository: for trying out, and for tests.
//!
//! Files of one directory, by `GET` and `HEAD`, with ranges. Names that begin with a dot
//! and links that leave the directory are not served. For a fleet take any ordinary web
//! server or object store: a repository is nothing but files.

mod file;
mod range;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_RANGE, RANGE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use range::Wanted;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 128;

/// Bytes of a request's head, at most.
const HEAD: usize = 16 << 10;

/// How long a client may take for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in the request.
    pub method: String,
    /// As in the request.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of its body, if the client takes all of them.
    pub bytes: u64,
}

/// What a server did so far.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

type Watch = dyn Fn(&Answer) + Send + Sync;

/// What every connection shares.
struct Site {
    root: PathBuf,
    counts: Arc<Counts>,
    watch: Box<Watch>,
}

/// A running server; stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `dir` on `listen` (port 0: any that is free) from a thread of its own.
    /// `watch` is told of every request, before its body is sent.
    pub fn start(
        dir: &Path,
        listen: SocketAddr,
        watch: impl Fn(&Answer) + Send + Sync + 'static,
    ) -> Result<Self> {
        let root = dir
            .canonicalize()
            .with_context(|| format!("serving {}", dir.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr().context("finding the port")?;
        let counts = Arc::new(Counts::default());
        let site = Arc::new(Site {
            root,
            counts: Arc::clone(&counts),
            watch: Box::new(watch),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, site) => {}
                    _ = stopped => {}
                }
            });
            // Reads of files that are under way are not waited for.
            runtime.shutdown_background();
        });
        Ok(Self {
            address,
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the directory.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies handed to connections so far.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    connection(stream, site).await;
                    drop(place);
                });
            }
            // The client is gone, or there are too many open files: others go on.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    // Head and body of an answer are two writes: the second would wait until the client
    // acknowledges the first, which it puts off for 40 ms. Without this it is only slow.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, Arc::clone(&site)));
    // A connection that ends badly is the client's to notice.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, site: Arc<Site>) -> Result<Response<Body>, Infallible> {
    let response = respond(&request, &site).await;
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok()?.parse().ok()
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let head = request.method() == Method::HEAD;
    site.counts.requests.fetch_add(1, Ordering::Relaxed);
    (site.watch)(&Answer {
        method: request.method().to_string(),
        path: request.uri().path().to_string(),
        range: request.headers().get(RANGE).map(text),
        status: response.status().as_u16(),
        bytes: if head {
            0
        } else {
            header(CONTENT_LENGTH).unwrap_or(0)
        },
    });
    Ok(response)
}

async fn respond(request: &Request<Incoming>, site: &Site) -> Response<Body> {
    let head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allow);
            return response;
        }
    };
    let Some((file, length)) = file::open(&site.root, request.uri().path()).await else {
        return status(StatusCode::NOT_FOUND);
    };
    // A part of another state of the file must not be sent: without a validator of our
    // own, whoever asks by If-Range gets the whole.
    let range = request.headers().get(RANGE);
    let range = range.filter(|_| !request.headers().contains_key(IF_RANGE));
    let wanted = range::wanted(range.map(HeaderValue::as_bytes), length);
    let (code, part) = match wanted {
        Wanted::All => (StatusCode::OK, 0..length),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let size = part.end - part.start;
    let place = match code {
        StatusCode::PARTIAL_CONTENT => {
            Some(format!("bytes {}-{}/{length}", part.start, part.end - 1))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{length}")),
        _ => None,
    };
    let body = if head {
        empty()
    } else {
        file::body(file, part, Arc::clone(&site.counts))
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, size.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    if let Some(place) = place.and_then(|place| place.parse().ok()) {
        headers.insert(CONTENT_RANGE, place);
    }
    response
}

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    response
}

#[cfg(test)]
mod tests;
