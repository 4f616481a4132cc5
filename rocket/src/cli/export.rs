//! `rocket export`.

use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::dirs::Dirs;
use crate::pod::Pods;
use crate::runtime;

/// Writes the files of an app as a tar: those of its image, with what it changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pod's UUID, or its beginning
    uuid: String,
    /// The file to write; it must not be there yet
    file: PathBuf,
    /// The app, if the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pod = Pods::open(dirs)?.find(&args.uuid)?;
    let manifest = pod.manifest()?;
    let app = super::enter::choose(&manifest, args.app.as_deref())?;
    let mut layers = app.layers.clone();
    let own = pod.path().join("apps").join(&app.name).join("upper");
    if own.is_dir() {
        layers.push(own);
    }
    // Nothing is mounted anywhere: tar sees the files through our descriptor.
    let root = runtime::overlay(&layers, None).context("putting the app's layers together")?;
    let file = std::fs::File::create_new(&args.file)
        .with_context(|| format!("creating {}", args.file.display()))?;
    let status = Command::new("tar")
        .args([
            "--create",
            "--file=-",
            "--one-file-system",
            "--numeric-owner",
            "--sparse",
        ])
        .args([
            "--xattrs",
            "--xattrs-include=security.capability",
            "--xattrs-include=user.*",
        ])
        .arg(format!(
            "--directory=/proc/{}/fd/{}",
            std::process::id(),
            root.as_raw_fd()
        ))
        .arg(".")
        .stdout(file)
        .status()
        .context("starting tar")?;
    if !status.success() {
        bail!(
            "tar failed ({status}); {} is not whole",
            args.file.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
