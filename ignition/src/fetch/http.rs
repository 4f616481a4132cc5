//! HTTP with upstream's patience: server errors and network errors are tried
//! again until the time is up; any other answer is final.

use std::io::Read;
use std::time::{Duration, Instant};

use rustls::{CertificateError, Error as TlsError};
use ureq::config::Config;
use ureq::http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use ureq::http::{HeaderMap, Method, Response, Uri, request};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, DefaultConnector};
use ureq::{Agent, Body};

use crate::config::{NEWEST, Resource, list};
use crate::log;

use super::forward::WholeUrl;
use super::patience::{Failed, patiently};
use super::proxy::{Forward, Proxy};
use super::sink::Sink;
use super::source::public_name;
use super::{FetchError, Fetcher, Pipe, trust};

const REDIRECTS: u32 = 10;
/// A server that sends nothing for this long is tried again.
const STALL: Duration = Duration::from_secs(60);

/// A request. Redirects are followed without its headers, as upstream does.
pub struct Call {
    /// GET, nearly always.
    pub method: Method,
    /// Of http or https.
    pub url: String,
    /// Besides those that every request has.
    pub headers: Vec<(String, String)>,
    /// What is sent along.
    pub body: Option<Vec<u8>>,
    /// Statuses below 500 after which trying again helps.
    pub again: &'static [u16],
    /// Whether the config's proxies may be used.
    pub reach: Reach,
}

/// Where a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere: by the config's proxies, if it has any.
    World,
    /// On this machine's link, as metadata services are: never by a proxy.
    Link,
}

impl Call {
    /// Asks for `url`.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            again: &[],
            reach: Reach::World,
        }
    }

    /// Asks for `url` with the headers of `resource`.
    pub fn for_resource(url: &str, resource: &Resource) -> Self {
        let given = list(resource.http_headers.as_ref()).iter();
        let set = given.filter_map(|header| Some((header.name.clone(), header.value.clone()?)));
        Self {
            headers: set.collect(),
            ..Self::get(url)
        }
    }
}

/// Sends `call`; what comes back goes through `pipe` into `sink`.
pub fn fetch(
    call: &Call,
    fetcher: &Fetcher,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), FetchError> {
    patiently(&pipe.name, fetcher, |deadline| {
        sink.reset().map_err(|source| FetchError::Store {
            name: pipe.name.clone(),
            source,
        })?;
        let mut response = open(call, fetcher, deadline, &pipe.name)?;
        let mut body = Watched {
            inner: response.body_mut().as_reader(),
            broken: None,
        };
        let result = pipe.run(&mut body, sink);
        match (result, body.broken) {
            (Err(_), Some(message)) => Err(Failed::ForNow(message)),
            (result, _) => result.map_err(Failed::ForGood),
        }
    })
}

/// The headers of the answer to `call`, whatever its status; server errors
/// are tried again.
pub fn probe(call: &Call, fetcher: &Fetcher, name: &str) -> Result<HeaderMap, FetchError> {
    patiently(name, fetcher, |deadline| {
        let response = send(call, &call.url, &call.headers, fetcher, deadline, name)?;
        match response.status() {
            status if status.is_server_error() => {
                Err(Failed::ForNow(format!("the server answered {status}")))
            }
            _ => Ok(response.headers().clone()),
        }
    })
}

/// Sends `call`, which must be answered with success; redirects are not
/// followed.
pub fn deliver(call: &Call, fetcher: &Fetcher, name: &str) -> Result<(), FetchError> {
    patiently(name, fetcher, |deadline| {
        let response = send(call, &call.url, &call.headers, fetcher, deadline, name)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status if status.is_server_error() => {
                Err(Failed::ForNow(format!("the server answered {status}")))
            }
            status => Err(Failed::ForGood(FetchError::Status {
                name: name.to_owned(),
                status: status.as_u16(),
            })),
        }
    })
}

/// Remembers an error of the connection, to tell it from a bad gzip stream.
struct Watched<R> {
    inner: R,
    broken: Option<String>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            self.broken = Some(format!("the connection broke: {error}"));
        })
    }
}

