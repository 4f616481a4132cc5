//! Brings what a `source` names: `data:`, `http:`, `https:`, `tftp:`, `s3:`, `arn:`,
//! `gs:`, decompressed and verified on the way, in bounded memory.

mod cloud;
mod data;
mod digest;
mod error;
mod forward;
mod gs;
mod http;
mod patience;
mod proxy;
mod s3;
mod sink;
mod source;
pub mod tftp;
mod trust;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use ureq::http::Method;

use crate::config::{Config, Resource, list};

pub use cloud::{Clouds, Keys, keys_of, token_of};
pub(crate) use cloud::{Ec2, LINK_LOCAL};
pub use digest::{Digest, hex};
pub use error::FetchError;
pub(crate) use http::{Call, Reach};
pub use proxy::problem as proxy_problem;
pub use source::{Source, UrlError, public_name};

pub(crate) use digest::Hasher;
use patience::Stop;
use proxy::Proxies;
use sink::{Memory, Sink};

/// Largest accepted config or certificate bundle, decompressed.
pub const CONFIG_LIMIT: usize = 32 << 20;

/// How long to wait for a server's response headers, unless a config says.
const RESPONSE_HEADERS: Duration = Duration::from_secs(10);

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It may not: what needs it fails with [`FetchError::NeedsNetwork`].
    Absent,
    /// It may.
    Present,
}

/// Fetches resources, by the timeouts, proxies and authorities of a config.
#[derive(Debug, Clone)]
pub struct Fetcher {
    network: Network,
    /// Limit for one resource with all its retries; of the command line.
    patience: Duration,
    settings: Settings,
    stop: Arc<Stop>,
    clouds: Arc<Clouds>,
}

/// What a config says about fetching.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    response_headers: Option<Duration>,
    total: Option<Duration>,
    /// PEM bundles.
    authorities: Vec<Vec<u8>>,
    proxies: Proxies,
}

impl Fetcher {
    /// A fetcher that gives one resource `patience` before it fails.
    pub fn new(network: Network, patience: Duration) -> Self {
        Self {
            network,
            patience,
            settings: Settings {
                response_headers: Some(RESPONSE_HEADERS),
                total: Some(patience),
                authorities: Vec::new(),
                proxies: Proxies::default(),
            },
            stop: Arc::default(),
            clouds: Arc::new(Clouds::from_environment()),
        }
    }

    /// The same on `platform`, whose own cloud gives credentials.
    pub fn on_platform(self, platform: &str) -> Self {
        let clouds = Clouds {
            platform: platform.to_owned(),
            ..(*self.clouds).clone()
        };
        self.with_clouds(clouds)
    }

    /// The same, with clouds' services elsewhere.
    pub fn with_clouds(self, clouds: Clouds) -> Self {
        Self {
            clouds: Arc::new(clouds),
            ..self
        }
    }

