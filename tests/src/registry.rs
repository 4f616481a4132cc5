//! A registry of images for guests, without TLS: what it has, and what was asked for.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

use crate::containers::{Image, digest};

/// How a guest with user networking reaches this machine's loopback interface.
pub const HOST_AS_SEEN_BY_GUESTS: &str = "10.0.2.2";

/// Serves until the process ends.
pub struct Registry {
    port: u16,
    site: Arc<Mutex<Site>>,
}

#[derive(Default)]
struct Site {
    contents: BTreeMap<String, Content>,
    requests: Vec<String>,
}

#[derive(Clone)]
struct Content {
    kind: String,
    bytes: Arc<[u8]>,
}

impl Registry {
    /// One without images.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening on 127.0.0.1")?;
        let port = listener.local_addr().context("finding the port")?.port();
        let site = Arc::new(Mutex::new(Site::default()));
        let registry = Self {
            port,
            site: Arc::clone(&site),
        };
        registry.put("", "application/json", b"{}");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = Arc::clone(&site);
                // A guest that breaks off asks again.
                thread::spawn(move || answer(stream, &site));
            }
        });
        Ok(registry)
    }

    /// Host and port as a guest names them.
    pub fn name(&self) -> String {
        format!("{HOST_AS_SEEN_BY_GUESTS}:{}", self.port)
    }

    /// Takes an image.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) {
        for layer in image.layers() {
            self.put_blob(repository, &layer.digest(), layer.bytes());
        }
        self.put_blob(repository, &digest(image.config()), image.config());
        self.put_manifest(repository, tag, image.manifest());
        self.put_manifest(repository, &image.digest(), image.manifest());
    }

    /// Serves this manifest as `reference`, whatever it is.
    pub fn put_manifest(&self, repository: &str, reference: &str, manifest: &[u8]) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.put(
            &format!("{repository}/manifests/{reference}"),
            kind,
            manifest,
        );
    }

    /// Serves this content as that of `digest`, whether it is or not.
    pub fn put_blob(&self, repository: &str, digest: &str, content: &[u8]) {
        let path = format!("{repository}/blobs/{digest}");
        self.put(&path, "application/octet-stream", content);
    }

    fn put(&self, path: &str, kind: &str, bytes: &[u8]) {
        let content = Content {
            kind: kind.to_owned(),
            bytes: bytes.into(),
        };
        let mut site = locked(&self.site);
        site.contents.insert(format!("/v2/{path}"), content);
    }

    /// Paths that were asked for since the last call, in order.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.site).requests)
    }
}

fn locked(site: &Mutex<Site>) -> MutexGuard<'_, Site> {
    site.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request; its connection ends with the answer.
fn answer(mut stream: TcpStream, site: &Mutex<Site>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let found = {
        let mut site = locked(site);
        site.requests.push(path.to_owned());
        site.contents.get(path).cloned()
    };
    let (status, content) = match found {
        Some(content) => ("200 OK", content),
        None => {
            let kind = "application/json".to_owned();
            let bytes = br#"{"errors":[{"code":"UNKNOWN","message":"no such path"}]}"#;
            let bytes = Arc::from(&bytes[..]);
            ("404 Not Found", Content { kind, bytes })
        }
    };
    let Content { kind, bytes } = content;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        bytes.len()
    )?;
    match method {
        Some("HEAD") => Ok(()),
        _ => stream.write_all(&bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read as _;

    #[test]
    fn what_was_pushed_is_served_by_tag_and_digest() {
        let registry = Registry::start().unwrap();
        let image = Image::of_program(b"program", &json!({})).unwrap();
        registry.push("team/app", "1", &image);
        let ask = |method: &str, path: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", registry.port)).unwrap();
            write!(stream, "{method} /v2/{path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        };
        assert!(ask("GET", "").ends_with(b"{}"));
        for reference in ["1", &image.digest()] {
            let answer = ask("GET", &format!("team/app/manifests/{reference}"));
            assert!(answer.ends_with(image.manifest()), "{reference}");
        }
        let layer = &image.layers()[0];
        let path = format!("team/app/blobs/{}", layer.digest());
        assert!(ask("GET", &path).ends_with(layer.bytes()));
        assert!(ask("HEAD", &path).ends_with(b"\r\n\r\n"));
        assert!(ask("GET", "team/app/manifests/2").starts_with(b"HTTP/1.1 404 "));
        assert_eq!(registry.take_requests().len(), 6);
        assert!(registry.take_requests().is_empty());
    }
}
