//! Google Cloud Storage by plain requests: with the token of the machine's
//! service account on Google's platform, else anonymous.

use super::s3::encode;
use super::sink::Sink;
use super::source::{UrlError, decoded};
use super::{Call, FetchError, Fetcher, Pipe, cloud, http};

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    bucket: Vec<u8>,
    object: Vec<u8>,
}

impl Address {
    /// Reads what follows `gs:`, e.g. `//bucket/object`.
    pub fn parse(after: &str) -> Result<Self, UrlError> {
        let rest = after.strip_prefix("//").ok_or(UrlError::NoHost)?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (bucket, object) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || object.is_empty() {
            let message = "expected gs://bucket/object".to_owned();
            return Err(UrlError::Malformed(message));
        }
        Ok(Self {
            bucket: decoded(bucket)?,
            object: decoded(object)?,
        })
    }
}

/// Fetches an object through `pipe` into `sink`.
pub(super) fn fetch(
    address: &Address,
    fetcher: &Fetcher,
    pipe: &Pipe,
    sink: &mut dyn Sink,
) -> Result<(), FetchError> {
    let token = cloud::google_token(fetcher)?.into_iter();
    let header = |token| ("authorization".to_owned(), format!("Bearer {token}"));
    let (bucket, object) = (encode(&address.bucket, b""), encode(&address.object, b"/"));
    let base = fetcher.clouds.gcs.trim_end_matches('/');
    let call = Call {
        headers: token.map(header).collect(),
        ..Call::get(format!("{base}/{bucket}/{object}"))
    };
    http::fetch(&call, fetcher, pipe, sink)
}
