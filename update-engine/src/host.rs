//! What this host is and what it runs, from files below a root directory.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bootloader::Slot;
use bootloader::gpt::Gpt;
use semver::Version;

use crate::marks::{self, MarksError};
use crate::release::Digest;
use crate::slot_name;

/// Vendor of the selector's EFI variables.
const BALLAST: &str = "c78ca85e-8e04-4fdc-aace-bdbd51cff996";

/// Vendor of systemd's boot loader interface.
const SYSTEMD: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Longest of the files that are read here.
const MAX_BYTES: u64 = 64 * 1024;

/// What a host is and what it runs. Does not change within one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Names the machine, for waves.
    pub machine_id: String,
    /// Random ID of this boot.
    pub boot_id: String,
    /// The release that runs.
    pub version: Version,
    /// The slot that runs.
    pub slot: Slot,
    /// Root hash of its `/usr`.
    pub root: Digest,
    /// The disk that it was started from.
    pub disk: PathBuf,
    /// Why the selector took this slot: `normal`, `fallback`, `last-resort`; unknown if
    /// it could not say.
    pub reason: Option<String>,
}

/// What is missing to know what this host runs. Without it, no slot may be touched.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file could not be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The selector did not say which slot it started.
    #[error("the EFI variable {name} is missing: was this host started by Ballast's selector?")]
    Variable {
        /// Name of the variable.
        name: &'static str,
    },
    /// The disk does not hold what the selector and the kernel say.
    #[error(
        "the selector says that slot {slot} of {} was started, and the kernel that its /usr \
         is {root}, but usr-{slot} on that disk is another one",
        .disk.display()
    )]
    Contradiction {
        /// Slot of the EFI variable.
        slot: Slot,
        /// Root hash of the command line.
        root: Digest,
        /// The disk.
        disk: PathBuf,
    },
    /// The slots could not be read.
    #[error(transparent)]
    Marks(#[from] MarksError),
}

impl Host {
    /// Looks at the host whose root is at `root` (`/`, and others in tests).
    pub fn look(root: &Path) -> Result<Self, HostError> {
        let slot = variable(root, "BallastSlot", BALLAST)?;
        let slot = slot.as_deref().and_then(slot_name::parse);
        let slot = slot.ok_or(HostError::Variable {
            name: "BallastSlot",
        })?;
        let host = Self {
            machine_id: line(root, "etc/machine-id")?,
            boot_id: line(root, "proc/sys/kernel/random/boot_id")?,
            version: version(root)?,
            slot,
            root: usrhash(root)?,
            disk: disk(root)?,
            reason: variable(root, "BallastBootReason", BALLAST)?,
        };
        host.check()?;
        Ok(host)
    }

    /// Two slots may hold the same `/usr`, so the selector decides which one runs; the
    /// kernel's word must agree with it.
    fn check(&self) -> Result<(), HostError> {
        let label = format!("usr-{}", self.slot);
        let expected = self.root.to_string();
        let gpt: Gpt = marks::table(&self.disk)?;
        let found = gpt.partitions().any(|p| {
            let guid = p.guid.to_string().replace('-', "");
            p.name == label && expected.starts_with(&guid)
        });
        if found {
            return Ok(());
        }
        Err(HostError::Contradiction {
            slot: self.slot,
            root: self.root,
            disk: self.disk.clone(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
        .map_err(|source| HostError::Read {
            path: path.to_path_buf(),
            source,
        })?;
    Ok(bytes)
}

fn text(root: &Path, path: &str) -> Result<(PathBuf, String), HostError> {
    let path = root.join(path);
    let text = String::from_utf8_lossy(&read(&path)?).into_owned();
    Ok((path, text))
}

fn line(root: &Path, path: &str) -> Result<String, HostError> {
    let (path, text) = text(root, path)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_string()),
        _ => Err(HostError::Content {
            path,
            what: "text in its first line",
        }),
    }
}

/// The release below `root`.
pub fn version(root: &Path) -> Result<Version, HostError> {
    let (path, text) = text(root, "usr/lib/os-release")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    value
        .and_then(|value| value.trim_matches(['"', '\'']).parse().ok())
        .ok_or(HostError::Content {
            path,
            what: "IMAGE_VERSION that is a semantic version",
        })
}

fn usrhash(root: &Path) -> Result<Digest, HostError> {
    let (path, text) = text(root, "proc/cmdline")?;
    let mut words = text.split_whitespace();
    words
        .find_map(|word| word.strip_prefix("usrhash="))
        .and_then(|hash| hash.parse().ok())
        .ok_or(HostError::Content {
            path,
            what: "usrhash= with 64 hexadecimal digits",
        })
}

/// An EFI variable that holds text: four bytes of attributes, then UTF-16 with a
/// terminator.
fn variable(root: &Path, name: &str, vendor: &str) -> Result<Option<String>, HostError> {
    let path = root.join(format!("sys/firmware/efi/efivars/{name}-{vendor}"));
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(HostError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let units = bytes.get(4..).unwrap_or_default().chunks_exact(2);
    let units = units.map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Ok(String::from_utf16(&units).ok())
}

/// The disk that holds the partition that the selector came from: by udev's link, and
/// where a release on trial has no udev that works, by looking at every disk.
fn disk(root: &Path) -> Result<PathBuf, HostError> {
    const NAME: &str = "LoaderDevicePartUUID";
    let uuid = variable(root, NAME, SYSTEMD)?.ok_or(HostError::Variable { name: NAME })?;
    let uuid = safe(&uuid, NAME)?;
    if let Some(disk) = disk_by_link(root, &uuid) {
        return Ok(disk);
    }
    let blocks = root.join("sys/class/block");
    let entries = fs::read_dir(&blocks).map_err(|source| HostError::Read {
        path: blocks.clone(),
        source,
    })?;
    let holds_it = |disk: &PathBuf| {
        marks::table(disk).is_ok_and(|gpt| {
            let mut guids = gpt.partitions().map(|p| p.guid.to_string());
            guids.any(|guid| guid.eq_ignore_ascii_case(&uuid))
        })
    };
    entries
        .flatten()
        .filter(|entry| !entry.path().join("partition").exists())
        .map(|entry| root.join("dev").join(entry.file_name()))
        .find(holds_it)
        .ok_or(HostError::Content {
            path: blocks,
            what: "disk that the selector came from",
        })
}

fn disk_by_link(root: &Path, uuid: &str) -> Option<PathBuf> {
    let link = root.join("dev/disk/by-partuuid").join(uuid);
    let partition = fs::canonicalize(link).ok()?;
    let sysfs = root.join("sys/class/block").join(partition.file_name()?);
    let sysfs = fs::canonicalize(sysfs).ok()?;
    Some(root.join("dev").join(sysfs.parent()?.file_name()?))
}

/// A UUID as udev writes it; nothing else may become part of a path.
fn safe(uuid: &str, name: &'static str) -> Result<String, HostError> {
    let uuid = uuid.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
    if uuid.len() == 36 && uuid.bytes().all(plain) {
        Ok(uuid)
    } else {
        Err(HostError::Variable { name })
    }
}

#[cfg(test)]
mod tests;
