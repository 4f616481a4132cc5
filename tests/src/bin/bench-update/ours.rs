//! One update by the engine, in a process of its own, so that its CPU time and its memory
//! are its own too.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bootloader::Slot;
use clap::Args;
use image::serve;
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use update_engine::install::{Options, PatchUse, Progress, Release, Watch, install};
use update_engine::release::Digest;
use update_engine::remote::{ByteStream, Remote, RemoteError};
use update_engine::server::{Server, ServerOptions, Source, Trust};
use update_engine::slots::{HostDisk, Running};

use crate::cost::{Cost, cpu_of, peak_mib};

/// What the child is to do.
#[derive(Debug, Args)]
pub struct Update {
    /// The repository.
    #[arg(long)]
    url: String,
    /// Its trusted root.
    #[arg(long)]
    trusted: PathBuf,
    /// Directory for what is remembered.
    #[arg(long)]
    state: PathBuf,
    /// The disk, with the old release in slot `a`.
    #[arg(long)]
    disk: PathBuf,
    /// Root hash of that release.
    #[arg(long)]
    root: Digest,
    /// Do as if there were no patch.
    #[arg(long)]
    without_patch: bool,
}

/// What the child tells.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    cpu: f64,
    memory_mib: f64,
    patched: u64,
}

impl Update {
    /// Updates, and prints what it took as JSON.
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let progress = runtime.block_on(self.install())?;
        let used = getrusage(UsageWho::RUSAGE_SELF).context("reading my own usage")?;
        let told = Told {
            cpu: cpu_of(&used),
            memory_mib: peak_mib()?,
            patched: progress.patched,
        };
        println!("{}", serde_json::to_string(&told)?);
        Ok(())
    }

    async fn install(&self) -> Result<Progress> {
        let source = self.url.parse::<Source>().context("reading the address")?;
        let trust = Trust {
            root: fs::read(&self.trusted).context("reading the trusted root")?,
            built: Timestamp::UNIX_EPOCH,
            now: Timestamp::now(),
        };
        let server = Server::open(ServerOptions::new(source, &self.state), trust).await?;
        let channel = server.channel("stable").await?;
        let descriptor = server.descriptor(&channel.release).await?;
        let tree = server.tree(&descriptor).await?;
        let release = Release {
            descriptor: &descriptor,
            tree: tree.to_vec(),
        };
        let mut disk = HostDisk::open(&self.disk).context("opening the disk")?;
        let running = Running {
            slot: Slot::A,
            root: self.root,
        };
        let remote = Filtered {
            server: &server,
            patches: !self.without_patch,
        };
        let watch = Watch::new(
            watch::Sender::new(Progress::default()),
            watch::Sender::new(false).subscribe(),
        );
        let options = Options::default();
        let report = install(&mut disk, running, release, &remote, &options, &watch).await?;
        let progress = report.progress;
        ensure!(
            self.without_patch || matches!(progress.patch, PatchUse::Applied | PatchUse::None),
            "the patch was given up: {:?}",
            progress.patch
        );
        Ok(progress)
    }
}

/// A server that may be without patches.
struct Filtered<'a> {
    server: &'a Server,
    patches: bool,
}

#[async_trait::async_trait]
impl Remote for Filtered<'_> {
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError> {
        if !self.patches && target.ends_with(".patch") {
            return Err(RemoteError::Refused {
                target: target.to_string(),
                source: "measured without patches".into(),
            });
        }
        self.server.read(target, range).await
    }
}

/// An update to measure.
pub struct Case<'a> {
    /// The repository, whose channel `stable` names the new release.
    pub repo: &'a Path,
    /// Its trusted root.
    pub trusted: &'a Path,
    /// Build of the old release.
    pub old: &'a Path,
    /// Root hash of that.
    pub root: Digest,
    /// Directory for work in progress.
    pub scratch: &'a Path,
    /// Whether the patch may be used.
    pub patches: bool,
}

/// What an update took: for `/usr` with all metadata, and for the kernel image.
pub struct Measured {
    /// `/usr` and metadata.
    pub usr: Cost,
    /// Bytes for the kernel image.
    pub boot: u64,
}

/// Updates a copy of the old release's disk from a server on loopback.
pub fn measure(case: &Case<'_>) -> Result<Measured> {
    let disk = case.scratch.join("disk.img");
    let state = case.scratch.join("state");
    image::tools::remove_tree(&state)?;
    copy_sparse(&case.old.join("disk.img"), &disk)?;
    let sums: Arc<Mutex<BTreeMap<bool, (u64, u64)>>> = Arc::default();
    let counted = Arc::clone(&sums);
    let listen = ([127, 0, 0, 1], 0).into();
    let server = serve::Server::start(case.repo, listen, move |answer| {
        let boot = answer.path.ends_with("boot.zst");
        if let Ok(mut sums) = counted.lock() {
            let sum = sums.entry(boot).or_default();
            sum.0 += answer.bytes;
            sum.1 += 1;
        }
    })?;
    let mut child = Command::new(std::env::current_exe().context("finding this program")?);
    child
        .arg("update")
        .args(["--url", &server.url()])
        .arg("--trusted")
        .arg(case.trusted)
        .arg("--state")
        .arg(&state)
        .arg("--disk")
        .arg(&disk)
        .args(["--root", &case.root.to_string()]);
    if !case.patches {
        child.arg("--without-patch");
    }
    let began = Instant::now();
    let output = child.stderr(Stdio::inherit()).output();
    let output = output.context("running the update")?;
    let wall = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "the update failed");
    let told: Told = serde_json::from_slice(&output.stdout).context("reading what it told")?;
    ensure!(
        !case.patches || told.patched > 0,
        "the update did not use the patch"
    );
    fs::remove_file(&disk).context("removing the disk")?;
    let sums = sums.lock().map(|sums| sums.clone()).unwrap_or_default();
    let sum = |boot| sums.get(&boot).copied().unwrap_or_default();
    Ok(Measured {
        usr: Cost {
            bytes: sum(false).0,
            requests: Some(sum(false).1),
            cpu: Some(told.cpu),
            wall: Some(wall),
            memory_mib: Some(told.memory_mib),
        },
        boot: sum(true).0,
    })
}

fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .args([from, to])
        .status()
        .context("running cp")?;
    ensure!(status.success(), "copying {} failed", from.display());
    Ok(())
}
