//! The volumes of a declared pod: directories of its own, files of ConfigMaps and Secrets, and
//! paths of the host.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::declared::model::{Declaration, File as Content, HostKind, Source, Volume};

/// What a Secret has at most, and its files beside what is in them.
const SECRETS: u64 = 4 << 20;

/// Where the files of `volume` are, below the pod's directory of volumes.
pub fn path(below: &Path, volume: &Volume) -> PathBuf {
    match &volume.source {
        Source::Host { path, .. } => path.clone(),
        _ => below.join(&volume.name),
    }
}

/// Makes all volumes, in `below`. What is in memory is mounted for this process alone and those
/// that it makes: the host does not see it, and it goes with them.
///
/// # Errors
/// One cannot be made, or a path of the host is not what it has to be.
pub fn make(pod: &Declaration, below: &Path) -> anyhow::Result<()> {
    let in_memory = |volume: &Volume| size(&volume.source).is_some();
    if pod.volumes.iter().any(in_memory) {
        hide_mounts()?;
    }
    create(below, 0o700)?;
    for volume in &pod.volumes {
        let made = one(pod, volume, &path(below, volume));
        made.with_context(|| format!("volume {}", volume.name))?;
    }
    Ok(())
}

/// What this process mounts from now on is seen by itself only; what the host mounts is still
/// seen here.
fn hide_mounts() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    let none: Option<&str> = None;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none).context("keeping mounts from the host")
}

/// How large the volume's file system in memory is, if it has one; nothing for all there is.
fn size(source: &Source) -> Option<Option<u64>> {
    match source {
        Source::Memory(bytes) => Some(*bytes),
        Source::Files {
            is_secret: true, ..
        } => Some(Some(SECRETS)),
        _ => None,
    }
}

fn one(pod: &Declaration, volume: &Volume, path: &Path) -> anyhow::Result<()> {
    if let Source::Host { kind, .. } = &volume.source {
        return host(path, *kind);
    }
    create(path, 0o755)?;
    if let Some(bytes) = size(&volume.source) {
        let size = bytes
            .map(|bytes| format!(",size={bytes}"))
            .unwrap_or_default();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("mode=0755{size}");
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .with_context(|| format!("mounting memory on {}", path.display()))?;
    }
    if let Source::Files { files, .. } = &volume.source {
        for file in files {
            write(path, file, pod.fs_group)?;
        }
        return give(path, 0o755, pod.fs_group);
    }
    // As in Kubernetes, every user may write to it.
    let mode = if pod.fs_group.is_some() {
        0o2777
    } else {
        0o777
    };
    give(path, mode, pod.fs_group)
}

fn give(path: &Path, mode: u32, group: Option<u32>) -> anyhow::Result<()> {
    let given = || -> std::io::Result<()> {
        if group.is_some() {
            chown(path, None, group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    given().with_context(|| format!("setting owner and permissions of {}", path.display()))
}

fn write(below: &Path, file: &Content, group: Option<u32>) -> anyhow::Result<()> {
    let path = below.join(&file.path);
    if let Some(parent) = path.parent() {
        create(parent, 0o755)?;
    }
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut new| new.write_all(&file.bytes));
    written.with_context(|| format!("writing {}", path.display()))?;
    // Whoever is in the group may read it.
    let mode = if group.is_some() {
        file.mode | 0o440
    } else {
        file.mode
    };
    give(&path, mode, group)
}

fn host(path: &Path, kind: HostKind) -> anyhow::Result<()> {
    match kind {
        HostKind::DirectoryOrCreate => create(path, 0o755)?,
        HostKind::FileOrCreate => {
            let made = File::options()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path);
            made.with_context(|| format!("creating {}", path.display()))?;
        }
        _ => {}
    }
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "{} is not there; make it, or say type: DirectoryOrCreate",
                path.display()
            )
        }
        found => found.with_context(|| format!("looking at {}", path.display()))?,
    };
    let (is_it, what) = match kind {
        HostKind::Any => (true, ""),
        HostKind::Directory | HostKind::DirectoryOrCreate => (found.is_dir(), "directory"),
        HostKind::File | HostKind::FileOrCreate => (found.is_file(), "file"),
        HostKind::Socket => (found.file_type().is_socket(), "socket"),
    };
    if !is_it {
        bail!("{} is no {what}", path.display());
    }
    Ok(())
}

fn create(path: &Path, mode: u32) -> anyhow::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode);
    let created = builder.create(path);
    created.with_context(|| format!("creating {}", path.display()))
}
