//! Mounts of a spec: from words to attributes of the kernel.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::libc;
use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::error::{Error, Result};
use super::sys::mount::{Change, Depth, attr};

/// Mounts in one spec.
const MAX_MOUNTS: usize = 4096;
/// Options of one mount.
const MAX_OPTIONS: usize = 256;
/// Bytes of a path or an option; more is more than the kernel takes.
const MAX_BYTES: usize = 4096;

/// One mount, ready to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// Where, in the container.
    pub destination: PathBuf,
    /// What.
    pub kind: Kind,
    /// Attributes of the mount itself.
    pub own: Change,
    /// Attributes of it and all below.
    pub tree: Change,
    /// How mounts made later are passed on; `MS_*` and how deep.
    pub propagation: Option<(u64, Depth)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file or directory of the host.
    Bind {
        /// Relative paths are below the bundle.
        source: PathBuf,
        /// With what is mounted below it?
        depth: Depth,
        /// Owners are shown through a mapping.
        idmap: Option<IdMap>,
    },
    /// A file system of its own.
    New {
        /// Its type.
        fstype: CString,
        /// Its parameters.
        parameters: Vec<Parameter>,
        /// What the directory held before is copied into it.
        copy_up: bool,
    },
}

/// Which mapping of owners a mount has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// That of the container's user namespace.
    Container,
    /// Its own: users, groups.
    Own(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
}

/// A parameter of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// `key`
    Flag(CString),
    /// `key=value`
    Text(CString, CString),
}

impl MountPlan {
    /// Whether it is a new file system of this type.
    pub fn is_new(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::New { fstype, .. } if fstype.as_bytes() == wanted.as_bytes())
    }
}

/// All mounts of a spec, in its order.
pub fn plan(mounts: &[Mount]) -> Result<Vec<MountPlan>> {
    if mounts.len() > MAX_MOUNTS {
        return Err(Error::spec("mounts", format!("more than {MAX_MOUNTS}")));
    }
    mounts
        .iter()
        .enumerate()
        .map(|(at, mount)| one(&format!("mounts[{at}]"), mount))
        .collect()
}

fn one(field: &str, mount: &Mount) -> Result<MountPlan> {
    let options = mount.options().as_deref().unwrap_or_default();
    if options.len() > MAX_OPTIONS {
        return Err(Error::spec(
            field,
            format!("more than {MAX_OPTIONS} options"),
        ));
    }
    let destination = mount.destination();
    if destination.as_os_str().is_empty() || destination.as_os_str().len() > MAX_BYTES {
        return Err(Error::spec(field, "a destination is 1 to 4096 bytes long"));
    }
    let mut words = Words::default();
    for option in options {
        words.take(&format!("{field}.options"), option)?;
    }
    let typ = mount.typ().as_deref().unwrap_or_default();
    let kind = if words.bind.is_some() || typ == "bind" {
        bind(field, mount, &mut words)?
    } else {
        new(field, typ, mount.source().as_deref(), &mut words)?
    };
    Ok(MountPlan {
        destination: destination.clone(),
        kind,
        own: words.own,
        tree: words.tree,
        propagation: words.propagation,
    })
}

fn bind(field: &str, mount: &Mount, words: &mut Words) -> Result<Kind> {
    let source = mount.source().clone().unwrap_or_default();
    if source.as_os_str().is_empty() {
        return Err(Error::spec(field, "a bind mount needs a source"));
    }
    // Data of a file system means nothing to a bind mount; engines leave it there.
    words.parameters.clear();
    // A bind mount is never more open than what it shows: "rw" of something mounted
    // read-only stays read-only.
    words.own.clear &= attr::ATIME;
    words.tree.clear &= attr::ATIME;
    Ok(Kind::Bind {
        source,
        depth: words.bind.unwrap_or(Depth::One),
        idmap: idmap(field, mount, words.idmap)?,
    })
}

fn idmap(field: &str, mount: &Mount, asked: bool) -> Result<Option<IdMap>> {
    let list = |list: &Option<Vec<LinuxIdMapping>>| list.clone().unwrap_or_default();
    let (users, groups) = (list(mount.uid_mappings()), list(mount.gid_mappings()));
    match (users.is_empty(), groups.is_empty()) {
        (true, true) => Ok(asked.then_some(IdMap::Container)),
        (false, false) => Ok(Some(IdMap::Own(users, groups))),
        _ => Err(Error::spec(
            field,
            "uidMappings and gidMappings come together or not at all",
        )),
    }
}

