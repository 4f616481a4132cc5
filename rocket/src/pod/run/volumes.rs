//! Where the files of a pod's volumes are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::super::{Manifest, Pod, Volume, files};
use super::{lock, make};
use crate::dirs::Dirs;
use crate::options::VolumeKind;
use crate::runtime::copy;

/// How the directory of a volume begins that is not whole yet; no volume can be called so.
const NEW: &str = ".new-";

/// The directory of each volume; nothing for those in memory. Makes what is not there: with
/// what the image of the first app that mounts it has at that place, as images expect who
/// declare volumes.
///
/// # Errors
/// A path of the host is not there, or a directory cannot be made.
pub fn ready(
    dirs: &Dirs,
    pod: &Pod,
    manifest: &Manifest,
    range: Option<(u32, u32)>,
) -> anyhow::Result<BTreeMap<String, Option<PathBuf>>> {
    let mut ready = BTreeMap::new();
    for volume in &manifest.volumes {
        let making = Making {
            pod,
            manifest,
            volume,
            range,
        };
        let path = making.path(dirs);
        let path = path.with_context(|| format!("volume {}", volume.name))?;
        ready.insert(volume.name.clone(), path);
    }
    Ok(ready)
}

/// Removes volumes that nobody finished: who made them was killed.
///
/// # Errors
/// A directory cannot be removed.
pub fn collect(dirs: &Dirs) -> anyhow::Result<()> {
    let dir = dirs.volumes();
    if !dir.is_dir() {
        return Ok(());
    }
    let _lock = lock(&dir)?;
    let listing = || format!("listing {}", dir.display());
    for entry in fs::read_dir(&dir).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        if entry.file_name().to_string_lossy().starts_with(NEW) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

struct Making<'a> {
    pod: &'a Pod,
    manifest: &'a Manifest,
    volume: &'a Volume,
    range: Option<(u32, u32)>,
}

impl Making<'_> {
    fn path(&self, dirs: &Dirs) -> anyhow::Result<Option<PathBuf>> {
        match &self.volume.kind {
            VolumeKind::Tmpfs { .. } => Ok(None),
            VolumeKind::Host { source, .. } => match fs::metadata(source) {
                Ok(_) => Ok(Some(source.clone())),
                Err(error) => bail!(
                    "{}: {error}; make it first, or use a named volume",
                    source.display()
                ),
            },
            VolumeKind::Named => self.made(&dirs.volumes()).map(Some),
            VolumeKind::Empty => self.made(&self.pod.path().join("volumes")).map(Some),
        }
    }

    /// The volume's directory in `parent`. One that is there keeps its owner: its files are
    /// somebody's.
    fn made(&self, parent: &Path) -> anyhow::Result<PathBuf> {
        let path = parent.join(&self.volume.name);
        if path.is_dir() {
            return Ok(path);
        }
        make(parent, 0o755)?;
        let _lock = lock(parent)?;
        if path.is_dir() {
            return Ok(path);
        }
        let new = parent.join(format!("{NEW}{}", self.volume.name));
        remove(&new)?;
        make(&new, 0o755)?;
        self.fill(&new)?;
        fs::rename(&new, &path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    fn fill(&self, path: &Path) -> anyhow::Result<()> {
        let (first, size) = self.range.unwrap_or((0, u32::MAX));
        std::os::unix::fs::chown(path, Some(first), Some(first))
            .with_context(|| format!("giving {} to the pod's root", path.display()))?;
        let mut mounts = self.manifest.apps.iter().flat_map(|app| {
            let mounts = app.mounts.iter();
            mounts.map(move |mount| (app, mount))
        });
        let Some((app, mount)) = mounts.find(|(_, mount)| mount.volume == self.volume.name) else {
            return Ok(());
        };
        let image = files(self.pod, app)?;
        let to = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        // Whom the pod cannot have is its root.
        let owner = |id: u32| if id < size { first + id } else { first };
        copy::up(&image, &mount.target, &OwnedFd::from(to), &owner)?;
        Ok(())
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