/// The answer at the end of all redirects.
fn open(
    call: &Call,
    fetcher: &Fetcher,
    deadline: Option<Instant>,
    name: &str,
) -> Result<Response<Body>, Failed> {
    let mut url = call.url.clone();
    for hop in 0..=REDIRECTS {
        let headers = if hop == 0 { &call.headers[..] } else { &[] };
        let response = send(call, &url, headers, fetcher, deadline, name)?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => return Ok(response),
            301 | 302 | 303 | 307 | 308 => {
                url = redirect(&url, &response).ok_or_else(|| FetchError::Redirect {
                    name: name.to_owned(),
                    message: "a redirect without a usable Location".to_owned(),
                })?;
                log::info(&format!("{name} redirects to {}", public_name(&url)));
            }
            code if code >= 500 || call.again.contains(&code) => {
                return Err(Failed::ForNow(format!("the server answered {status}")));
            }
            code => {
                return Err(Failed::ForGood(FetchError::Status {
                    name: name.to_owned(),
                    status: code,
                }));
            }
        }
    }
    Err(Failed::ForGood(FetchError::Redirect {
        name: name.to_owned(),
        message: format!("more than {REDIRECTS} redirects"),
    }))
}

/// One request on its own connection, whatever it is answered.
fn send(
    call: &Call,
    url: &str,
    headers: &[(String, String)],
    fetcher: &Fetcher,
    deadline: Option<Instant>,
    name: &str,
) -> Result<Response<Body>, Failed> {
    let refused = |error: ureq::Error| {
        Failed::ForGood(FetchError::Request {
            name: name.to_owned(),
            source: Box::new(error),
        })
    };
    let uri: Uri = url
        .parse()
        .map_err(|error| refused(ureq::http::Error::from(error).into()))?;
    let proxy = match call.reach {
        Reach::World => fetcher.settings.proxies.for_url(&uri),
        Reach::Link => None,
    };
    let config = config(&uri, proxy, fetcher, deadline)?;
    let forward = proxy
        .filter(|_| uri.scheme_str() == Some("http"))
        .and_then(|proxy| proxy.forward(&uri));
    let builder = request::Builder::new().method(call.method.clone());
    let builder = dress(builder, headers);
    let (agent, builder) = match forward {
        None => (config.new_agent(), builder.uri(uri)),
        Some(forward) => {
            let origin = forward.origin.clone();
            let connector = DefaultConnector::new().chain(WholeUrl { origin });
            let agent = Agent::with_parts(config, connector, DefaultResolver::default());
            (agent, redirected(builder, forward))
        }
    };
    let result = match &call.body {
        None => builder.body(()).map(|request| agent.run(request)),
        Some(body) => builder.body(&body[..]).map(|request| agent.run(request)),
    };
    let result = result.map_err(|error| refused(error.into()))?;
    judge(result, proxy, name, refused)
}

