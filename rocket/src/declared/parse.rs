//! From the documents of files to pods.

mod container;
mod data;
mod environment;
mod pod;
mod probe;
mod security;
mod volume;

use std::collections::BTreeMap;

use daemon::yaml::{self, Node};

use super::model::Declaration;
use super::reader::{At, Fields, Keys, Problem, Reader};
use data::Data;

/// What is read of a file at most.
pub const MOST: usize = 1 << 20;

/// A file's name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What messages call it.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What a file declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// Its pods; none if anything in the file is wrong.
    pub pods: Vec<Declaration>,
    /// Names of its pods, as far as they can be read.
    pub names: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is accepted and has no effect.
    pub notes: Vec<Problem>,
}

/// Kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pod,
    ConfigMap,
    Secret,
}

const KINDS: [(&str, Kind); 3] = [
    ("Pod", Kind::Pod),
    ("ConfigMap", Kind::ConfigMap),
    ("Secret", Kind::Secret),
];

/// What ConfigMaps and Secrets hold, by namespace and name.
#[derive(Debug, Default)]
struct Known {
    maps: BTreeMap<(String, String), Data>,
    secrets: BTreeMap<(String, String), Data>,
}

/// Reads files together: a pod may name ConfigMaps and Secrets of any of them. Returns what
/// each of them declares, in the same order.
pub fn parse(texts: &[Text]) -> Vec<Parsed> {
    let mut files: Vec<(Reader<'_>, Vec<Node>)> = texts.iter().map(documents).collect();
    let mut known = Known::default();
    for (reader, nodes) in &mut files {
        for node in nodes.iter() {
            data::collect(reader, &At::root(node), &mut known);
        }
    }
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut all = Vec::new();
    for (mut reader, nodes) in files {
        let mut parsed = Parsed::default();
        for node in &nodes {
            let at = At::root(node);
            if kind(node) != Some(Kind::Pod) {
                continue;
            }
            parsed.names.extend(name(node));
            if let Some(pod) = pod::read(&mut reader, &at, &known) {
                let first = taken.entry(pod.name.clone());
                match first {
                    std::collections::btree_map::Entry::Occupied(first) => {
                        let message =
                            format!("pod {:?} is declared in {} already", pod.name, first.get());
                        reader.refuse(&at, message);
                    }
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(reader.file.to_owned());
                    }
                }
                parsed.pods.push(pod);
            }
        }
        if !reader.problems.is_empty() {
            parsed.pods.clear();
        }
        reader.problems.sort();
        parsed.problems = reader.problems;
        parsed.notes = reader.notes;
        all.push(parsed);
    }
    all
}

fn documents(text: &Text) -> (Reader<'_>, Vec<Node>) {
    let mut reader = Reader::new(&text.name);
    let mut wrong = |line: usize, path: String, message: String| {
        reader.problems.push(Problem {
            file: text.name.clone(),
            line,
            path,
            message,
        });
    };
    if text.bytes.len() > MOST {
        wrong(0, String::new(), "larger than 1 MiB".into());
        return (reader, Vec::new());
    }
    let raw = match std::str::from_utf8(&text.bytes) {
        Ok(raw) => raw.strip_prefix('\u{feff}').unwrap_or(raw),
        Err(error) => {
            let good = &text.bytes[..error.valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong(
                line,
                String::new(),
                "the text is not UTF-8 from here on".into(),
            );
            return (reader, Vec::new());
        }
    };
    let nodes = match yaml::parse_all(raw) {
        Ok(nodes) => nodes,
        Err(flaw) => {
            wrong(flaw.spot.line, flaw.key, flaw.message);
            return (reader, Vec::new());
        }
    };
    for node in &nodes {
        check_kind(&mut reader, &At::root(node));
    }
    (reader, nodes)
}

fn kind(node: &Node) -> Option<Kind> {
    let kind = node.get("kind")?.text()?;
    KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, kind)| *kind)
}

/// The name of a document, if it can be read.
fn name(node: &Node) -> Option<String> {
    let name = node.get("metadata")?.get("name")?.text()?;
    super::reader::is_label(name).then(|| name.to_owned())
}

/// Every document says what it is.
fn check_kind(reader: &mut Reader<'_>, at: &At<'_>) {
    let Some(fields) = reader.any_map(at) else {
        return;
    };
    match fields.get("kind") {
        Some(kind) => {
            reader.word(&kind, &KINDS);
        }
        None => reader.refuse(at, "kind is missing; expected Pod, ConfigMap or Secret"),
    }
    match fields.get("apiVersion") {
        Some(version) => {
            reader.word(&version, &[("v1", ())]);
        }
        None => reader.refuse(at, "apiVersion is missing; expected v1"),
    }
}

/// What `metadata` says.
#[derive(Debug)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

const METADATA: Keys = Keys {
    known: &[
        "name",
        "namespace",
        "labels",
        "annotations",
        "creationTimestamp",
    ],
    refused: &[
        ("generateName", "give it a name"),
        ("finalizers", "nothing here would lift them"),
        ("ownerReferences", "a declared pod belongs to its file"),
    ],
};

/// The name of a kind of documents is a label or has dots.
fn metadata(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    fields: &Fields<'_>,
    kind: Kind,
) -> Option<Metadata> {
    let Some(metadata) = fields.get("metadata") else {
        reader.refuse(at, "metadata is missing");
        return None;
    };
    let own = reader.map(&metadata, METADATA)?;
    let name = match own.get("name") {
        Some(name) if kind == Kind::Pod => reader.name(&name),
        Some(name) => reader.long_name(&name),
        None => {
            reader.refuse(&metadata, "name is missing");
            None
        }
    };
    let namespace = own.get("namespace").map(|at| reader.name(&at));
    let mut texts = |key: &str| texts(reader, &own, key);
    let (labels, annotations) = (texts("labels"), texts("annotations"));
    Some(Metadata {
        name: name?,
        namespace: namespace.unwrap_or_else(|| Some("default".to_owned()))?,
        labels,
        annotations,
    })
}

/// A map of texts.
fn texts(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> BTreeMap<String, String> {
    let Some(map) = fields.get(key).and_then(|at| reader.any_map(&at)) else {
        return BTreeMap::new();
    };
    let text = |(key, at): (&str, At<'_>)| Some((key.to_owned(), reader.text(&at)?));
    map.all().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
