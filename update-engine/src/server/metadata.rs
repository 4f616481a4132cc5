//! How `tough` reads metadata: through our own limits, from any kind of repository.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use tough::{Limits, Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use super::error::ServerError;
use super::fetch::{FetchError, Fetcher, Part};

/// The file that tells whether there is a repository.
pub(crate) const TIMESTAMP: &str = "metadata/timestamp.json";

/// Base of the addresses that `tough` makes. They never leave this process.
pub(crate) fn base() -> Result<Url, ServerError> {
    let base = "repository:///metadata/";
    Url::parse(base).map_err(|error| ServerError::Address {
        address: base.to_string(),
        reason: error.to_string(),
    })
}

/// Most bytes of each kind of metadata, and most steps from one root to the next.
/// The lengths that metadata names of other metadata are bounded by these, too.
/// Targets of this size name more than two thousand releases, and reading them takes
/// about 25 MB of memory.
pub(crate) const LIMITS: Limits = Limits {
    max_root_size: 512 * 1024,
    max_targets_size: 2 * 1024 * 1024,
    max_timestamp_size: 64 * 1024,
    max_snapshot_size: 1024 * 1024,
    max_root_updates: 64,
};

fn limit(file: &str) -> u64 {
    match file
        .rsplit('.')
        .nth(1)
        .map(|f| f.trim_start_matches("metadata/"))
    {
        Some("root") => LIMITS.max_root_size,
        Some("timestamp") => LIMITS.max_timestamp_size,
        Some("snapshot") => LIMITS.max_snapshot_size,
        _ => LIMITS.max_targets_size,
    }
}

/// Reads metadata for `tough`.
#[derive(Debug, Clone)]
pub(crate) struct Metadata(pub(crate) Arc<Fetcher>);

#[async_trait]
impl Transport for Metadata {
    /// Only a file that is not there is an error of this call: `tough` takes any error
    /// of this call for the end of the chain of roots. All else fails in the stream,
    /// so that an unreachable server does not hide a newer root.
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let file = url.path().trim_start_matches('/');
        let answer = match self.0.whole(file, Part::AtMost(limit(file))).await {
            Ok(content) => Ok(Bytes::from(content)),
            Err(error @ FetchError::Missing { .. }) => {
                let kind = TransportErrorKind::FileNotFound;
                return Err(carry(kind, &url, error));
            }
            Err(error) => Err(carry(TransportErrorKind::Other, &url, error)),
        };
        Ok(Box::pin(stream::iter([answer])))
    }
}

fn carry(kind: TransportErrorKind, url: &Url, error: FetchError) -> TransportError {
    TransportError::new_with_cause(kind, url, Carried(Mutex::new(Some(error))))
}

/// One of our errors on its way through `tough`, which only lends its causes.
#[derive(Debug)]
pub(crate) struct Carried(Mutex<Option<FetchError>>);

impl Carried {
    pub(crate) fn take(&self) -> Option<FetchError> {
        self.0.lock().ok()?.take()
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.lock().as_deref() {
            Ok(Some(error)) => error.fmt(f),
            _ => f.write_str("reading metadata"),
        }
    }
}

impl std::error::Error for Carried {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_metadata_has_its_own_limit() {
        for (file, most) in [
            ("metadata/12.root.json", LIMITS.max_root_size),
            ("metadata/timestamp.json", LIMITS.max_timestamp_size),
            ("metadata/3.snapshot.json", LIMITS.max_snapshot_size),
            ("metadata/snapshot.json", LIMITS.max_snapshot_size),
            ("metadata/3.targets.json", LIMITS.max_targets_size),
        ] {
            assert_eq!(limit(file), most, "{file}");
        }
    }
}
