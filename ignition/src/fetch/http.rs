//! HTTP with upstream's patience: server errors and network errors are tried
//! again, with pauses from 0.1 to 5 seconds, until the time is up; any other
//! answer is final.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::http::header::{ACCEPT, LOCATION, USER_AGENT};
use ureq::{Agent, Body, http};

use crate::config::{NEWEST, Resource, list};
use crate::log;

use super::sink::Sink;
use super::source::public_name;
use super::{FetchError, Fetcher, Pipe, trust};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const REDIRECTS: u32 = 10;
/// A server that sends nothing for this long is tried again.
const STALL: Duration = Duration::from_secs(60);

/// How one attempt failed.
enum Failed {
    /// Trying again may help.
    ForNow(String),
    /// It will not.
    ForGood(FetchError),
}

/// Fetches `url` through `pipe` into `sink`.
pub fn fetch(
    url: &str,
    resource: &Resource,
    fetcher: &Fetcher,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), FetchError> {
    let started = Instant::now();
    let deadline = fetcher.deadline();
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        log::info(&format!("fetching {} (attempt {attempt})", pipe.name));
        let last = match try_once(url, resource, fetcher, deadline, pipe, sink) {
            Ok(()) => return Ok(()),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow(message)) => message,
        };
        if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return Err(FetchError::GaveUp {
                name: pipe.name.clone(),
                attempts: attempt,
                seconds: started.elapsed().as_secs(),
                last,
            });
        }
        log::warn(&format!(
            "fetching {} failed (attempt {attempt}): {last}; next attempt in {} ms",
            pipe.name,
            pause.as_millis()
        ));
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

fn try_once(
    url: &str,
    resource: &Resource,
    fetcher: &Fetcher,
    deadline: Option<Instant>,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), Failed> {
    sink.reset().map_err(|source| {
        Failed::ForGood(FetchError::Store {
            name: pipe.name.clone(),
            source,
        })
    })?;
    let mut response = open(url, resource, fetcher, deadline, &pipe.name)?;
    let mut body = Watched {
        inner: response.body_mut().as_reader(),
        broken: None,
    };
    let result = pipe.run(&mut body, sink);
    match (result, body.broken) {
        (Err(_), Some(message)) => Err(Failed::ForNow(message)),
        (result, _) => result.map_err(Failed::ForGood),
    }
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
    url: &str,
    resource: &Resource,
    fetcher: &Fetcher,
    deadline: Option<Instant>,
    name: &str,
) -> Result<http::Response<Body>, Failed> {
    let mut url = url.to_owned();
    for hop in 0..=REDIRECTS {
        let agent = agent(&url, fetcher, deadline).map_err(Failed::ForGood)?;
        // As upstream: the config's headers do not follow a redirect.
        let response = send(&agent, &url, (hop == 0).then_some(resource), name)?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => return Ok(response),
            301 | 302 | 303 | 307 | 308 => {
                let location = response.headers().get(LOCATION);
                let target = location.and_then(|value| value.to_str().ok());
                url = target
                    .and_then(|target| resolve(&url, target))
                    .ok_or_else(|| {
                        Failed::ForGood(FetchError::Redirect {
                            name: name.to_owned(),
                            message: "a redirect without a usable Location".to_owned(),
                        })
                    })?;
                log::info(&format!("{name} redirects to {}", public_name(&url)));
            }
            500.. => return Err(Failed::ForNow(format!("the server answered {status}"))),
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

fn agent(url: &str, fetcher: &Fetcher, deadline: Option<Instant>) -> Result<Agent, FetchError> {
    let settings = &fetcher.settings;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let mut builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(left)
        .timeout_connect(settings.response_headers)
        .timeout_recv_response(settings.response_headers)
        .timeout_per_read(Some(STALL));
    if url.starts_with("https://") {
        builder = builder.tls_config(trust::tls(&settings.authorities)?);
    }
    Ok(builder.build().new_agent())
}

fn send(
    agent: &Agent,
    url: &str,
    resource: Option<&Resource>,
    name: &str,
) -> Result<http::Response<Body>, Failed> {
    let mut request = agent.get(url);
    let given = list(resource.and_then(|resource| resource.http_headers.as_ref()));
    let has = |header: &str| given.iter().any(|g| g.name.eq_ignore_ascii_case(header));
    if !has(USER_AGENT.as_str()) {
        request = request.header(USER_AGENT, concat!("Ignition/", env!("CARGO_PKG_VERSION")));
    }
    if !has(ACCEPT.as_str()) {
        let config = format!("application/vnd.coreos.ignition+json;version={NEWEST}");
        request = request.header(ACCEPT, format!("{config}, */*;q=0.1"));
    }
    for header in given {
        if let Some(value) = &header.value {
            request = request.header(&header.name, value);
        }
    }
    request.call().map_err(|error| match error {
        error @ (ureq::Error::Http(_) | ureq::Error::BadUri(_)) => {
            Failed::ForGood(FetchError::Request {
                name: name.to_owned(),
                source: Box::new(error),
            })
        }
        error => Failed::ForNow(error.to_string()),
    })
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
