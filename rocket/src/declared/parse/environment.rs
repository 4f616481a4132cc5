//! Variables of containers.

use super::super::model::{Field, Value};
use super::super::reader::{At, Fields, Keys, Reader};
use super::data::Data;
use super::{Known, Metadata};

const ENV: Keys = Keys {
    known: &["name", "value", "valueFrom"],
    refused: &[],
};

const FROM: Keys = Keys {
    known: &["configMapKeyRef", "secretKeyRef", "fieldRef"],
    refused: &[
        ("resourceFieldRef", "write the number as value"),
        ("fileKeyRef", "use configMapKeyRef"),
    ],
};

const KEY: Keys = Keys {
    known: &["name", "key", "optional"],
    refused: &[],
};

const ALL: Keys = Keys {
    known: &["prefix", "configMapRef", "secretRef"],
    refused: &[],
};

const REF: Keys = Keys {
    known: &["name", "optional"],
    refused: &[],
};

const FIELD: Keys = Keys {
    known: &["apiVersion", "fieldPath"],
    refused: &[],
};

/// What variables are read from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    pub known: &'a Known,
    pub pod: &'a Metadata,
}

/// Which of the two a reference is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    ConfigMap,
    Secret,
}

impl Sources<'_> {
    /// What is held under `name`.
    pub fn data(&self, of: Of, name: &str) -> Option<&Data> {
        let all = match of {
            Of::ConfigMap => &self.known.maps,
            Of::Secret => &self.known.secrets,
        };
        all.get(&(self.pod.namespace.clone(), name.to_owned()))
    }
}

impl Of {
    /// What nothing is found of.
    pub fn missing(self, name: &str) -> String {
        let what = match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        };
        format!("{what} {name:?} is in none of the files; declare it, or say optional: true")
    }
}

/// `envFrom`, then `env`: later ones win.
pub fn read(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    sources: Sources<'_>,
) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for at in reader.list_of(fields, "envFrom") {
        all_of(reader, &at, sources, &mut all);
    }
    for at in reader.list_of(fields, "env") {
        if let Some(own) = reader.map(&at, ENV) {
            let name = variable_name(reader, &at, &own);
            let value = value(reader, &at, &own, sources);
            if let (Some(name), Some(value)) = (name, value) {
                all.push((name, value));
            }
        }
    }
    all
}

fn variable_name(reader: &mut Reader<'_>, at: &At<'_>, own: &Fields<'_>) -> Option<String> {
    let Some(name) = own.get("name") else {
        reader.refuse(at, "name is missing");
        return None;
    };
    let text = reader.text(&name)?;
    if text.is_empty() || text.contains('=') {
        reader.refuse(&name, "expected the name of a variable");
        return None;
    }
    Some(text)
}

/// Nothing if it is wrong, or optional and not there.
fn value(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    own: &Fields<'_>,
    sources: Sources<'_>,
) -> Option<Value> {
    let text = own.get("value").map(|at| reader.text(&at));
    let Some(from) = own.get("valueFrom") else {
        return text.unwrap_or_else(|| Some(String::new())).map(Value::Text);
    };
    if text.is_some() {
        reader.refuse(at, "has both value and valueFrom");
    }
    let fields = reader.map(&from, FROM)?;
    let given = fields.all().count();
    if given != 1 {
        reader.refuse(&from, format!("expected one source, found {given}"));
        return None;
    }
    if let Some(at) = fields.get("fieldRef") {
        return field(reader, &at, sources);
    }
    for (key, of) in [
        ("configMapKeyRef", Of::ConfigMap),
        ("secretKeyRef", Of::Secret),
    ] {
        if let Some(at) = fields.get(key) {
            return key_of(reader, &at, sources, of);
        }
    }
    None
}

fn key_of(reader: &mut Reader<'_>, at: &At<'_>, sources: Sources<'_>, of: Of) -> Option<Value> {
    let fields = reader.map(at, KEY)?;
    let is_optional = reader.truth_of(&fields, "optional");
    let name = required(reader, at, &fields, "name")?;
    let key = required(reader, at, &fields, "key")?;
    let Some(data) = sources.data(of, &name) else {
        if !is_optional {
            reader.refuse(at, of.missing(&name));
        }
        return None;
    };
    let Some(bytes) = data.get(&key) else {
        if !is_optional {
            let has: Vec<&str> = data.keys().map(String::as_str).collect();
            let has = has.join(", ");
            reader.refuse(at, format!("{name:?} has no key {key:?}, it has: {has}"));
        }
        return None;
    };
    let text = as_text(bytes);
    if text.is_none() {
        reader.refuse(at, format!("{key:?} of {name:?} is no text"));
    }
    text.map(Value::Fixed)
}

/// A text that must be there.
pub fn required(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    fields: &Fields<'_>,
    key: &str,
) -> Option<String> {
    if fields.get(key).is_none() {
        reader.refuse(at, format!("{key} is missing"));
    }
    reader.text_of(fields, key)
}

/// What a variable can hold.
fn as_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok();
    text.filter(|text| !text.contains('\0')).map(str::to_owned)
}

fn field(reader: &mut Reader<'_>, at: &At<'_>, sources: Sources<'_>) -> Option<Value> {
    let fields = reader.map(at, FIELD)?;
    let path = required(reader, at, &fields, "fieldPath")?;
    let pod = sources.pod;
    let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    // As in Kubernetes, a label that there is not is empty.
    let entry = |all: &std::collections::BTreeMap<String, String>, key: &str| {
        Value::Fixed(all.get(key).cloned().unwrap_or_default())
    };
    if let Some(key) = keyed("metadata.labels['") {
        return Some(entry(&pod.labels, key));
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return Some(entry(&pod.annotations, key));
    }
    Some(match path.as_str() {
        "metadata.name" => Value::Fixed(pod.name.clone()),
        "metadata.namespace" => Value::Fixed(pod.namespace.clone()),
        "metadata.uid" => Value::Field(Field::Uid),
        "status.podIP" => Value::Field(Field::Address),
        "status.podIPs" => Value::Field(Field::Addresses),
        "spec.nodeName" => Value::Field(Field::Node),
        _ => {
            let message = format!(
                "{path:?} is not supported; expected metadata.name, metadata.namespace, \
                 metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'], status.podIP, \
                 status.podIPs or spec.nodeName"
            );
            reader.refuse(at, message);
            return None;
        }
    })
}

fn all_of(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    sources: Sources<'_>,
    all: &mut Vec<(String, Value)>,
) {
    let Some(fields) = reader.map(at, ALL) else {
        return;
    };
    let prefix = reader.text_of(&fields, "prefix").unwrap_or_default();
    let mut is_empty = true;
    for (key, of) in [("configMapRef", Of::ConfigMap), ("secretRef", Of::Secret)] {
        let Some(at) = fields.get(key) else {
            continue;
        };
        is_empty = false;
        let Some(own) = reader.map(&at, REF) else {
            continue;
        };
        let is_optional = reader.truth_of(&own, "optional");
        let Some(name) = required(reader, &at, &own, "name") else {
            continue;
        };
        match sources.data(of, &name) {
            Some(data) => {
                for (key, bytes) in data {
                    match as_text(bytes) {
                        Some(text) => all.push((format!("{prefix}{key}"), Value::Fixed(text))),
                        None => reader.refuse(&at, format!("{key:?} of {name:?} is no text")),
                    }
                }
            }
            None if is_optional => {}
            None => reader.refuse(&at, of.missing(&name)),
        }
    }
    if is_empty {
        reader.refuse(at, "expected configMapRef or secretRef");
    }
}