fn new(field: &str, typ: &str, source: Option<&Path>, words: &mut Words) -> Result<Kind> {
    // The v1 hierarchies are no more: both names are the one there is.
    let fstype = if typ == "cgroup" { "cgroup2" } else { typ };
    if fstype.is_empty() || fstype == "none" {
        return Err(Error::spec(
            format!("{field}.type"),
            "neither a file system nor a bind mount (option bind or rbind)",
        ));
    }
    if words.copy_up && fstype != "tmpfs" {
        return Err(Error::spec(field, "tmpcopyup is for tmpfs only"));
    }
    let mut parameters = std::mem::take(&mut words.parameters);
    if let Some(source) = source.filter(|source| !source.as_os_str().is_empty()) {
        let source = text(field, &source.to_string_lossy())?;
        parameters.insert(0, Parameter::Text(c"source".into(), source));
    }
    Ok(Kind::New {
        fstype: text(field, fstype)?,
        parameters,
        copy_up: words.copy_up,
    })
}

fn text(field: &str, text: &str) -> Result<CString> {
    if text.len() > MAX_BYTES {
        return Err(Error::spec(field, "longer than 4096 bytes"));
    }
    CString::new(text).map_err(|_| Error::spec(field, "has a zero byte"))
}

/// What the options of one mount say together.
#[derive(Debug, Default)]
struct Words {
    own: Change,
    tree: Change,
    propagation: Option<(u64, Depth)>,
    bind: Option<Depth>,
    copy_up: bool,
    idmap: bool,
    parameters: Vec<Parameter>,
}

/// Words for attributes: name, bits set, bits cleared.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
    ("relatime", 0, attr::ATIME),
    ("norelatime", 0, attr::ATIME),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nostrictatime", 0, attr::ATIME),
];

const PROPAGATIONS: &[(&str, libc::c_ulong)] = &[
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("private", libc::MS_PRIVATE),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// All words that have a meaning of their own, for who asks what is possible.
pub fn known_options() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| *name);
    let propagations = PROPAGATIONS.iter().map(|(name, _)| *name);
    let mut all: Vec<String> = attributes
        .chain(propagations)
        .flat_map(|name| [name.to_owned(), format!("r{name}")])
        .chain(["bind", "rbind", "defaults", "idmap", "ridmap", "tmpcopyup"].map(String::from))
        .collect();
    all.sort_unstable();
    all
}

