//! What this host is, from files below a root directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use semver::Version;

use crate::record::{BadText, BootId, HolderId, HostName};

/// What a program leaves that needs a reboot; its first line says why.
const WANTED: &str = "run/reboot-required";

/// What this host is. Does not change within one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Where its files are.
    pub root: PathBuf,
    /// By what it is known: its machine ID.
    pub id: HolderId,
    /// Its name, for people.
    pub name: HostName,
    /// Random ID of this boot.
    pub boot: BootId,
    /// The release that runs, if it is one.
    pub version: Option<Version>,
    /// Whose nights it has.
    pub zone: TimeZone,
}

/// What is missing to know what this host is.
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
    #[error("{} cannot be used", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadText,
    },
}

impl Host {
    /// Looks at the host whose root is at `root` (`/`, and others in tests).
    pub fn look(root: &Path) -> Result<Self, HostError> {
        let (path, id) = line(root, "etc/machine-id")?;
        let id = HolderId::new(id).map_err(|source| HostError::Content { path, source })?;
        let (_, boot) = line(root, "proc/sys/kernel/random/boot_id")?;
        let name = line(root, "proc/sys/kernel/hostname").map(|(_, name)| name);
        Ok(Self {
            root: root.to_path_buf(),
            id,
            name: HostName::clip(&name.unwrap_or_default()),
            boot: BootId::clip(&boot),
            version: version(root),
            zone: zone(root),
        })
    }

    /// Why a program says that this host needs a reboot, if one does.
    pub fn wanted(&self) -> Option<String> {
        let path = self.root.join(WANTED);
        let said = fs::read(&path).ok()?;
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().next().unwrap_or_default().trim();
        Some(match said {
            "" => format!("/{WANTED} is there"),
            said => format!("/{WANTED}: {said}"),
        })
    }
}

fn line(root: &Path, path: &str) -> Result<(PathBuf, String), HostError> {
    let path = root.join(path);
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text.lines().next().unwrap_or_default().trim().into())),
        Err(source) => Err(HostError::Read { path, source }),
    }
}

/// The release, as update-engine names it.
fn version(root: &Path) -> Option<Version> {
    let text = fs::read_to_string(root.join("usr/lib/os-release")).ok()?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("IMAGE_VERSION="))?;
    value.trim_matches(['"', '\'']).parse().ok()
}

/// The time zone that `/etc/localtime` leads to; UTC, if it leads nowhere.
fn zone(root: &Path) -> TimeZone {
    let link = fs::read_link(root.join("etc/localtime")).unwrap_or_default();
    let link = link.to_string_lossy();
    let name = link.rsplit_once("zoneinfo/").map(|(_, name)| name);
    let zone = name.and_then(|name| TimeZone::get(name).ok());
    zone.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const FILES: [(&str, &str); 4] = [
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("proc/sys/kernel/random/boot_id", "one\n"),
        ("proc/sys/kernel/hostname", "web-1\n"),
        (
            "usr/lib/os-release",
            "ID=ballast\nIMAGE_VERSION=\"0.2.0\"\n",
        ),
    ];

    #[test]
    fn a_host_is_known_by_its_machine_id() {
        let root = host(&FILES);
        let host = Host::look(root.path()).unwrap();
        assert_eq!(host.id.to_string(), "0123456789abcdef0123456789abcdef");
        assert_eq!((&*host.name, &*host.boot), ("web-1", "one"));
        assert_eq!(host.version, Some(Version::new(0, 2, 0)));
        assert_eq!(host.zone, TimeZone::UTC);
        assert_eq!(host.wanted(), None);
        symlink(
            "../usr/share/zoneinfo/Europe/Paris",
            root.path().join("etc/localtime"),
        )
        .unwrap();
        let zone = Host::look(root.path()).unwrap().zone;
        assert_eq!(zone.iana_name(), Some("Europe/Paris"));
    }

    #[test]
    fn without_a_machine_id_a_host_is_nobody() {
        let root = host(&FILES[1..]);
        let error = Host::look(root.path()).unwrap_err();
        assert!(error.to_string().contains("etc/machine-id"), "{error}");
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/machine-id"), "\n").unwrap();
        let error = Host::look(root.path()).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }

    #[test]
    fn a_program_says_why_it_needs_a_reboot() {
        let root = host(&FILES);
        let host = Host::look(root.path()).unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        let file = root.path().join("run/reboot-required");
        fs::write(&file, "\n").unwrap();
        assert_eq!(host.wanted().unwrap(), "/run/reboot-required is there");
        fs::write(&file, "new microcode\nmore\n").unwrap();
        assert_eq!(
            host.wanted().unwrap(),
            "/run/reboot-required: new microcode"
        );
    }
}
