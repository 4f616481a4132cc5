//! `mount` and `umount`: the file systems of the config, below the root, for the
//! files stage. What the host mounts on later boots is the business of its units.

use std::path::{Path, PathBuf};

use crate::config::{Config, Filesystem, filled, list};
use crate::log;
use crate::program::{self, ProgramError};
use crate::root::{Kind, Root, RootError};
use crate::state::State;

use super::disks::{Kernel, Mounted};

/// A failure of the mount or the umount stage.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The root directory cannot be opened.
    #[error("opening the root directory {}", .path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The list of mounts cannot be read.
    #[error("reading the list of mounts")]
    Mounts(#[source] std::io::Error),
    /// The path leads through something that is no directory.
    #[error("{place}: {component} is no directory, so that nothing is mounted at {path}")]
    Path {
        /// Where the config asks for it.
        place: String,
        /// Where to mount.
        path: String,
        /// The part of it that is in the way.
        component: String,
    },
    /// The mount point cannot be made.
    #[error("{place}")]
    Point {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: RootError,
    },
    /// The program failed.
    #[error("{place}")]
    Program {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: ProgramError,
    },
}

impl MountError {
    /// Whether only a change of the config helps.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Path { .. } => true,
            Self::Program { source, .. } => matches!(source, ProgramError::Failed { .. }),
            _ => false,
        }
    }
}

/// One file system to mount.
struct Point<'a> {
    place: String,
    path: &'a str,
    format: &'a str,
    filesystem: &'a Filesystem,
}

/// Whether `config` has something to mount.
pub fn asked(config: &Config) -> bool {
    !points(config, &State::default()).is_empty()
}

/// Mounts what `config` wants below `root`, parents first. What is mounted there
/// already stays.
pub fn mount(root: &Path, config: &Config, state: &State) -> Result<(), MountError> {
    let points = points(config, state);
    if points.is_empty() {
        return Ok(());
    }
    let opened = Root::open(root).map_err(|source| MountError::Root {
        path: root.to_owned(),
        source,
    })?;
    let there = mounts()?;
    for point in &points {
        let target = target(root, point.path);
        if there.iter().any(|mount| mount.point == target) {
            log::info(&format!("is mounted already path={}", point.path));
            continue;
        }
        make(&opened, point)?;
        let result = program::run("mount", &arguments(point, &target));
        result.map_err(|source| MountError::Program {
            place: point.place.clone(),
            source,
        })?;
        log::info(&format!(
            "mounted device={} path={} format={}",
            point.filesystem.device, point.path, point.format
        ));
    }
    Ok(())
}

/// Unmounts what [`mount`] mounted, children first.
pub fn unmount(root: &Path, config: &Config, state: &State) -> Result<(), MountError> {
    let points = points(config, state);
    if points.is_empty() {
        return Ok(());
    }
    let there = mounts()?;
    for point in points.iter().rev() {
        let target = target(root, point.path);
        if !there.iter().any(|mount| mount.point == target) {
            continue;
        }
        let arguments = [target.display().to_string()];
        let result = program::run("umount", &arguments);
        result.map_err(|source| MountError::Program {
            place: point.place.clone(),
            source,
        })?;
        log::info(&format!("unmounted path={}", point.path));
    }
    Ok(())
}

/// What `config` mounts, in the order in which it is mounted.
fn points<'a>(config: &'a Config, state: &State) -> Vec<Point<'a>> {
    let storage = config.storage.as_ref();
    let filesystems = list(storage.and_then(|s| s.filesystems.as_ref()));
    let mut points = Vec::new();
    for (index, filesystem) in filesystems.iter().enumerate() {
        let path = filled(filesystem.path.as_ref());
        let format = filled(filesystem.format.as_ref());
        let (Some(path), Some(format)) = (path, format) else {
            continue;
        };
        if format == "swap" || format == "none" {
            continue;
        }
        let key = format!("storage.filesystems.{index}");
        let origin = state.origin(&key).map(str::to_owned);
        points.push(Point {
            place: origin.unwrap_or_else(|| format!("key {key}")),
            path,
            format,
            filesystem,
        });
    }
    points.sort_by_key(|point| depth(point.path));
    points
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

