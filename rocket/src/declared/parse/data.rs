//! ConfigMaps and Secrets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::reader::{At, Keys, Reader};
use super::{Kind, Known, kind, metadata};

/// What Kubernetes lets one of them hold at most.
const MOST: usize = 1 << 20;

/// What a ConfigMap or a Secret holds, by key.
pub type Data = BTreeMap<String, Vec<u8>>;

const MAP: Keys = Keys {
    known: &[
        "apiVersion",
        "kind",
        "metadata",
        "data",
        "binaryData",
        "immutable",
    ],
    refused: &[],
};

const SECRET: Keys = Keys {
    known: &[
        "apiVersion",
        "kind",
        "metadata",
        "data",
        "stringData",
        "immutable",
        "type",
    ],
    refused: &[],
};

/// Takes in a document if it is one of these.
pub fn collect(reader: &mut Reader<'_>, at: &At<'_>, known: &mut Known) {
    let Some(kind @ (Kind::ConfigMap | Kind::Secret)) = kind(at.node) else {
        return;
    };
    let keys = if kind == Kind::Secret { SECRET } else { MAP };
    let Some(fields) = reader.map(at, keys) else {
        return;
    };
    let Some(about) = metadata(reader, at, &fields, kind) else {
        return;
    };
    let (plain, encoded) = match kind {
        Kind::Secret => ("stringData", "data"),
        _ => ("data", "binaryData"),
    };
    let mut data = Data::new();
    for (key, is_encoded) in [(encoded, true), (plain, false)] {
        let Some(map) = fields.get(key).and_then(|at| reader.any_map(&at)) else {
            continue;
        };
        for (key, value) in map.all() {
            check_key(reader, &value, key);
            let Some(text) = reader.text(&value) else {
                continue;
            };
            let bytes = if is_encoded {
                decode(reader, &value, &text)
            } else {
                Some(text.into_bytes())
            };
            if let Some(bytes) = bytes {
                data.insert(key.to_owned(), bytes);
            }
        }
    }
    if data.values().map(Vec::len).sum::<usize>() > MOST {
        reader.refuse(at, "holds more than 1 MiB");
    }
    let (all, what) = match kind {
        Kind::Secret => (&mut known.secrets, "Secret"),
        _ => (&mut known.maps, "ConfigMap"),
    };
    let name = about.name.clone();
    if all.insert((about.namespace, about.name), data).is_some() {
        reader.refuse(at, format!("{what} {name:?} is declared already"));
    }
}

/// Keys are names of files.
fn check_key(reader: &mut Reader<'_>, at: &At<'_>, key: &str) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = !key.is_empty() && key.len() <= 253 && key.chars().all(good);
    if !is_name || key == "." || key.starts_with("..") {
        reader.refuse(at, "expected a key of letters, digits, -, _ and .");
    }
}

fn decode(reader: &mut Reader<'_>, at: &At<'_>, text: &str) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match STANDARD.decode(packed) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            reader.refuse(at, format!("not base64: {error}"));
            None
        }
    }
}
