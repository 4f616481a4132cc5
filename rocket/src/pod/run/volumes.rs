//! Where the files of a pod's volumes are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::super::{Manifest, Pod, Volume};
use super::make;
use crate::dirs::Dirs;
use crate::options::VolumeKind;

/// The directory of each volume; nothing for those in memory. Makes what is not there.
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
        let path =
            path(dirs, pod, volume, range).with_context(|| format!("volume {}", volume.name))?;
        ready.insert(volume.name.clone(), path);
    }
    Ok(ready)
}

fn path(
    dirs: &Dirs,
    pod: &Pod,
    volume: &Volume,
    range: Option<(u32, u32)>,
) -> anyhow::Result<Option<PathBuf>> {
    match &volume.kind {
        VolumeKind::Tmpfs { .. } => Ok(None),
        VolumeKind::Host { source, .. } => match fs::metadata(source) {
            Ok(_) => Ok(Some(source.clone())),
            Err(error) => bail!(
                "{}: {error}; make it first, or use a named volume",
                source.display()
            ),
        },
        VolumeKind::Named => {
            let path = dirs.volumes().join(&volume.name);
            own(&path, range)?;
            Ok(Some(path))
        }
        VolumeKind::Empty => {
            let path = pod.path().join("volumes").join(&volume.name);
            own(&path, range)?;
            Ok(Some(path))
        }
    }
}

/// Made for the pod's root. One that is there keeps its owner: its files are somebody's.
fn own(path: &Path, range: Option<(u32, u32)>) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make(path, 0o755)?;
    if let Some((first, _)) = range {
        std::os::unix::fs::chown(path, Some(first), Some(first))
            .with_context(|| format!("giving {} to the pod's root", path.display()))?;
    }
    Ok(())
}