fn target(root: &Path, path: &str) -> PathBuf {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    root.join(path.trim_start_matches('/'))
}

fn mounts() -> Result<Vec<Mounted>, MountError> {
    Kernel::default().mounts().map_err(MountError::Mounts)
}

/// Makes the mount point. No part of it may be a link: mount(8) would follow it
/// out of the root.
fn make(root: &Root, point: &Point<'_>) -> Result<(), MountError> {
    let fail = |source| MountError::Point {
        place: point.place.clone(),
        source,
    };
    let ends = point.path.match_indices('/').skip(1).map(|(end, _)| end);
    for end in ends.chain([point.path.len()]) {
        let component = &point.path[..end];
        match root.entry(component).map_err(fail)?.map(|entry| entry.kind) {
            None => break,
            Some(Kind::Directory) => {}
            Some(_) => {
                return Err(MountError::Path {
                    place: point.place.clone(),
                    path: point.path.to_owned(),
                    component: component.to_owned(),
                });
            }
        }
    }
    root.make_directories(point.path).map(drop).map_err(fail)
}

fn arguments(point: &Point<'_>, target: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let options = list(point.filesystem.mount_options.as_ref()).join(",");
    if !options.is_empty() {
        arguments.extend(["-o".to_owned(), options]);
    }
    arguments.extend(["-t", point.format, "--", &point.filesystem.device].map(str::to_owned));
    arguments.push(target.display().to_string());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(filesystems: Value) -> Config {
        serde_json::from_value(json!({"ignition": {"version": "3.6.0"},
            "storage": {"filesystems": filesystems}}))
        .unwrap()
    }

    #[test]
    fn parents_are_mounted_before_what_is_below_them() {
        let config = config(json!([
            {"device": "/dev/a", "format": "xfs", "path": "/var/lib/data"},
            {"device": "/dev/b", "format": "swap", "path": "/none"},
            {"device": "/dev/c", "format": "ext4", "path": "/srv"},
            {"device": "/dev/d", "format": "ext4"},
            {"device": "/dev/e", "format": "btrfs", "path": "/var",
             "mountOptions": ["noatime", "compress=zstd:3"]},
            {"device": "/dev/f", "format": "none", "path": "/x"},
        ]));
        let points = points(&config, &State::default());
        let lines: Vec<_> = points
            .iter()
            .map(|p| arguments(p, &target(Path::new("/sysroot"), p.path)).join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "-t ext4 -- /dev/c /sysroot/srv",
                "-o noatime,compress=zstd:3 -t btrfs -- /dev/e /sysroot/var",
                "-t xfs -- /dev/a /sysroot/var/lib/data",
            ]
        );
        assert_eq!(points[0].place, "key storage.filesystems.2");
        assert!(asked(&config));
    }

    #[test]
    fn mount_points_are_made_but_lead_through_no_link_or_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        std::fs::create_dir(directory.path().join("real")).unwrap();
        std::fs::write(directory.path().join("real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        let config = |path| config(json!([{"device": "/dev/a", "format": "xfs", "path": path}]));
        let good = config("/real/new/er");
        make(&root, &points(&good, &State::default())[0]).unwrap();
        assert!(directory.path().join("real/new/er").is_dir());
        for (path, component) in [("/link/a", "/link"), ("/real/file", "/real/file")] {
            let bad = config(path);
            let error = make(&root, &points(&bad, &State::default())[0]).unwrap_err();
            let expected = format!("{component} is no directory");
            assert!(error.to_string().contains(&expected), "{error}");
            assert!(error.is_final());
        }
    }

    #[test]
    fn nothing_is_unmounted_that_is_not_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(json!([{"device": "/dev/a", "format": "xfs", "path": "/a"}]));
        unmount(directory.path(), &config, &State::default()).unwrap();
    }
}