fn dress(mut request: request::Builder, headers: &[(String, String)]) -> request::Builder {
    let has = |header: &str| {
        headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(header))
    };
    if !has(USER_AGENT.as_str()) {
        request = request.header(USER_AGENT, concat!("Ignition/", env!("CARGO_PKG_VERSION")));
    }
    if !has(ACCEPT.as_str()) {
        let config = format!("application/vnd.coreos.ignition+json;version={NEWEST}");
        request = request.header(ACCEPT, format!("{config}, */*;q=0.1"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// Makes `request` one to the proxy.
fn redirected(mut request: request::Builder, forward: Forward) -> request::Builder {
    let has = |request: &request::Builder, header| {
        let headers = request.headers_ref();
        headers.is_some_and(|headers| headers.contains_key(header))
    };
    if !has(&request, HOST) {
        request = request.header(HOST, forward.host);
    }
    let authorization = forward.authorization;
    if let Some(value) = authorization.filter(|_| !has(&request, AUTHORIZATION)) {
        request = request.header(AUTHORIZATION, value);
    }
    if let Some(value) = forward.proxy_authorization {
        request = request.header(PROXY_AUTHORIZATION, value);
    }
    request.uri(forward.uri)
}

fn config(
    uri: &Uri,
    proxy: Option<&Proxy>,
    fetcher: &Fetcher,
    deadline: Option<Instant>,
) -> Result<Config, FetchError> {
    let settings = &fetcher.settings;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let secure = uri.scheme_str() == Some("https");
    let tunnel = proxy.filter(|_| secure).map(Proxy::tunnel).transpose();
    let tunnel = tunnel.map_err(|error| FetchError::Proxy {
        name: public_name(&uri.to_string()),
        proxy: proxy.map(Proxy::name).unwrap_or_default().to_owned(),
        message: error.to_string(),
    })?;
    let mut builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(tunnel)
        .timeout_global(left)
        .timeout_connect(settings.response_headers)
        .timeout_recv_response(settings.response_headers)
        .timeout_per_read(Some(STALL));
    if secure || proxy.is_some_and(|proxy| proxy.name().starts_with("https")) {
        builder = builder.tls_config(trust::tls(&settings.authorities)?);
    }
    Ok(builder.build())
}

/// Which failures trying again may mend.
fn judge(
    result: Result<Response<Body>, ureq::Error>,
    proxy: Option<&Proxy>,
    name: &str,
    refused: impl Fn(ureq::Error) -> Failed,
) -> Result<Response<Body>, Failed> {
    let through = |message: String| FetchError::Proxy {
        name: name.to_owned(),
        proxy: proxy.map(Proxy::name).unwrap_or_default().to_owned(),
        message,
    };
    match result {
        Ok(response) if response.status() == 407 => {
            Err(Failed::ForGood(through("it answered 407".to_owned())))
        }
        Ok(response) => Ok(response),
        // The agent gives the proxy's status only in words.
        Err(ureq::Error::ConnectProxyFailed(reason)) if reason.contains("responded 4") => {
            Err(Failed::ForGood(through(reason)))
        }
        Err(error @ (ureq::Error::Http(_) | ureq::Error::BadUri(_))) => Err(refused(error)),
        Err(error) => match certificate(&error).and_then(advice) {
            Some(advice) => Err(Failed::ForGood(FetchError::Certificate {
                name: name.to_owned(),
                advice,
            })),
            None => Err(Failed::ForNow(match proxy {
                Some(proxy) => format!("{error} (through the proxy {})", proxy.name()),
                None => error.to_string(),
            })),
        },
    }
}

/// What is wrong with the server's certificate, if that is the error.
fn certificate(error: &ureq::Error) -> Option<&CertificateError> {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<TlsError>(),
        _ => None,
    };
    match tls? {
        TlsError::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}

/// What to do about a certificate that stays wrong. One that is expired or
/// not valid yet may be right once the clock is.
fn advice(error: &CertificateError) -> Option<&'static str> {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(
            "no authority that this host trusts has signed it; add the authority's certificate \
             (or the server's own, if it is self-signed) to \
             ignition.security.tls.certificateAuthorities",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(
                "it is for another name; use a name of the certificate (subjectAltName) in the URL",
            )
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Some(
            "it is an authority's own, as `openssl req -x509` makes them; make one with \
             basicConstraints CA:FALSE and a subjectAltName, and add it to \
             ignition.security.tls.certificateAuthorities",
        ),
        _ => None,
    }
}

fn redirect(url: &str, response: &Response<Body>) -> Option<String> {
    let target = response.headers().get(LOCATION)?.to_str().ok()?;
    resolve(url, target)
}

/// `target` of a redirect from `base` (RFC 9110, section 10.2.2).
fn resolve(base: &str, target: &str) -> Option<String> {
    let target = target.split('#').next()?;
    if target.starts_with("http://") || target.starts_with("https://") {
        return Some(target.to_owned());
    }
    let base: Uri = base.parse().ok()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if target.starts_with("//") {
        return Some(format!("{scheme}:{target}"));
    }
    let path = if target.starts_with('/') {
        target.to_owned()
    } else {
        let (directory, _) = base.path().rsplit_once('/')?;
        format!("{directory}/{target}")
    };
    Some(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn redirects_are_resolved() {
        let base = "http://h:1/a/b?q";
        for (target, expected) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z#f", "http://h:1/y?z"),
            ("y", "http://h:1/a/y"),
        ] {
            assert_eq!(resolve(base, target).as_deref(), Some(expected));
        }
    }
}
