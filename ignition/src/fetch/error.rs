//! Why something could not be fetched.

use std::io;

use super::source::UrlError;

/// A resource that could not be had. Names never show credentials.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL itself is wrong.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It needs the network, which must not be used now.
    #[error("fetching {name} needs the network")]
    NeedsNetwork {
        /// What was to be fetched.
        name: String,
    },
    /// The expected hash is malformed.
    #[error("the expected hash of {name} is malformed: {message}")]
    Hash {
        /// What was to be fetched.
        name: String,
        /// What is expected instead.
        message: String,
    },
    /// The contents are not what the config promises.
    #[error(
        "{name} does not match its hash: expected {expected}, found {found}; \
         if what is there was changed on purpose, write the hash that was found"
    )]
    Mismatch {
        /// What was fetched.
        name: String,
        /// The config's hash.
        expected: String,
        /// The contents' hash.
        found: String,
    },
    /// The stream broke, or is not what its compression says.
    #[error("reading {name}")]
    Read {
        /// What was being fetched.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The contents could not be kept.
    #[error("storing {name}")]
    Store {
        /// What was being fetched.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The server's final word.
    #[error("fetching {name}: the server answered {status}{}", advice(.name, *.status))]
    Status {
        /// What was to be fetched.
        name: String,
        /// HTTP status code.
        status: u16,
    },
    /// The server's final word, where it has no status.
    #[error("fetching {name}: {message}")]
    Refused {
        /// What was to be fetched.
        name: String,
        /// What it said.
        message: String,
    },
    /// Too many or senseless redirects.
    #[error("fetching {name}: {message}")]
    Redirect {
        /// What was to be fetched.
        name: String,
        /// What is wrong with them.
        message: String,
    },
    /// A request that cannot be sent.
    #[error("fetching {name}")]
    Request {
        /// What was to be fetched.
        name: String,
        /// The cause.
        source: Box<ureq::Error>,
    },
    /// The proxy's final word.
    #[error(
        "fetching {name} through the proxy {proxy}: {message}; mend ignition.proxy, \
         or name the server in ignition.proxy.noProxy"
    )]
    Proxy {
        /// What was to be fetched.
        name: String,
        /// The proxy, without credentials.
        proxy: String,
        /// What it said.
        message: String,
    },
    /// The server's certificate cannot be trusted.
    #[error("fetching {name}: the server's certificate is not accepted: {advice}")]
    Certificate {
        /// What was to be fetched.
        name: String,
        /// What is wrong with it, and what to do.
        advice: &'static str,
    },
    /// All attempts failed until the time was up.
    #[error(
        "gave up fetching {name} after {attempts} attempts in {seconds} s: {last}; \
         is the address right, and can this machine reach it (network, name server, proxy)?"
    )]
    GaveUp {
        /// What was to be fetched.
        name: String,
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        seconds: u64,
        /// How the last attempt ended.
        last: String,
    },
    /// No certificate to check a server's with.
    #[error("no certificate authorities for https: none of {tried} can be read")]
    NoAuthorities {
        /// The files that were looked for.
        tried: String,
    },
    /// A certificate bundle of the config is not PEM.
    #[error("a certificate bundle in ignition.security.tls holds no PEM certificate")]
    BadAuthority,
}

impl FetchError {
    /// Whether only a change of the config, or of what it names, helps.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::NeedsNetwork { .. } | Self::GaveUp { .. } | Self::Store { .. }
        )
    }
}

/// What to do about a server's final word on `name`.
fn advice(name: &str, status: u16) -> &'static str {
    let object = ["s3:", "arn:", "gs:"].iter().any(|s| name.starts_with(s));
    match status {
        401 | 403 if object => {
            "; neither everybody nor the role of this machine, if it has one, may read it"
        }
        401 | 403 => {
            "; it wants credentials: give them in httpHeaders, or let everybody read it there"
        }
        404 | 410 => "; there is nothing at this address: check its spelling",
        407 => "; it is a proxy that wants credentials: give them in the URL of ignition.proxy",
        _ => "",
    }
}
