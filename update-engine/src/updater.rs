//! What the daemon needs of servers and slots, and how a host does it.
//!
//! Both calls block, and run on a thread of their own with a runtime of their own, so
//! that the daemon answers meanwhile. Nothing of them is kept when they return.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use daemon::log::chain;
use semver::Version;
use tokio::sync::watch;

use crate::host::Host;
use crate::install::{self, InstallError, Options, Release, Report, Watch};
use crate::next::Offer;
use crate::server::{Server, ServerOptions, Source, Trust};
use crate::settings::{ChannelName, Update};
use crate::slots::{HostDisk, Running};

/// Why an attempt came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Somebody stopped it.
    Cancelled,
    /// It failed; the text says what an operator should look at.
    Failed(String),
}

impl Failure {
    fn of(error: &dyn std::error::Error) -> Self {
        Self::Failed(chain(error))
    }
}

/// Which offer is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The channel whose release is wanted, or whose steps lead to it.
    pub channel: ChannelName,
    /// A version that is wanted instead of the channel's.
    pub version: Option<Version>,
    /// The version that runs: steps below it are of no use.
    pub running: Version,
}

/// Asks servers and writes slots.
pub trait Updater: Send + Sync {
    /// Asks the server of `policy` what it offers.
    fn look(
        &self,
        policy: &Update,
        question: &Question,
        cancel: watch::Receiver<bool>,
    ) -> Result<Offer, Failure>;

    /// Brings `version` to the slot that does not run, and arms it.
    fn install(&self, policy: &Update, version: &Version, watch: &Watch)
    -> Result<Report, Failure>;
}

/// The [`Updater`] of a host.
#[derive(Debug)]
pub struct HostUpdater {
    /// What runs.
    pub host: Host,
    /// Where what is known of servers is kept.
    pub directory: PathBuf,
}

impl HostUpdater {
    async fn open(&self, policy: &Update) -> Result<Server, Failure> {
        let address = policy.server.as_ref().map(|server| server.as_str());
        let address = address.ok_or_else(|| {
            let message = "no server is set: put [update] server into /etc/ballast/config.d";
            Failure::Failed(message.into())
        })?;
        let source: Source = address.parse().map_err(|e| Failure::of(&e))?;
        let mut options = ServerOptions::new(source, &self.directory);
        let proxy = policy.proxy.as_ref().map(|proxy| proxy.as_str().parse());
        options.proxy = proxy.transpose().map_err(|e| Failure::of(&e))?;
        options.ca = policy.ca.clone();
        let trust = Trust::of_host().map_err(|e| Failure::of(&e))?;
        Server::open(options, trust)
            .await
            .map_err(|e| Failure::of(&e))
    }

    async fn ask(&self, policy: &Update, question: &Question) -> Result<Offer, Failure> {
        let server = self.open(policy).await?;
        let mut releases = BTreeMap::new();
        let channel = server.channel(question.channel.as_str()).await;
        // Who names a version need not follow a channel that is there.
        let channel = match (channel, &question.version) {
            (Ok(channel), _) => Some(channel.into_inner()),
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(Failure::of(&error)),
        };
        let release = channel.as_ref().map(|channel| &channel.release);
        if let Some(goal) = question.version.as_ref().or(release) {
            let minimum = minimum_of(&server, goal).await?;
            let far = minimum > question.running;
            releases.insert(goal.clone(), minimum);
            let steps = channel.iter().flat_map(|channel| &channel.steps);
            let ahead = |step: &&Version| far && **step > question.running && *step < goal;
            for step in steps.filter(ahead) {
                releases.insert(step.clone(), minimum_of(&server, step).await?);
            }
        }
        Ok(Offer { channel, releases })
    }

    async fn bring(
        &self,
        policy: &Update,
        version: &Version,
        watch: &Watch,
    ) -> Result<Report, Failure> {
        let server = self.open(policy).await?;
        let descriptor = server
            .descriptor(version)
            .await
            .map_err(|e| Failure::of(&e))?;
        let opened = HostDisk::open(&self.host.disk);
        let mut disk = opened.map_err(|error| {
            Failure::Failed(format!("opening {}: {error}", self.host.disk.display()))
        })?;
        let running = Running {
            slot: self.host.slot,
            root: self.host.root,
        };
        // After an interruption it is there already.
        let kept = install::kept_tree(&mut disk, running, &descriptor);
        let tree = match kept.map_err(|e| Failure::of(&e))? {
            Some(tree) => tree,
            None => {
                let tree = server.tree(&descriptor).await;
                tree.map_err(|e| Failure::of(&e))?.into_inner().into()
            }
        };
        let release = Release {
            descriptor: &descriptor,
            tree,
        };
        let options = Options::default();
        let done = install::install(&mut disk, running, release, &server, &options, watch).await;
        done.map_err(|error| match error {
            InstallError::Cancelled => Failure::Cancelled,
            error => Failure::of(&error),
        })
    }
}

async fn minimum_of(server: &Server, version: &Version) -> Result<Version, Failure> {
    let descriptor = server.descriptor(version).await;
    let descriptor = descriptor.map_err(|e| Failure::of(&e))?;
    Ok(descriptor.minimum_version.clone())
}

impl Updater for HostUpdater {
    fn look(
        &self,
        policy: &Update,
        question: &Question,
        cancel: watch::Receiver<bool>,
    ) -> Result<Offer, Failure> {
        block_on(async {
            tokio::select! {
                biased;
                () = cancelled(cancel) => Err(Failure::Cancelled),
                offer = self.ask(policy, question) => offer,
            }
        })
    }

    fn install(
        &self,
        policy: &Update,
        version: &Version,
        watch: &Watch,
    ) -> Result<Report, Failure> {
        block_on(self.bring(policy, version, watch))
    }
}

/// Returns when the channel says so; never, if nobody is left who could.
async fn cancelled(mut cancel: watch::Receiver<bool>) {
    if cancel.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure::Failed(format!("starting the runtime: {error}"))),
    }
}
