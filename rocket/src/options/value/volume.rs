//! What a pod's apps can have mounted.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Bytes, ValueError, is_name};

/// Where a volume's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum VolumeKind {
    /// A path of the host.
    Host {
        /// The path.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// A directory that stays when the pod is gone, made when it is not there.
    Named,
    /// A directory that goes with the pod.
    Empty,
    /// Memory.
    Tmpfs {
        /// The most it may hold; half of the memory without one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        bytes: Option<u64>,
    },
}

/// A volume: `SOURCE:TARGET[:ro]`, which every app of the pod sees at `TARGET`, or
/// `NAME,kind=host|named|empty|tmpfs[,source=PATH][,size=BYTES][,readonly][,recursive=false]`,
/// for apps that mount it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeOption {
    /// Its name; of the short form, what was before the first colon.
    pub name: String,
    /// Where its files are.
    pub kind: VolumeKind,
    /// No app can write to it.
    pub read_only: bool,
    /// Where every app sees it, in the short form.
    pub target: Option<PathBuf>,
}

impl FromStr for VolumeOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(',') {
            Some((name, rest)) if !name.contains(':') => long(name, rest),
            _ => short(text),
        }
    }
}

fn short(text: &str) -> Result<VolumeOption, ValueError> {
    let wrong = |why: &str| ValueError::new(format!("{why}; expected SOURCE:TARGET[:ro]"));
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(wrong("the target is missing"));
    };
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(wrong("only ro and rw may follow the target")),
    };
    if !target.starts_with('/') {
        return Err(wrong("the target has to be an absolute path"));
    }
    let kind = if source.starts_with('/') {
        host(Path::new(source), true)?
    } else if is_name(source) {
        VolumeKind::Named
    } else {
        return Err(wrong(
            "the source is an absolute path, or the name of a volume",
        ));
    };
    Ok(VolumeOption {
        name: source.to_owned(),
        kind,
        read_only,
        target: Some(target.into()),
    })
}

fn long(name: &str, rest: &str) -> Result<VolumeOption, ValueError> {
    if !is_name(name) {
        return Err(ValueError::new(format!("{name:?} cannot name a volume")));
    }
    let (mut kind, mut source, mut size) = (None, None, None);
    let (mut read_only, mut recursive) = (false, true);
    for part in rest.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, "true"));
        match (key, value) {
            ("kind", word) => kind = Some(word),
            ("source", path) => source = Some(path),
            ("size", bytes) => size = Some(bytes.parse::<Bytes>()?.0),
            ("readonly", "true") => read_only = true,
            ("readonly", "false") => read_only = false,
            ("recursive", "true") => recursive = true,
            ("recursive", "false") => recursive = false,
            _ => return Err(ValueError::new(format!("{part:?} is not understood"))),
        }
    }
    let kind = match (kind, source, size) {
        (Some("host"), Some(path), None) => host(Path::new(path), recursive)?,
        (Some("host"), None, _) => return Err(ValueError::new("kind=host needs source=PATH")),
        (Some("named"), None, None) => VolumeKind::Named,
        (Some("empty"), None, None) => VolumeKind::Empty,
        (Some("tmpfs"), None, bytes) => VolumeKind::Tmpfs { bytes },
        _ => {
            return Err(ValueError::new(
                "expected kind=host,source=PATH, kind=named, kind=empty or kind=tmpfs[,size=BYTES]",
            ));
        }
    };
    Ok(VolumeOption {
        name: name.to_owned(),
        kind,
        read_only,
        target: None,
    })
}

fn host(source: &Path, recursive: bool) -> Result<VolumeKind, ValueError> {
    let goes_up = source.components().any(|part| part == Component::ParentDir);
    if !source.is_absolute() || goes_up {
        return Err(ValueError::new(format!(
            "{} is not an absolute path without ..",
            source.display()
        )));
    }
    Ok(VolumeKind::Host {
        source: source.to_owned(),
        recursive,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> VolumeOption {
        text.parse().unwrap()
    }

    #[test]
    fn the_short_form_is_a_source_and_a_target() {
        let volume = read("/srv/data:/data:ro");
        assert!(matches!(
            volume.kind,
            VolumeKind::Host {
                recursive: true,
                ..
            }
        ));
        assert!(volume.read_only);
        assert_eq!(volume.target.as_deref(), Some(Path::new("/data")));
        assert_eq!(read("cache:/var/cache").kind, VolumeKind::Named);
    }

    #[test]
    fn the_long_form_is_a_name_and_keys() {
        let volume = read("data,kind=host,source=/srv,recursive=false,readonly");
        assert!(matches!(
            volume.kind,
            VolumeKind::Host {
                recursive: false,
                ..
            }
        ));
        assert!(volume.read_only && volume.target.is_none());
        let bytes = Some(64 << 20);
        assert_eq!(
            read("t,kind=tmpfs,size=64M").kind,
            VolumeKind::Tmpfs { bytes }
        );
        assert_eq!(read("e,kind=empty").kind, VolumeKind::Empty);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "data",
            "/a:b",
            "/a:/b:rx",
            "/a:/b:ro:x",
            "/a/../b:/c",
            "../x:/c",
            "n,kind=host",
            "n,kind=empty,source=/x",
            "n,kind=x",
            "n,size=1",
            "a/b,kind=empty",
            "n,kind=empty,x",
        ] {
            assert!(bad.parse::<VolumeOption>().is_err(), "{bad}");
        }
    }
}
