//! The repository of releases, as a host sees it: everything that is handed out was
//! verified against TUF metadata (<https://theupdateframework.github.io/specification/>).
//!
//! The only module that touches the network. From the outside in:
//!
//! - [`Server`] loads metadata with `tough` and finds channels, releases and files;
//! - `metadata`, `store`, `clock`: how `tough` reads, what is remembered between
//!   attempts, and which time counts;
//! - `fetch`: files by name from `http`, `directory` or [`tar`], at most as long as
//!   they may be, at a [`Pace`] that does not hold an attempt up.

use std::collections::HashMap;
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use semver::Version;
use sha2::{Digest as _, Sha256};
use tough::schema::RoleType;
use tough::{Repository, RepositoryLoader};
use url::Url;

use crate::release::{
    Channel, DESCRIPTOR, Descriptor, Digest, MAX_FILE, USR_TREE, channel_target, target_name,
};
use crate::remote::{ByteStream, Remote, RemoteError};
use crate::verified::Verified;

mod clock;
mod directory;
mod error;
mod fetch;
mod file;
mod http;
mod metadata;
mod name;
mod pace;
mod source;
mod store;
pub mod tar;
mod trust;

pub use error::ServerError;
pub use fetch::FetchError;
pub use name::BadName;
pub use pace::Pace;
pub use source::Source;
pub use trust::Trust;

use clock::Clock;
use fetch::{Fetcher, Part};
use metadata::{LIMITS, Metadata};
use store::Store;

/// Most bytes of a verity tree: its partition has no more.
const MAX_TREE: u64 = 16 << 20;

/// Where a repository is and how it is reached.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where.
    pub source: Source,
    /// Directory for what is remembered of the repository; made if it is not there.
    /// One `Server` is opened on it at a time.
    pub state: PathBuf,
    /// HTTP proxy; none is taken from the environment.
    pub proxy: Option<Url>,
    /// Certificates (PEM) of authorities that are trusted beside the host's own.
    pub ca: Option<PathBuf>,
    /// How slow the server may be.
    pub pace: Pace,
}

impl ServerOptions {
    /// A repository without proxy and authorities of its own.
    pub fn new(source: Source, state: impl Into<PathBuf>) -> Self {
        Self {
            source,
            state: state.into(),
            proxy: None,
            ca: None,
            pace: Pace::default(),
        }
    }
}

/// A target that the signed metadata names.
#[derive(Debug, Clone, Copy)]
struct Target {
    length: u64,
    sha256: Digest,
}

/// A repository whose metadata was verified.
///
/// Needs a tokio runtime. Connections and certificates are held as long as this value
/// lives, metadata only as far as it is needed to find files.
#[derive(Debug)]
pub struct Server {
    address: String,
    fetcher: Arc<Fetcher>,
    targets: HashMap<String, Target>,
    consistent: bool,
}

impl Server {
    /// Loads and verifies the metadata of a repository.
    ///
    /// What was verified is remembered in the state directory, also when a later step
    /// fails: an older state is not taken from then on.
    pub async fn open(options: ServerOptions, trust: Trust) -> Result<Self, ServerError> {
        let fetcher = Arc::new(source::connect(&options)?);
        let address = options.source.to_string();
        let state = |source| ServerError::State {
            dir: options.state.clone(),
            source: Box::new(source) as _,
        };
        let store = Store::open(&options.state).map_err(state)?;
        let root = store.newest_root(&trust.root).map_err(state)?;
        let latest = store.latest_time().map_err(state)?;
        let clock = Clock::new(trust.now, trust.built, latest);
        let context = error::Context {
            server: address.clone(),
            dir: options.state.clone(),
            root: store::version(&root).unwrap_or_default(),
            root_limit: LIMITS.max_root_updates,
            now: trust.now,
        };
        let loaded = load(&root, metadata::base()?, &fetcher, store.work()).await;
        store.take_over().map_err(state)?;
        let repository = loaded.map_err(|error| context.explain(error))?;
        refuse_expired(&repository, clock, &address)?;
        store.note_time(clock.effective()).map_err(state)?;
        Ok(Self {
            targets: targets(&repository, &address)?,
            consistent: repository.root().signed.consistent_snapshot,
            address,
            fetcher,
        })
    }

    /// What a channel says.
    pub async fn channel(&self, name: &str) -> Result<Verified<Channel>, ServerError> {
        let target = channel_target(name);
        if !self.targets.contains_key(&target) {
            return Err(ServerError::NoChannel {
                server: self.address.clone(),
                channel: name.to_string(),
                known: self.channels(),
            });
        }
        let content = self.whole(&target, MAX_FILE as u64).await?;
        let channel = Channel::parse(&content).map_err(|e| self.content(&target, e))?;
        if channel.channel != name {
            let reason = format!("it holds the channel {:?}", channel.channel);
            return Err(self.content(&target, reason));
        }
        Ok(Verified::new(channel))
    }

    /// Names of the channels, in order.
    pub fn channels(&self) -> Vec<String> {
        let name = |target: &String| {
            let name = target.strip_prefix("channels/")?.strip_suffix(".json")?;
            Some(name.to_string())
        };
        let mut names: Vec<_> = self.targets.keys().filter_map(name).collect();
        names.sort_unstable();
        names
    }

