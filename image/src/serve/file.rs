//! Files of the directory that is served.

use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Body, Counts};

/// Bytes that are read at a time.
const CHUNK: u64 = 64 << 10;

/// Opens the regular file that `path` of a request names, with its length. `None` also
/// for what is there but not served.
pub async fn open(root: &Path, path: &str) -> Option<(File, u64)> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let relative = Path::new(decoded.strip_prefix('/')?);
    let plain = |part| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    };
    if !relative.components().all(plain) || decoded.contains('\0') {
        return None;
    }
    let real = tokio::fs::canonicalize(root.join(relative)).await.ok()?;
    if !real.starts_with(root) {
        return None;
    }
    let file = File::open(real).await.ok()?;
    let metadata = file.metadata().await.ok()?;
    metadata.is_file().then_some((file, metadata.len()))
}

/// The bytes `part` of `file`. A file that got shorter ends the connection.
pub fn body(file: File, part: Range<u64>, counts: Arc<Counts>) -> Body {
    let stream = try_unfold((file, part, true), move |(mut file, part, first)| {
        let counts = Arc::clone(&counts);
        async move {
            if part.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            if first {
                file.seek(io::SeekFrom::Start(part.start)).await?;
            }
            let length = CHUNK.min(part.end - part.start);
            let mut chunk = vec![0; length as usize];
            file.read_exact(&mut chunk).await?;
            counts.bytes.fetch_add(length, Ordering::Relaxed);
            let rest = part.start + length..part.end;
            Ok(Some((Frame::data(Bytes::from(chunk)), (file, rest, false))))
        }
    });
    StreamBody::new(stream).boxed_unsync()
}
