//! Volumes.

use super::super::model::{File, HostKind, Source, Volume};
use super::super::quantity;
use super::super::reader::{At, Fields, Keys, Reader};
use super::environment::{Of, Sources, required};

/// Permissions of files if nothing is said.
const MODE: u32 = 0o644;

const VOLUME: Keys = Keys {
    known: &["name", "hostPath", "emptyDir", "configMap", "secret"],
    refused: &[
        ("csi", "mount it on the host, and use hostPath"),
        ("downwardAPI", "use fieldRef in env"),
        ("ephemeral", "use emptyDir"),
        ("image", "copy it by an init container"),
        ("iscsi", "mount it on the host, and use hostPath"),
        ("nfs", "mount it on the host, and use hostPath"),
        (
            "persistentVolumeClaim",
            "use hostPath with DirectoryOrCreate",
        ),
        ("projected", "use one volume for each of its sources"),
    ],
};

const HOST: Keys = Keys {
    known: &["path", "type"],
    refused: &[],
};

const EMPTY: Keys = Keys {
    known: &["medium", "sizeLimit"],
    refused: &[],
};

const CONFIG_MAP: Keys = Keys {
    known: &["name", "items", "defaultMode", "optional"],
    refused: &[],
};

const SECRET: Keys = Keys {
    known: &["secretName", "items", "defaultMode", "optional"],
    refused: &[],
};

const ITEM: Keys = Keys {
    known: &["key", "path", "mode"],
    refused: &[],
};

/// The volumes of a pod.
pub fn read(reader: &mut Reader<'_>, spec: &Fields<'_>, sources: Sources<'_>) -> Vec<Volume> {
    let mut all: Vec<Volume> = Vec::new();
    for at in reader.list_of(spec, "volumes") {
        let Some(volume) = volume(reader, &at, sources) else {
            continue;
        };
        if all.iter().any(|other| other.name == volume.name) {
            reader.refuse(&at, format!("two volumes are called {:?}", volume.name));
        }
        all.push(volume);
    }
    all
}

fn volume(reader: &mut Reader<'_>, at: &At<'_>, sources: Sources<'_>) -> Option<Volume> {
    let fields = reader.map(at, VOLUME)?;
    let name = match fields.get("name") {
        Some(name) => reader.name(&name),
        None => {
            reader.refuse(at, "name is missing");
            None
        }
    };
    // `emptyDir:` without anything is null, and still says what it is.
    let kinds: Vec<&str> = ["hostPath", "emptyDir", "configMap", "secret"]
        .into_iter()
        .filter(|kind| at.node.get(kind).is_some())
        .collect();
    let source = match kinds.as_slice() {
        ["emptyDir"] => empty(reader, fields.get("emptyDir")),
        [kind] => fields.get(kind).and_then(|at| match *kind {
            "hostPath" => host(reader, &at),
            "configMap" => files(reader, &at, sources, Of::ConfigMap),
            _ => files(reader, &at, sources, Of::Secret),
        }),
        several => {
            let count = several.len();
            let message =
                format!("expected one of hostPath, emptyDir, configMap, secret, found {count}");
            reader.refuse(at, message);
            None
        }
    };
    Some(Volume {
        name: name?,
        source: source.unwrap_or(Source::Empty),
    })
}

fn host(reader: &mut Reader<'_>, at: &At<'_>) -> Option<Source> {
    let own = reader.map(at, HOST)?;
    if own.get("path").is_none() {
        reader.refuse(at, "path is missing");
    }
    let path = own.get("path").and_then(|at| reader.path(&at));
    let words = [
        ("", HostKind::Any),
        ("Directory", HostKind::Directory),
        ("DirectoryOrCreate", HostKind::DirectoryOrCreate),
        ("File", HostKind::File),
        ("FileOrCreate", HostKind::FileOrCreate),
        ("Socket", HostKind::Socket),
    ];
    let kind = own.get("type").map(|at| reader.word(&at, &words));
    Some(Source::Host {
        path: path?,
        kind: kind.unwrap_or(Some(HostKind::Any))?,
    })
}

