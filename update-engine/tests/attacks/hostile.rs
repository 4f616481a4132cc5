//! A web server that does what a test says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderValue, LOCATION, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

type Body = BoxBody<Bytes, std::io::Error>;
pub type Answer = Response<Body>;

/// How a file is served.
#[derive(Clone)]
pub enum Manner {
    /// Whole, even if a part was asked for.
    WithoutRanges,
    /// With this status and nothing else.
    Status(u16),
    /// Other bytes, of the same length.
    Other,
    /// Other bytes, whole, even if a part was asked for.
    OtherWithoutRanges,
    /// As if they were compressed.
    Encoded,
    /// A part that is not the one that was asked for, and says so.
    WrongPart,
    /// The connection ends after so many bytes.
    CutOff(usize),
    /// Goes on for ever.
    Endless,
    /// The part that was asked for, which goes on for ever.
    EndlessRange,
    /// The part that was asked for, one byte at a time.
    SlowRange(Duration),
    /// Goes on for ever, one byte at a time.
    Trickle(Duration),
    /// The head comes, and then nothing.
    Silent,
    /// Redirects there.
    Redirect(String),
}

/// What the server has and does, and what it was asked.
#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that are not served honestly.
    pub manners: BTreeMap<String, Manner>,
    /// Requests, as they were sent: path or, to a proxy, URL; and the range.
    pub requests: Vec<(String, Option<String>)>,
}

/// A server on loopback, until it is dropped.
pub struct Hostile {
    pub state: Arc<Mutex<State>>,
    pub address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    pub async fn serving(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files: files.clone(),
            ..State::default()
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, shared.clone()));
            }
        });
        Self {
            state,
            address,
            task,
        }
    }

    /// The same, over TLS.
    pub async fn serving_tls(
        files: &BTreeMap<String, Vec<u8>>,
        tls: tokio_rustls::TlsAcceptor,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            files: files.clone(),
            ..State::default()
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, shared).await;
                    }
                });
            }
        });
        Self {
            state,
            address: format!("https://localhost:{port}"),
            task,
        }
    }

    pub fn set(&self, file: &str, manner: Manner) {
        let mut state = self.state.lock().unwrap();
        state.manners.insert(file.to_string(), manner);
    }

    pub fn replace(&self, file: &str, content: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        state.files.insert(file.to_string(), content);
    }

    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        self.state.lock().unwrap().requests.clone()
    }
}

async fn connection<S>(stream: S, state: Arc<Mutex<State>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&mut state.lock().unwrap(), &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    // The client hanging up is no failure of a test.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(state: &mut State, request: &Request<Incoming>) -> Answer {
    let range = request.headers().get(RANGE);
    let range = range.map(|r| r.to_str().unwrap().to_string());
    state
        .requests
        .push((request.uri().to_string(), range.clone()));
    let name = request.uri().path().trim_start_matches('/').to_string();
    let Some(content) = state.files.get(&name).cloned() else {
        return status(404);
    };
    let content = Bytes::from(content);
    match state.manners.get(&name).cloned() {
        None => honest(content, range),
        Some(manner) => rude(&manner, content, range),
    }
}

fn honest(content: Bytes, range: Option<String>) -> Answer {
    match range {
        None => Response::new(full(content)),
        Some(range) => part(&content, bounds(&range)),
    }
}

fn rude(manner: &Manner, content: Bytes, range: Option<String>) -> Answer {
    match manner {
        Manner::WithoutRanges => honest(content, None),
        Manner::Status(code) => status(*code),
        Manner::Other => honest(inverted(&content), range),
        Manner::OtherWithoutRanges => honest(inverted(&content), None),
        Manner::Encoded => {
            let mut answer = honest(content, range);
            let gzip = HeaderValue::from_static("gzip");
            answer.headers_mut().insert(CONTENT_ENCODING, gzip);
            answer
        }
        Manner::WrongPart => {
            let asked = bounds(&range.unwrap());
            part(&content, asked.start..asked.end - 1)
        }
        Manner::CutOff(after) => {
            let mut answer = honest(content, range);
            let whole = std::mem::replace(answer.body_mut(), full(Bytes::new()));
            *answer.body_mut() = cut_off(whole, *after);
            answer
        }
        Manner::Endless => Response::new(body(endless())),
        Manner::EndlessRange => {
            let mut answer = honest(content, range);
            *answer.body_mut() = body(endless());
            answer
        }
        Manner::SlowRange(pause) => {
            let mut answer = honest(content, range);
            *answer.body_mut() = body(trickle(*pause));
            answer
        }
        Manner::Trickle(pause) => Response::new(body(trickle(*pause))),
        Manner::Silent => Response::new(body(stream::pending())),
        Manner::Redirect(to) => {
            let mut answer = status(302);
            answer.headers_mut().insert(LOCATION, to.parse().unwrap());
            answer
        }
    }
}

fn status(code: u16) -> Answer {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

fn part(content: &Bytes, range: Range<usize>) -> Answer {
    let mut answer = Response::new(full(content.slice(range.clone())));
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let told = format!("bytes {}-{}/{}", range.start, range.end - 1, content.len());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_RANGE, told.parse().unwrap());
    answer
}

/// `bytes=FIRST-LAST`.
fn bounds(range: &str) -> Range<usize> {
    let (first, last) = range
        .strip_prefix("bytes=")
        .and_then(|r| r.split_once('-'))
        .unwrap();
    first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
}

fn full(content: Bytes) -> Body {
    Full::new(content).map_err(|never| match never {}).boxed()
}

fn body(chunks: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Body {
    BoxBody::new(StreamBody::new(chunks.map(|c| Ok(Frame::data(c)))))
}

/// The first bytes of a body, and then the connection is gone.
fn cut_off(whole: Body, after: usize) -> Body {
    let first = whole.into_data_stream().map(move |chunk| {
        let chunk: Bytes = chunk?;
        Ok(Frame::data(chunk.slice(..after.min(chunk.len()))))
    });
    let gone = stream::iter([Err(std::io::Error::other("gone"))]);
    BoxBody::new(StreamBody::new(first.chain(gone)))
}

fn inverted(content: &Bytes) -> Bytes {
    content.iter().map(|b| !b).collect()
}

fn endless() -> impl Stream<Item = Bytes> + Send + Sync {
    stream::repeat(Bytes::from(vec![b' '; 64 * 1024]))
}

fn trickle(pause: Duration) -> impl Stream<Item = Bytes> + Send + Sync {
    stream::repeat(Bytes::from_static(b" ")).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        byte
    })
}
