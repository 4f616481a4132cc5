//! Why a registry gave nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use super::super::digest::{Digest, DigestError};

/// Longest pause that a registry may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Why a registry gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No thread could be started.
    #[error("starting what fetches")]
    Runtime(#[source] io::Error),
    /// Certificates, proxies.
    #[error("preparing requests to {host}")]
    Client {
        /// Which registry.
        host: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Authorities that cannot be read.
    #[error("reading authorities from {}", .path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name that makes no address.
    #[error("asking {host}: {what}")]
    Address {
        /// Which registry.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// No answer, or not all of it.
    #[error("asking {host} for {what}")]
    Send {
        /// Which registry.
        host: String,
        /// For what.
        what: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that is none.
    #[error("{host} answered {status} when asked for {what}{complaint}")]
    Status {
        /// Which registry.
        host: String,
        /// Its answer.
        status: StatusCode,
        /// What it was asked for.
        what: String,
        /// What it said about it.
        complaint: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// It wants to know who we are, and does not like what we say.
    #[error(
        "{host} does not let us have {what}: {why}. Credentials are in auth.json in /etc/rocket"
    )]
    Unauthorized {
        /// Which registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// What happened.
        why: String,
    },
    /// More bytes than there may be.
    #[error("{host} sends more than {most} bytes for {what}")]
    Long {
        /// Which registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// How many there may be.
        most: u64,
    },
    /// Fewer bytes than there must be, and no sign that something broke.
    #[error("{host} sends {found} of the {expected} bytes of {what}")]
    Short {
        /// Which registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// How many came.
        found: u64,
        /// How many there must be.
        expected: u64,
    },
    /// Other bytes than were asked for.
    #[error("{host} sends {found} when asked for {expected}")]
    Digest {
        /// Which registry.
        host: String,
        /// What it was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A digest that is none.
    #[error(transparent)]
    NoDigest(#[from] DigestError),
    /// Other bytes than those that were asked for, in the middle.
    #[error("{host} sends another part of {what} than was asked for")]
    Range {
        /// Which registry.
        host: String,
        /// What it was asked for.
        what: String,
    },
    /// The bytes cannot be written down.
    #[error("writing what was fetched")]
    Write(#[source] io::Error),
    /// Indexes in indexes.
    #[error("{0}: indexes name indexes too deep")]
    Depth(String),
    /// Nobody can be asked.
    #[error("there is nobody to ask")]
    NoEndpoint,
}

impl RegistryError {
    /// Whether it simply is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether asking again may help; then after how long at least.
    pub fn is_passing(&self) -> Option<Duration> {
        match self {
            Self::Send { source, .. } => {
                let builder = source.is_builder() || source.is_redirect();
                (!builder).then_some(Duration::ZERO)
            }
            Self::Status { status, after, .. } => {
                let passing = status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT;
                passing.then(|| after.unwrap_or_default().min(MAX_PAUSE))
            }
            _ => None,
        }
    }
}
