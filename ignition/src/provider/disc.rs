//! Discs that carry a config: found by label, mounted read-only below a
//! private directory, read within bounds, and unmounted again.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::fetch::{CONFIG_LIMIT, Fetcher};
use crate::log;

use super::ProviderError;

/// How often devices are looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// What a config drive may be formatted with.
pub const CONFIG_DRIVE: [&str; 2] = ["iso9660", "vfat"];

/// Mounts discs. Tests put directories in their place.
pub trait Mount: fmt::Debug + Send + Sync {
    /// Mounts `device` at the directory `at`, read-only, as one of `kinds`.
    fn mount(&self, device: &Path, at: &Path, kinds: &[&str]) -> io::Result<()>;

    /// Undoes it.
    fn unmount(&self, at: &Path) -> io::Result<()>;
}

/// The kernel's mounts.
#[derive(Debug)]
struct Kernel;

impl Mount for Kernel {
    fn mount(&self, device: &Path, at: &Path, kinds: &[&str]) -> io::Result<()> {
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let mut last = io::Error::from(io::ErrorKind::InvalidInput);
        for kind in kinds {
            match mount(Some(device), at, Some(*kind), flags, None::<&str>) {
                Ok(()) => return Ok(()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        Ok(umount2(at, MntFlags::UMOUNT_NOFOLLOW)?)
    }
}

/// Where discs are found and mounted.
#[derive(Debug, Clone)]
pub struct Drives {
    /// `/dev`
    pub devices: PathBuf,
    /// Directory for mount points; readable by root only.
    pub private: PathBuf,
    /// How they are mounted.
    pub mount: Arc<dyn Mount>,
}

impl Default for Drives {
    fn default() -> Self {
        Self {
            devices: PathBuf::from("/dev"),
            private: PathBuf::from("/run/ignition/discs"),
            mount: Arc::new(Kernel),
        }
    }
}

impl Drives {
    /// The device with the first of `labels` that there is.
    pub fn labelled(&self, labels: &[&str]) -> Option<PathBuf> {
        let directory = self.devices.join("disk/by-label");
        let paths = labels.iter().map(|label| directory.join(label));
        paths.into_iter().find(|path| path.exists())
    }

    /// Optical drives.
    pub fn optical(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.devices).into_iter().flatten().flatten();
        let name_of = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        let mut names: Vec<String> = entries
            .filter_map(name_of)
            .filter(|name| {
                let number = name.strip_prefix("sr").unwrap_or_default();
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
            .collect();
        names.sort();
        names.iter().map(|name| self.devices.join(name)).collect()
    }

    /// Mounts `device` for as long as the result lives.
    pub fn open(&self, device: &Path, kinds: &[&str]) -> Result<Disc, ProviderError> {
        let failed = |source| ProviderError::Mount {
            device: device.to_owned(),
            source,
        };
        // Of its own: two that race may open one disc.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let at = self.private.join(number.to_string());
        let directory = DirBuilder::new().recursive(true).mode(0o700).create(&at);
        directory.map_err(failed)?;
        self.mount.mount(device, &at, kinds).map_err(failed)?;
        Ok(Disc {
            device: device.to_owned(),
            at,
            mount: Arc::clone(&self.mount),
        })
    }
}

/// A mounted disc.
pub struct Disc {
    device: PathBuf,
    at: PathBuf,
    mount: Arc<dyn Mount>,
}

impl Disc {
    /// The file `path` of the disc, which must be a plain one, reached
    /// without symbolic links. None if there is no such file.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        match self.read_bounded(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ProviderError::Read {
                path: self.device.join(path),
                source,
            }),
        }
    }

    fn read_bounded(&self, path: &str) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let directory = nix::fcntl::openat(
            AT_FDCWD,
            &self.at,
            flags | OFlag::O_DIRECTORY,
            nix::sys::stat::Mode::empty(),
        )?;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = File::from(openat2(&directory, path, how)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a plain file",
            ));
        }
        read_bounded(file)
    }

    /// What people know a file of it by.
    pub fn name(&self, path: &str) -> String {
        format!("{path} on {}", self.device.display())
    }
}

impl Drop for Disc {
    fn drop(&mut self) {
        let undone = self.mount.unmount(&self.at);
        if let Err(error) = undone.and_then(|()| fs::remove_dir(&self.at)) {
            log::warn(&format!("unmounting {}: {error}", self.device.display()));
        }
    }
}

/// The rest of `file`, unless it is larger than a config may be.
pub fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = CONFIG_LIMIT as u64;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("larger than the limit of {} MiB", CONFIG_LIMIT >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Asks `find` once a second, until it has something, or `patience` is over,
/// or nobody waits any more.
pub fn wait_for<T>(
    fetcher: &Fetcher,
    patience: Duration,
    mut find: impl FnMut() -> Option<T>,
) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if started.elapsed() >= patience || !fetcher.pause(PAUSE) {
            return None;
        }
    }
}
