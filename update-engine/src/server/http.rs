//! A repository on a web server.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName,
    LOCATION, RANGE,
};
use reqwest::{Certificate, Client, Proxy, Response, StatusCode, redirect};
use url::Url;

use super::ServerOptions;
use super::error::ServerError;
use super::fetch::{FetchError, FetchStream, Part};
use super::pace::{self, Pace};

/// Certificates of the host's trusted authorities.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Time to make a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// Redirections that are followed, one after the other.
const REDIRECTS: usize = 5;

const USER_AGENT: &str = concat!("ballast-update-engine/", env!("CARGO_PKG_VERSION"));

/// A web server. Connections, certificates and threads live as long as this.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    base: Url,
    pace: Pace,
}

impl Http {
    pub(crate) fn new(base: &Url, options: &ServerOptions) -> Result<Self, ServerError> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .redirect(same_scheme())
            .referer(false)
            // Only the policy says which proxy is used, not the environment.
            .no_proxy()
            .tls_certs_only(authorities(base, options)?);
        if let Some(url) = &options.proxy {
            let proxy = Proxy::all(url.clone()).map_err(|source| ServerError::Client { source })?;
            builder = builder.proxy(proxy);
        }
        let mut base = base.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            client: builder
                .build()
                .map_err(|source| ServerError::Client { source })?,
            base,
            pace: options.pace,
        })
    }

    pub(crate) async fn open(&self, file: &str, part: &Part) -> Result<FetchStream, FetchError> {
        let url = self.url(file)?;
        let mut request = self.client.get(url).header(ACCEPT_ENCODING, "identity");
        if let Part::Range { range, .. } = part {
            let last = range.end - 1;
            request = request.header(RANGE, format!("bytes={}-{last}", range.start));
        }
        let answer = tokio::time::timeout(CONNECT + self.pace.window, request.send())
            .await
            .map_err(|_| self.silent(file))?
            .map_err(|error| sending(file, error))?;
        check(&answer, file, part)?;
        let name = file.to_string();
        let bytes = answer
            .bytes_stream()
            .map_err(move |error| FetchError::broken(&name, error));
        Ok(pace::keep(Box::pin(bytes), self.pace, file))
    }

    /// Names of files were checked: they hold nothing that is special in a URL.
    fn url(&self, file: &str) -> Result<Url, FetchError> {
        // A first part with a colon would be a scheme; names cannot hold one.
        self.base
            .join(file)
            .map_err(|error| FetchError::refused(file, error.to_string()))
    }

    fn silent(&self, file: &str) -> FetchError {
        FetchError::TooSlow {
            file: file.to_string(),
            bytes: 0,
            seconds: (CONNECT + self.pace.window).as_secs(),
        }
    }
}

/// Follows a few redirections, and none to another scheme: what began with TLS ends
/// with TLS, and no server points the engine at something that is not a server.
fn same_scheme() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::scheme);
        if first != Some(attempt.url().scheme()) {
            let to = attempt.url().scheme().to_string();
            return attempt.error(format!("the server redirects to another scheme, {to}"));
        }
        if attempt.previous().len() > REDIRECTS {
            return attempt.error(format!("the server redirects more than {REDIRECTS} times"));
        }
        attempt.follow()
    })
}

/// Whom to trust with the server's name: the host's authorities and the policy's. Not
/// read where no TLS is spoken.
fn authorities(base: &Url, options: &ServerOptions) -> Result<Vec<Certificate>, ServerError> {
    let mut all = Vec::new();
    let secure = |url: &Url| url.scheme() == "https";
    if !secure(base) && !options.proxy.as_ref().is_some_and(secure) {
        return Ok(all);
    }
    if let Some(path) = &options.ca {
        all = read_certificates(path)?;
    }
    match read_certificates(SYSTEM_CA.as_ref()) {
        Ok(system) => all.extend(system),
        Err(error) if all.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(all)
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate>, ServerError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ServerError::Authorities {
        path: path.to_path_buf(),
        source,
    };
    let pem = std::fs::read(path).map_err(|e| failed(e.into()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.into()))?;
    if certificates.is_empty() {
        return Err(failed("the file holds no certificate".into()));
    }
    Ok(certificates)
}

fn sending(file: &str, error: reqwest::Error) -> FetchError {
    if error.is_redirect() {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            reason = next.to_string();
            cause = next.source();
        }
        return FetchError::refused(file, reason);
    }
    FetchError::broken(file, error)
}