fn empty(reader: &mut Reader<'_>, at: Option<At<'_>>) -> Option<Source> {
    let Some(at) = at else {
        return Some(Source::Empty);
    };
    let own = reader.map(&at, EMPTY)?;
    let words = [("", false), ("Memory", true)];
    let medium = own.get("medium").map(|at| reader.word(&at, &words));
    let is_memory = medium.unwrap_or(Some(false))?;
    let mut size = None;
    if let Some(at) = own.get("sizeLimit") {
        let bytes = reader.words(&at).and_then(|text| quantity::whole(&text));
        size = bytes.filter(|bytes| *bytes > 0);
        if size.is_none() {
            reader.refuse(&at, "expected a size such as 64Mi");
        } else if !is_memory {
            reader.refuse(
                &at,
                "not supported; sizes of directories are not limited, say medium: Memory",
            );
        }
    }
    Some(if is_memory {
        Source::Memory(size)
    } else {
        Source::Empty
    })
}

fn files(reader: &mut Reader<'_>, at: &At<'_>, sources: Sources<'_>, of: Of) -> Option<Source> {
    let (keys, key) = match of {
        Of::ConfigMap => (CONFIG_MAP, "name"),
        Of::Secret => (SECRET, "secretName"),
    };
    let own = reader.map(at, keys)?;
    let name = required(reader, at, &own, key)?;
    let is_optional = reader.truth_of(&own, "optional");
    let mode = reader.mode_of(&own, "defaultMode").unwrap_or(MODE);
    let Some(data) = sources.data(of, &name) else {
        if !is_optional {
            reader.refuse(at, of.missing(&name));
        }
        return Some(made(of, Vec::new()));
    };
    let Some(items) = own.get("items") else {
        let file = |(key, bytes): (&String, &Vec<u8>)| File {
            path: key.clone(),
            mode,
            bytes: bytes.clone(),
        };
        return Some(made(of, data.iter().map(file).collect()));
    };
    let mut files: Vec<File> = Vec::new();
    for at in reader.list(&items) {
        let Some(own) = reader.map(&at, ITEM) else {
            continue;
        };
        let key = required(reader, &at, &own, "key");
        let path = item_path(reader, &at, &own);
        let mode = reader.mode_of(&own, "mode").unwrap_or(mode);
        let (Some(key), Some(path)) = (key, path) else {
            continue;
        };
        match data.get(&key) {
            Some(bytes) => files.push(File {
                path,
                mode,
                bytes: bytes.clone(),
            }),
            None if is_optional => {}
            None => reader.refuse(&at, format!("{name:?} has no key {key:?}")),
        }
    }
    overlap(reader, &items, &files);
    Some(made(of, files))
}

fn made(of: Of, files: Vec<File>) -> Source {
    Source::Files {
        files,
        is_secret: of == Of::Secret,
    }
}

/// A path below the volume.
fn item_path(reader: &mut Reader<'_>, at: &At<'_>, own: &Fields<'_>) -> Option<String> {
    let text = required(reader, at, own, "path")?;
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    if text.len() <= 1024 && !text.contains('\n') && text.split('/').all(good) {
        return Some(text);
    }
    reader.refuse(
        at,
        "path: expected a path below the volume, without . and ..",
    );
    None
}

/// A file is neither there twice nor the directory of another one.
fn overlap(reader: &mut Reader<'_>, at: &At<'_>, files: &[File]) {
    for (number, file) in files.iter().enumerate() {
        let below = format!("{}/", file.path);
        let meets = |(other_number, other): (usize, &File)| {
            other_number != number && (other.path == file.path || other.path.starts_with(&below))
        };
        if files.iter().enumerate().any(meets) {
            reader.refuse(at, format!("{:?} is in the way of another item", file.path));
            return;
        }
    }
}
