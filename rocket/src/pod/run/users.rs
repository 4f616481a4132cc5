//! Ranges of user IDs, one per pod.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use uuid::Uuid;

use super::lock;
use crate::dirs::Dirs;

/// The IDs that systemd sets aside for containers, systemd's UIDS-GIDS document.
const FIRST: u32 = 524_288;
const LAST: u32 = 1_879_048_191;

/// How many each pod has.
const SIZE: u32 = 65_536;

/// A range that no other pod has: the first ID, and how many there are. It is the pod's as
/// long as it exists, since its files belong to these users.
pub fn take(dirs: &Dirs, pod: Uuid) -> anyhow::Result<(u32, u32)> {
    let dir = dirs.ranges();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let _lock = lock(&dir)?;
    if let Some(number) = held(&dir, pod)? {
        return Ok((FIRST + number * SIZE, SIZE));
    }
    for number in 0..=(LAST - FIRST) / SIZE {
        let path = dir.join(number.to_string());
        match fs::read_to_string(&path) {
            Ok(owner) if is_there(dirs, owner.trim()) => {}
            Ok(_) => return write(&path, pod, number),
            Err(error) if error.kind() == ErrorKind::NotFound => return write(&path, pod, number),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
    bail!("all ranges of user IDs are taken; remove pods that are not needed");
}

/// Gives back the ranges of pods that are gone.
pub fn collect(dirs: &Dirs) -> anyhow::Result<()> {
    let dir = dirs.ranges();
    if !dir.is_dir() {
        return Ok(());
    }
    let _lock = lock(&dir)?;
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", dir.display()))?
            .path();
        let owner = fs::read_to_string(&path);
        let owner = owner.with_context(|| format!("reading {}", path.display()))?;
        if !is_there(dirs, owner.trim()) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// A pod that is started again has files of the range it had.
fn held(dir: &Path, pod: Uuid) -> anyhow::Result<Option<u32>> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries.flatten() {
        let owner = fs::read_to_string(entry.path()).unwrap_or_default();
        if owner.trim() == pod.to_string() {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            return Ok(number);
        }
    }
    Ok(None)
}

fn is_there(dirs: &Dirs, owner: &str) -> bool {
    let Ok(uuid) = Uuid::try_parse(owner) else {
        return false;
    };
    crate::pod::Pods::open(dirs).is_ok_and(|pods| pods.get(uuid).is_ok())
}

fn write(path: &Path, pod: Uuid, number: u32) -> anyhow::Result<(u32, u32)> {
    fs::write(path, pod.to_string()).with_context(|| format!("writing {}", path.display()))?;
    Ok((FIRST + number * SIZE, SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Pods;

    #[test]
    fn pods_have_ranges_of_their_own_as_long_as_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(dir.path());
        let pods = Pods::open(&dirs).unwrap();
        let (one, two) = (pods.create().unwrap(), pods.create().unwrap());
        assert_eq!(take(&dirs, one.uuid()).unwrap(), (524_288, 65_536));
        assert_eq!(take(&dirs, two.uuid()).unwrap(), (589_824, 65_536));
        assert_eq!(take(&dirs, one.uuid()).unwrap(), (524_288, 65_536));
        one.remove().unwrap();
        collect(&dirs).unwrap();
        assert_eq!(fs::read_dir(dirs.ranges()).unwrap().count(), 1);
        let three = pods.create().unwrap();
        assert_eq!(take(&dirs, three.uuid()).unwrap(), (524_288, 65_536));
    }
}