/// Whether the answer is one to the question, as far as its head tells.
fn check(answer: &Response, file: &str, part: &Part) -> Result<(), FetchError> {
    let status = answer.status();
    let headers = answer.headers();
    match (status, part) {
        // Object stores answer 403 when asked for what they do not have.
        (StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE, _) => {
            return Err(FetchError::Missing {
                file: file.to_string(),
            });
        }
        (StatusCode::OK, Part::AtMost(_) | Part::Whole(_)) => {}
        (StatusCode::OK, Part::Range { .. }) => {
            return Err(FetchError::NoRanges {
                file: file.to_string(),
            });
        }
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, Part::Range { .. }) => {
            check_range(status, headers, file, part)?;
        }
        // What could be followed was followed; this leads to something else than http.
        (status, _) if status.is_redirection() => {
            let to = header(headers, LOCATION).unwrap_or("nowhere");
            let reason = format!("the server redirects to another scheme: {to:?}");
            return Err(FetchError::refused(file, reason));
        }
        _ => {
            return Err(FetchError::Status {
                file: file.to_string(),
                status: status.as_u16(),
            });
        }
    }
    match header(headers, CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(encoding) => Err(FetchError::refused(
            file,
            format!("the server sends it encoded as {encoding}, which was not asked for"),
        )),
    }
}

/// Whether a part is the part that was asked for (RFC 9110, section 15.3.7).
fn check_range(
    status: StatusCode,
    headers: &HeaderMap,
    file: &str,
    part: &Part,
) -> Result<(), FetchError> {
    let Part::Range { range, of } = part else {
        return Ok(());
    };
    let wrong = |answer: String| FetchError::WrongRange {
        file: file.to_string(),
        asked: range.clone(),
        answer,
    };
    let told = header(headers, CONTENT_RANGE);
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Err(wrong(format!("that the file has {}", told.unwrap_or("?"))));
    }
    let expected = format!("bytes {}-{}/", range.start, range.end - 1);
    let total = told.and_then(|told| told.strip_prefix(expected.as_str()));
    if total != Some("*") && total != Some(of.to_string().as_str()) {
        let told = told.unwrap_or("a part without Content-Range");
        return Err(wrong(format!("{told:?} instead of {expected}{of}")));
    }
    let length = (range.end - range.start).to_string();
    match header(headers, CONTENT_LENGTH) {
        Some(told) if told != length => Err(wrong(format!("{told} bytes"))),
        _ => Ok(()),
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|v| v.to_str().unwrap_or("not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(headers: &[(HeaderName, &str)]) -> Result<(), FetchError> {
        let part = Part::Range {
            range: 100..200,
            of: 1000,
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        check_range(StatusCode::PARTIAL_CONTENT, &headers, "file", &part)
    }

    #[test]
    fn the_part_that_was_asked_for_is_taken() {
        partial(&[(CONTENT_RANGE, "bytes 100-199/1000")]).unwrap();
        partial(&[(CONTENT_RANGE, "bytes 100-199/*")]).unwrap();
        partial(&[
            (CONTENT_RANGE, "bytes 100-199/1000"),
            (CONTENT_LENGTH, "100"),
        ])
        .unwrap();
    }

    #[test]
    fn every_other_part_is_refused() {
        for told in [
            "bytes 0-199/1000",
            "bytes 100-198/1000",
            "bytes 100-199/999",
            "bytes 100-199",
            "bytes */1000",
            "octets 100-199/1000",
        ] {
            let error = partial(&[(CONTENT_RANGE, told)]).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(partial(&[]).is_err());
        let length = [
            (CONTENT_RANGE, "bytes 100-199/1000"),
            (CONTENT_LENGTH, "99"),
        ];
        assert!(partial(&length).is_err());
    }
}
