//! One connection: bounded in time and in bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{Reply, Service};
use crate::etcd::Store;
use crate::fleet_lock::{ClientParams, HEADER, MAX_REQUEST, Verb};

/// Bytes of a request's head, at most.
const HEAD: usize = 16 << 10;

/// Most requests of one connection take far less than this; then it ends.
const LIFE: Duration = Duration::from_secs(120);

pub(super) async fn serve<S: Store + 'static>(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: Arc<Service<S>>,
    patience: Duration,
) {
    // The answer's second write would wait for the first to be acknowledged.
    let _ = stream.set_nodelay(true);
    let life = async {
        match tls {
            None => talk(stream, from, service, patience).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = timeout(patience, tls.accept(stream)).await {
                    talk(stream, from, service, patience).await;
                }
            }
        }
    };
    // A connection that ends badly is the client's to notice.
    let _ = timeout(LIFE, life).await;
}

async fn talk<S: Store + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    service: Arc<Service<S>>,
    patience: Duration,
) {
    let service = service_fn(|request| answer(request, from, Arc::clone(&service), patience));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<S: Store + 'static>(
    request: Request<Incoming>,
    from: SocketAddr,
    service: Arc<Service<S>>,
    patience: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match read(request, patience).await {
        Ok((verb, params)) => service.answer(verb, params, from).await,
        Err(reply) => reply,
    };
    Ok(written(&reply))
}

/// What is asked, or why it is not a question.
async fn read(
    request: Request<Incoming>,
    patience: Duration,
) -> Result<(Verb, ClientParams), Reply> {
    let verb = match request.uri().path() {
        "/v1/pre-reboot" => Verb::PreReboot,
        "/v1/steady-state" => Verb::SteadyState,
        _ => {
            return Err(Reply::no(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is no such path",
            ));
        }
    };
    if request.method() != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Reply::no(status, "bad_method", "only POST is taken"));
    }
    if request.headers().get(HEADER).map(HeaderValue::as_bytes) != Some(b"true") {
        return Err(bad(format!("the header {HEADER}: true is missing")));
    }
    let body = body(request.into_body(), patience).await?;
    match ClientParams::parse(&body) {
        Ok(params) => Ok((verb, params)),
        Err(why) => Err(bad(format!("the body cannot be used: {why}"))),
    }
}

fn bad(value: String) -> Reply {
    Reply::no(StatusCode::BAD_REQUEST, "bad_request", value)
}

async fn body(body: Incoming, patience: Duration) -> Result<Bytes, Reply> {
    let whole = Limited::new(body, MAX_REQUEST).collect();
    match timeout(patience, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let value = format!("more than {MAX_REQUEST} bytes are not taken");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Err(Reply::no(status, "too_large", value))
        }
        Ok(Err(_)) => Err(bad("the body ended early".to_owned())),
        Err(_) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            Err(Reply::no(status, "too_slow", "the body did not come"))
        }
    }
}

fn written(reply: &Reply) -> Response<Full<Bytes>> {
    let body = match &reply.rejection {
        Some(rejection) => serde_json::to_vec(rejection).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