    /// What a release is.
    pub async fn descriptor(&self, version: &Version) -> Result<Verified<Descriptor>, ServerError> {
        let target = target_name(version, DESCRIPTOR);
        if !self.targets.contains_key(&target) {
            return Err(ServerError::NoRelease {
                server: self.address.clone(),
                version: version.clone(),
            });
        }
        let content = self.whole(&target, MAX_FILE as u64).await?;
        let descriptor = Descriptor::parse(&content).map_err(|e| self.content(&target, e))?;
        if descriptor.version != *version {
            let reason = format!("it holds the release {}", descriptor.version);
            return Err(self.content(&target, reason));
        }
        if descriptor.architecture != std::env::consts::ARCH {
            let (theirs, ours) = (&descriptor.architecture, std::env::consts::ARCH);
            let reason = format!("it is for {theirs}, and this host is {ours}");
            return Err(self.content(&target, reason));
        }
        Ok(Verified::new(descriptor))
    }

    /// The verity tree of a release, whole, with the length and hash that both its
    /// descriptor and the metadata name.
    pub async fn tree(
        &self,
        release: &Verified<Descriptor>,
    ) -> Result<Verified<Bytes>, ServerError> {
        let target = target_name(&release.version, USR_TREE);
        let tree = self.whole(&target, MAX_TREE).await?;
        let signed = self.find(&target)?;
        if signed.length != release.usr.tree_size || signed.sha256 != release.usr.tree_sha256 {
            let reason = "it is not the tree that the release's descriptor names";
            return Err(self.content(&target, reason));
        }
        Ok(Verified::new(tree.into()))
    }

    /// Reads a small target whole and compares its hash.
    async fn whole(&self, target: &str, limit: u64) -> Result<Vec<u8>, ServerError> {
        let signed = self.find(target)?;
        let server = || self.address.clone();
        if signed.length > limit {
            return Err(ServerError::TooLarge {
                server: server(),
                target: target.to_string(),
                length: signed.length,
                limit,
            });
        }
        let file = name::file_of(target, &signed.sha256, self.consistent);
        let content = match self.fetcher.whole(&file, Part::Whole(signed.length)).await {
            Ok(content) => content,
            Err(FetchError::Missing { file }) => {
                let server = server();
                return Err(ServerError::Incomplete { server, file });
            }
            Err(source) => {
                let server = server();
                return Err(ServerError::Fetch { server, source });
            }
        };
        if Sha256::digest(&content)[..] != signed.sha256.0 {
            return Err(ServerError::Changed {
                server: server(),
                target: target.to_string(),
            });
        }
        Ok(content)
    }

    fn find(&self, target: &str) -> Result<Target, ServerError> {
        let found = self.targets.get(target).copied();
        found.ok_or_else(|| ServerError::Incomplete {
            server: self.address.clone(),
            file: target.to_string(),
        })
    }

    fn content(
        &self,
        target: &str,
        problem: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ServerError {
        ServerError::Content {
            server: self.address.clone(),
            target: target.to_string(),
            source: problem.into(),
        }
    }
}

#[async_trait::async_trait]
impl Remote for Server {
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError> {
        let signed = self
            .targets
            .get(target)
            .ok_or_else(|| RemoteError::Refused {
                target: target.to_string(),
                source: "the signed metadata of the repository does not name it; check what was \
                     published there"
                    .into(),
            })?;
        let file = name::file_of(target, &signed.sha256, self.consistent);
        let part = match range {
            None => Part::Whole(signed.length),
            Some(range) => Part::Range {
                range,
                of: signed.length,
            },
        };
        let named = target.to_string();
        let remote = move |error: FetchError| error.into_remote(&named);
        match self.fetcher.open(&file, part).await {
            Ok(bytes) => Ok(Box::pin(bytes.map(move |b| b.map_err(&remote)))),
            Err(error) => Err(remote(error)),
        }
    }
}

/// Loads and verifies metadata from the newest trusted root on.
async fn load(
    root: &[u8],
    base: Url,
    fetcher: &Arc<Fetcher>,
    datastore: &Path,
) -> Result<Repository, tough::error::Error> {
    RepositoryLoader::new(&root, base.clone(), base)
        .transport(Metadata(fetcher.clone()))
        .limits(LIMITS)
        .datastore(datastore)
        .load()
        .await
}

/// `tough` compared with the host's clock; this compares with the time that counts.
fn refuse_expired(repository: &Repository, clock: Clock, server: &str) -> Result<(), ServerError> {
    let roles = [
        (RoleType::Root, repository.root().signed.expires),
        (RoleType::Timestamp, repository.timestamp().signed.expires),
        (RoleType::Snapshot, repository.snapshot().signed.expires),
        (RoleType::Targets, repository.targets().signed.expires),
    ];
    let server = server.to_string();
    match clock.expired(roles) {
        None => Ok(()),
        Some((role, _)) if clock.now >= clock.passed => Err(ServerError::Expired {
            server,
            role,
            now: clock.now,
        }),
        Some((role, expires)) => Err(ServerError::ClockInThePast {
            server,
            role,
            expires,
            now: clock.now,
            later: clock.passed,
        }),
    }
}

/// The targets of the top-level role; nothing is delegated in our repositories.
fn targets(repository: &Repository, server: &str) -> Result<HashMap<String, Target>, ServerError> {
    let all = &repository.targets().signed.targets;
    let mut targets = HashMap::with_capacity(all.len());
    for (name, target) in all {
        let name = name.raw();
        name::check(name).map_err(|source| ServerError::TargetName {
            server: server.to_string(),
            source,
        })?;
        let sha256: [u8; 32] =
            target
                .hashes
                .sha256
                .as_ref()
                .try_into()
                .map_err(|_| ServerError::Content {
                    server: server.to_string(),
                    target: name.to_string(),
                    source: "its hash is not a SHA-256 value".into(),
                })?;
        let target = Target {
            length: target.length,
            sha256: Digest(sha256),
        };
        targets.insert(name.to_string(), target);
    }
    Ok(targets)
}