    /// Uses the timeouts, proxies and authorities of `config` from now on.
    /// Authorities are fetched at once, trusting those so far.
    pub fn configure(&mut self, config: &Config) -> Result<(), FetchError> {
        let ignition = &config.ignition;
        let timeouts = ignition.timeouts.as_ref();
        let seconds = |given: Option<i64>, default: Option<Duration>| match given {
            None => default,
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds.unsigned_abs())),
        };
        let headers = timeouts.and_then(|t| t.http_response_headers);
        let total = timeouts.and_then(|t| t.http_total);
        let tls = ignition.security.as_ref().and_then(|s| s.tls.as_ref());
        self.settings.response_headers = seconds(headers, Some(RESPONSE_HEADERS));
        self.settings.total = seconds(total, Some(self.patience));
        self.settings.proxies = Proxies::new(ignition.proxy.as_ref());
        let authorities = list(tls.and_then(|tls| tls.certificate_authorities.as_ref()));
        let bundles = authorities.iter().map(|authority| self.read(authority));
        self.settings.authorities = bundles.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The system's authorities and the config's as one PEM bundle, for programs that check
    /// servers themselves; None if the config has none of its own.
    pub(crate) fn own_authorities(&self) -> Option<Vec<u8>> {
        let own = &self.settings.authorities;
        (!own.is_empty()).then(|| trust::bundle(own))
    }

    /// The same with nothing but the system's authorities.
    pub(crate) fn without_own_authorities(&self) -> Self {
        let mut fetcher = self.clone();
        fetcher.settings.authorities.clear();
        fetcher
    }

    /// The whole of a small resource: a config, a certificate bundle.
    pub fn read(&self, resource: &Resource) -> Result<Vec<u8>, FetchError> {
        let mut sink = Memory::new(CONFIG_LIMIT);
        self.fetch(resource, &mut sink)?;
        Ok(sink.into_bytes())
    }

    /// Asks a service. None if it has nothing there, which is status 404.
    pub(crate) fn ask(&self, call: &Call) -> Result<Option<Vec<u8>>, FetchError> {
        let pipe = Pipe::plain(public_name(&call.url));
        if self.network == Network::Absent {
            return Err(FetchError::NeedsNetwork { name: pipe.name });
        }
        let mut sink = Memory::new(CONFIG_LIMIT);
        match http::fetch(call, self, &pipe, &mut sink) {
            Ok(()) => Ok(Some(sink.into_bytes())),
            Err(FetchError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `body`, which is JSON, to `url`, which must answer with success.
    pub(crate) fn post(&self, url: &str, body: Vec<u8>) -> Result<(), FetchError> {
        let call = Call {
            method: Method::POST,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: Some(body),
            ..Call::get(url)
        };
        http::deliver(&call, self, &public_name(url))
    }

    /// Whether the network may be used.
    pub fn network(&self) -> Network {
        self.network
    }

    /// How long one thing may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The same, to be stopped apart from this one.
    pub(crate) fn with_own_stop(&self) -> Self {
        Self {
            stop: Arc::default(),
            ..self.clone()
        }
    }

    /// Ends what waits for its next attempt, in all clones.
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }

    /// Waits for `pause`. Whether to go on.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        self.stop.pause(pause)
    }

    /// Appends a resource to `file`. On an error the file's contents from its
    /// present end on are undefined.
    pub fn append(&self, resource: &Resource, file: &mut File) -> Result<(), FetchError> {
        self.fetch(resource, &mut sink::Tail::new(file)?)
    }

    fn fetch(&self, resource: &Resource, sink: &mut dyn Sink) -> Result<(), FetchError> {
        let source = resource.source.as_deref().unwrap_or_default();
        let pipe = Pipe::new(resource)?;
        match Source::parse(source)? {
            Source::Data(bytes) => pipe.run(&mut bytes.as_slice(), sink),
            _ if self.network == Network::Absent => {
                Err(FetchError::NeedsNetwork { name: pipe.name })
            }
            Source::S3(address) => s3::fetch(&address, self, &pipe, sink),
            Source::Gs(address) => gs::fetch(&address, self, &pipe, sink),
            Source::Tftp(address) => tftp::fetch(&address, self, &pipe, sink),
            Source::Http(url) => {
                http::fetch(&Call::for_resource(&url, resource), self, &pipe, sink)
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.settings.total.map(|total| Instant::now() + total)
    }
}

/// From raw bytes to checked contents.
#[derive(Debug)]
struct Pipe {
    name: String,
    gzip: bool,
    digest: Option<Digest>,
}

impl Pipe {
    fn new(resource: &Resource) -> Result<Self, FetchError> {
        let name = public_name(resource.source.as_deref().unwrap_or_default());
        let hash = resource
            .verification
            .as_ref()
            .and_then(|v| v.hash.as_deref());
        let digest = hash.map(str::parse).transpose();
        Ok(Self {
            gzip: resource.compression.as_deref() == Some("gzip"),
            digest: digest.map_err(|message| FetchError::Hash {
                name: name.clone(),
                message,
            })?,
            name,
        })
    }

    /// Contents as they come.
    fn plain(name: String) -> Self {
        Self {
            name,
            gzip: false,
            digest: None,
        }
    }

    /// Copies `raw` to `sink`; succeeds only if the contents are as promised.
    fn run(&self, raw: &mut dyn Read, sink: &mut dyn Sink) -> Result<(), FetchError> {
        if self.gzip {
            self.copy(&mut MultiGzDecoder::new(raw), sink)
        } else {
            self.copy(raw, sink)
        }
    }

    fn copy(&self, reader: &mut dyn Read, sink: &mut dyn Sink) -> Result<(), FetchError> {
        let mut hasher = self.digest.as_ref().map(Hasher::new);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(FetchError::Read {
                        name: self.name.clone(),
                        source: if self.gzip { no_gzip(&source) } else { source },
                    });
                }
            };
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..length]);
            }
            sink.write_all(&buffer[..length])
                .map_err(|source| FetchError::Store {
                    name: self.name.clone(),
                    source,
                })?;
        }
        match (&self.digest, hasher) {
            (Some(expected), Some(hasher)) => {
                let found = hasher.finish();
                if found == *expected {
                    return Ok(());
                }
                Err(FetchError::Mismatch {
                    name: self.name.clone(),
                    expected: expected.to_string(),
                    found: found.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

fn no_gzip(error: &io::Error) -> io::Error {
    let message = format!("{error}; `compression` says gzip, which this is not, or not all of it");
    io::Error::new(error.kind(), message)
}

/// Whether `resource` can only come over the network.
pub fn needs_network(resource: &Resource) -> bool {
    let source = resource.source.as_deref().unwrap_or_default();
    !matches!(Source::parse(source), Ok(Source::Data(_)) | Err(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn resource(source: &str) -> Resource {
        Resource {
            source: Some(source.to_owned()),
            ..Resource::default()
        }
    }

    fn offline() -> Fetcher {
        Fetcher::new(Network::Absent, Duration::from_secs(1))
    }

    fn hashed(source: &str, hash: &str) -> Resource {
        Resource {
            verification: Some(ignition_config::v3_6::Verification {
                hash: Some(hash.to_owned()),
            }),
            ..resource(source)
        }
    }

    #[test]
    fn data_is_verified() {
        let right = "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let read = |r| offline().read(&r);
        assert_eq!(read(hashed("data:,hello", right)).unwrap(), b"hello");
        let error = read(hashed("data:,hellO", right)).unwrap_err().to_string();
        assert!(error.contains("hash"), "{error}");
        assert!(error.contains("2cf24dba5fb0a30e"), "{error}");
        assert!(
            !error.contains("hellO"),
            "a data URL may hold secrets: {error}"
        );
    }

    #[test]
    fn gzip_is_undone_before_the_hash() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"hello").unwrap();
        let packed = encoder.finish().unwrap();
        let url = format!(
            "data:;base64,{}",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &packed)
        );
        let mut item = hashed(
            &url,
            "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        );
        item.compression = Some("gzip".to_owned());
        assert_eq!(offline().read(&item).unwrap(), b"hello");
        item.source = Some("data:,notgzip".to_owned());
        assert!(offline().read(&item).is_err());
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..=CONFIG_LIMIT >> 20 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let packed = encoder.finish().unwrap();
        let mut item = resource(&format!(
            "data:;base64,{}",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &packed)
        ));
        item.compression = Some("gzip".to_owned());
        let error = offline().read(&item).unwrap_err();
        assert!(matches!(error, FetchError::Store { .. }), "{error}");
    }

    #[test]
    fn offline_says_what_needs_the_network() {
        let error = offline()
            .read(&resource("https://user:secret@h.example/p?token=1"))
            .unwrap_err();
        assert!(matches!(error, FetchError::NeedsNetwork { .. }));
        let message = error.to_string();
        assert!(message.contains("https://h.example/p"), "{message}");
        assert!(!message.contains("secret") && !message.contains("token"));
    }

    #[test]
    fn no_source_is_empty() {
        assert_eq!(offline().read(&resource("")).unwrap(), b"");
    }
}