impl Words {
    fn take(&mut self, field: &str, word: &str) -> Result<()> {
        match word {
            "" | "defaults" => {}
            "bind" => self.bind = self.bind.or(Some(Depth::One)),
            "rbind" => self.bind = Some(Depth::Tree),
            "tmpcopyup" => self.copy_up = true,
            "idmap" | "ridmap" => self.idmap = true,
            "remount" => {
                return Err(Error::spec(
                    field,
                    "remount: there is nothing mounted yet to change",
                ));
            }
            _ => {
                let known = self.attribute(word) || self.propagate(word);
                if !known {
                    self.parameters.push(parameter(field, word)?);
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, word: &str) -> bool {
        let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        // "rw" and "relatime" begin with an r of their own.
        let (change, found) = match (find(word), word.strip_prefix('r').and_then(find)) {
            (Some(found), _) => (&mut self.own, found),
            (None, Some(found)) => (&mut self.tree, found),
            (None, None) => return false,
        };
        let (_, set, clear) = *found;
        change.set = (change.set & !clear) | set;
        change.clear = (change.clear & !(set & !attr::ATIME)) | clear;
        true
    }

    fn propagate(&mut self, word: &str) -> bool {
        let find = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name);
        let found = match (find(word), word.strip_prefix('r').and_then(find)) {
            (Some((_, flag)), _) => (*flag, Depth::One),
            (None, Some((_, flag))) => (*flag, Depth::Tree),
            (None, None) => return false,
        };
        self.propagation = Some(found);
        true
    }
}

fn parameter(field: &str, word: &str) -> Result<Parameter> {
    Ok(match word.split_once('=') {
        Some((key, value)) => Parameter::Text(text(field, key)?, text(field, value)?),
        None => Parameter::Flag(text(field, word)?),
    })
}

/// The flag for `linux.rootfsPropagation`.
pub fn root_propagation(word: Option<&str>) -> Result<Option<(u64, Depth)>> {
    let Some(word) = word.filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let mut words = Words::default();
    if words.propagate(word) {
        return Ok(words.propagation);
    }
    Err(Error::spec(
        "linux.rootfsPropagation",
        format!("{word}: neither shared, slave, private nor unbindable"),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan_of(json: &str) -> Result<MountPlan> {
        let mount: Mount = serde_json::from_str(json).unwrap();
        Ok(plan(&[mount])?.remove(0))
    }

    #[test]
    fn words_become_attributes() {
        let plan = plan_of(
            r#"{"destination": "/d", "type": "bind", "source": "/s",
                "options": ["rbind", "ro", "nosuid", "rnodev", "rslave", "size=1"]}"#,
        )
        .unwrap();
        assert_eq!(plan.own.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(plan.tree.set, attr::NODEV);
        assert_eq!(plan.propagation, Some((libc::MS_SLAVE, Depth::Tree)));
        let Kind::Bind {
            source,
            depth,
            idmap,
        } = plan.kind
        else {
            panic!("no bind mount");
        };
        assert_eq!(
            (source.as_path(), depth, idmap),
            (Path::new("/s"), Depth::Tree, None)
        );
    }

    #[test]
    fn the_last_word_wins() {
        let plan = plan_of(
            r#"{"destination": "/d", "type": "tmpfs",
                "options": ["ro", "rw", "noatime", "strictatime", "suid", "nosuid"]}"#,
        )
        .unwrap();
        assert_eq!(plan.own.set, attr::NOSUID | attr::STRICTATIME);
        assert_eq!(plan.own.clear, attr::RDONLY | attr::ATIME);
    }

    #[test]
    fn data_is_kept_for_the_file_system() {
        let plan = plan_of(
            r#"{"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k", "noswap"]}"#,
        )
        .unwrap();
        let Kind::New {
            fstype,
            parameters,
            copy_up,
        } = plan.kind
        else {
            panic!("no file system");
        };
        assert_eq!((fstype.to_str(), copy_up), (Ok("tmpfs"), false));
        let text = |key: &str, value: &str| {
            Parameter::Text(CString::new(key).unwrap(), CString::new(value).unwrap())
        };
        assert_eq!(
            parameters,
            [
                text("source", "tmpfs"),
                text("mode", "755"),
                text("size", "65536k"),
                Parameter::Flag(c"noswap".into()),
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_place() {
        for (json, place) in [
            (r#"{"destination": "/d"}"#, "mounts[0].type"),
            (r#"{"destination": "/d", "type": "bind"}"#, "mounts[0]"),
            (r#"{"destination": "", "type": "tmpfs"}"#, "mounts[0]"),
            (
                r#"{"destination": "/d", "type": "tmpfs", "options": ["remount"]}"#,
                "mounts[0].options",
            ),
            (
                r#"{"destination": "/d", "type": "proc", "options": ["tmpcopyup"]}"#,
                "mounts[0]",
            ),
        ] {
            let error = plan_of(json).unwrap_err().to_string();
            assert!(error.contains(place), "{json}: {error}");
        }
    }

    #[test]
    fn the_root_passes_mounts_on_as_asked() {
        assert_eq!(root_propagation(None).unwrap(), None);
        let slave = root_propagation(Some("rslave")).unwrap();
        assert_eq!(slave, Some((libc::MS_SLAVE, Depth::Tree)));
        assert!(root_propagation(Some("up")).is_err());
    }

    proptest! {
        #[test]
        fn attributes_are_never_set_and_cleared_at_once(
            words in prop::collection::vec(prop::sample::select(known_options()), 0..12),
        ) {
            let mut all = Words::default();
            for word in &words {
                all.take("x", word).unwrap();
            }
            for change in [all.own, all.tree] {
                // The kernel wants access times cleared before they are set anew.
                prop_assert_eq!(change.set & change.clear & !attr::ATIME, 0);
                if change.set & attr::ATIME != 0 {
                    prop_assert_eq!(change.clear & attr::ATIME, attr::ATIME);
                }
            }
            prop_assert!(all.parameters.is_empty());
        }
    }
}
