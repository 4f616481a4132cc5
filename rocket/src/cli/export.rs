//! `rocket export`.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

use crate::dirs::Dirs;
use crate::pod::{self, Pods};

/// Writes the files of an app as a tar: those of its image, with what it changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pod's UUID, or its beginning, or the name of a declared pod
    uuid: String,
    /// The archive; - is standard output
    file: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    overwrite: bool,
    /// The app, if the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pod = Pods::open(dirs)?.find(&args.uuid)?;
    let manifest = pod.manifest()?;
    let app = super::enter::choose(&manifest, args.app.as_deref())?;
    let root = pod::files(&pod, app)?;
    if args.file == Path::new("-") {
        pack(&root, Stdio::inherit())?;
    } else {
        super::output::whole(&args.file, args.overwrite, |file| pack(&root, file.into()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing is mounted anywhere: tar sees the files through our descriptor.
fn pack(root: &OwnedFd, output: Stdio) -> anyhow::Result<()> {
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
        .stdout(output)
        .status()
        .context("starting tar")?;
    if !status.success() {
        bail!("tar failed ({status})");
    }
    Ok(())
}
