//! Configs that come with the system, in upstream's layout:
//!
//! | file | is |
//! |---|---|
//! | `base.d/*` | parts of every machine's config |
//! | `base.platform.d/PLATFORM/*` | the same, on one platform |
//! | `user.ign` | the machine's config, before the platform is asked |
//!
//! Each may be in `/usr/lib/ignition`, `/etc/ignition` and `/run/ignition`;
//! of files with one name the last one's counts. Parts are merged in the order
//! of their names, those of the platform after the others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::disc::read_bounded;
use super::{ProviderError, Raw};

/// The directories, lowest first, and what overrides each (as upstream).
const DIRECTORIES: [(&str, &str); 3] = [
    ("IGNITION_SYSTEM_CONFIG_DIR", "/usr/lib/ignition"),
    ("IGNITION_SYSTEM_LOCAL_CONFIG_DIR", "/etc/ignition"),
    ("IGNITION_SYSTEM_RUNTIME_CONFIG_DIR", "/run/ignition"),
];

/// The system's own configs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// Lowest first.
    directories: Vec<PathBuf>,
}

impl System {
    /// Looks in `directories`, of which later ones win.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The usual directories, or those that the environment names.
    pub fn from_environment() -> Self {
        let directories = DIRECTORIES.map(|(variable, usual)| {
            let named = std::env::var_os(variable).filter(|value| !value.is_empty());
            named.map_or_else(|| PathBuf::from(usual), PathBuf::from)
        });
        Self::new(directories.to_vec())
    }

    /// The parts of the base config on `platform`, in the order of merging.
    pub fn base(&self, platform: &str) -> Result<Vec<Raw>, ProviderError> {
        let mut paths = self.fragments(Path::new("base.d"))?;
        // It is a word of the kernel command line, and becomes a path.
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !platform.is_empty() && platform.chars().all(sound) {
            paths.extend(self.fragments(&Path::new("base.platform.d").join(platform))?);
        }
        paths.iter().map(|path| read(path, "base config")).collect()
    }

    /// `user.ign`, if there is one.
    pub fn user(&self) -> Result<Option<Raw>, ProviderError> {
        let paths = self
            .directories
            .iter()
            .rev()
            .map(|directory| directory.join("user.ign"));
        let found = paths.into_iter().find(|path| path.exists());
        found.map(|path| read(&path, "file")).transpose()
    }

    /// Plain files of `below` in any of the directories, by name.
    fn fragments(&self, below: &Path) -> Result<Vec<PathBuf>, ProviderError> {
        let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in &self.directories {
            let directory = directory.join(below);
            let list = |source| ProviderError::Read {
                path: directory.clone(),
                source,
            };
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(list(error)),
            };
            for entry in entries {
                let entry = entry.map_err(list)?;
                if entry.path().is_file() {
                    found.insert(entry.file_name(), entry.path());
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

fn read(path: &Path, what: &str) -> Result<Raw, ProviderError> {
    let bytes = File::open(path).and_then(read_bounded);
    Ok(Raw {
        source: format!("{what} {}", path.display()),
        bytes: bytes.map_err(|source| ProviderError::Read {
            path: path.to_owned(),
            source,
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, path.strip_prefix(root).unwrap().to_str().unwrap()).unwrap();
    }

    fn names(raws: Vec<Raw>) -> Vec<String> {
        let text = |raw: Raw| String::from_utf8(raw.bytes).unwrap();
        raws.into_iter().map(text).collect()
    }

    #[test]
    fn later_directories_replace_files_of_the_same_name() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "usr/base.d/10-a.ign",
            "usr/base.d/30-c.ign",
            "usr/base.platform.d/qemu/00-q.ign",
            "usr/base.platform.d/aws/00-w.ign",
            "usr/base.d/directory/x",
            "etc/base.d/20-b.ign",
            "etc/base.d/10-a.ign",
            "run/base.d/30-c.ign",
            "usr/user.ign",
            "etc/user.ign",
        ] {
            write(root.path(), path);
        }
        let system = System::new(["usr", "etc", "run"].map(|d| root.path().join(d)).to_vec());
        let common = [
            "etc/base.d/10-a.ign",
            "etc/base.d/20-b.ign",
            "run/base.d/30-c.ign",
        ];
        let mut qemu = common.to_vec();
        qemu.push("usr/base.platform.d/qemu/00-q.ign");
        assert_eq!(names(system.base("qemu").unwrap()), qemu);
        for platform in ["metal", "", "../../etc/base.d", "."] {
            assert_eq!(names(system.base(platform).unwrap()), common);
        }
        assert_eq!(system.user().unwrap().unwrap().bytes, b"etc/user.ign");
    }

    #[test]
    fn a_system_without_configs_has_none() {
        let root = tempfile::tempdir().unwrap();
        let system = System::new(vec![root.path().join("absent"), root.path().to_owned()]);
        assert_eq!(system.base("qemu").unwrap(), Vec::new());
        assert_eq!(system.user().unwrap(), None);
        assert_eq!(System::default().user().unwrap(), None);
    }
}
