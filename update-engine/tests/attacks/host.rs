//! A host that asks: its state directory, its root of trust, its clock, its disk.

use std::error::Error;
use std::ops::Range;
use std::time::Duration;

use bootloader::Slot;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard, watch};
use update_engine::install::{InstallError, Options, Progress, Release, Report, Watch, install};
use update_engine::remote::{Remote as _, RemoteError};
use update_engine::server::{Server, ServerError, ServerOptions, Trust};

use crate::release::Recording;
use crate::repository::{Repository, hours};

pub struct Host {
    pub dir: TempDir,
    pub trust: Trust,
    disk: Mutex<Recording>,
}

/// Why a host did not update.
#[derive(Debug)]
pub enum Refusal {
    Server(ServerError),
    Install(InstallError),
}

impl From<ServerError> for Refusal {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl From<InstallError> for Refusal {
    fn from(error: InstallError) -> Self {
        Self::Install(error)
    }
}

impl Refusal {
    /// The message with all its causes, as an operator reads it.
    pub fn told(&self) -> String {
        match self {
            Self::Server(error) => told(error),
            Self::Install(error) => told(error),
        }
    }
}

impl Host {
    /// A host of a release that was built yesterday, with the repository's first root.
    pub fn of(repository: &Repository) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            trust: Trust {
                root: repository.first_root(),
                built: hours(-24),
                now: Timestamp::now(),
            },
            disk: Mutex::new(Recording::new()),
        }
    }

    pub fn options(&self, address: &str) -> ServerOptions {
        let source = address.parse().unwrap();
        ServerOptions::new(source, self.dir.path().join("tuf"))
    }

    pub async fn open(&self, address: &str) -> Result<Server, ServerError> {
        Server::open(self.options(address), self.trust.clone()).await
    }

    pub fn disk(&self) -> MutexGuard<'_, Recording> {
        self.disk.try_lock().unwrap()
    }

    /// A whole update, from the address to the armed slot.
    pub async fn update(&self, address: &str) -> Result<Report, Refusal> {
        let server = self.open(address).await?;
        let channel = server.channel("stable").await?;
        let descriptor = server.descriptor(&channel.release).await?;
        let tree = server.tree(&descriptor).await?.to_vec();
        let release = Release {
            descriptor: &descriptor,
            tree,
        };
        let watch = Watch::new(
            watch::Sender::new(Progress::default()),
            watch::Sender::new(false).subscribe(),
        );
        let mut options = Options::default();
        options.patience.failures = 2;
        options.patience.pause = Duration::ZERO;
        let mut disk = self.disk.lock().await;
        let running = disk.running();
        let report = install(&mut *disk, running, release, &server, &options, &watch).await?;
        Ok(report)
    }

    /// What the host says when it is to update from there, before it has written
    /// anything to its disk.
    pub async fn refusal(&self, address: &str) -> ServerError {
        match self.update(address).await {
            Err(Refusal::Server(error)) => {
                assert!(self.disk().writes.is_empty());
                assert_eq!(self.disk().chosen(), Slot::A);
                error
            }
            other => panic!("not refused by the server's client: {other:?}"),
        }
    }
}

/// Reads a target to its end.
pub async fn read(
    server: &Server,
    target: &str,
    range: Option<Range<u64>>,
) -> Result<Vec<u8>, RemoteError> {
    let bytes = server.read(target, range).await?;
    let all: Vec<_> = bytes.try_collect().await?;
    Ok(all.concat())
}

/// An error with all its causes.
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
