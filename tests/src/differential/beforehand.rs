//! What ours refuses before anything is written, and theirs fails at once it gets there.
//!
//! That ours refuses a config and theirs fails says little: ours could refuse what is
//! right, and theirs fail at something else. So for every reason of ours, theirs must have
//! failed at the same thing for the same reason ([`KINDS`]); if it came no further than
//! another mistake, it must do so with a config that has nothing else in it
//! ([`Reason::alone`]).

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

use super::cases::Case;

/// One reason, in the words of both: of ours behind the key, of theirs at the end.
const KINDS: [(&str, &str); 15] = [
    ("which is no directory", "not a directory"),
    (
        "removes what the hard link is to lead to",
        "failed to create link",
    ),
    (
        "the root directory itself cannot be an entry",
        "A non regular file exists there already",
    ),
    ("the path has a NUL character", "invalid argument"),
    ("hexadecimal digits after sha", "encoding/hex: invalid byte"),
    ("is not the name of a bucket", "InvalidParameter"),
    ("is not a group name", "is not a valid group name"),
    ("is not a user name", "invalid user name"),
    ("is not a user name", "unknown user"),
    ("missing field `name`", "invalid user name"),
    ("missing field `name`", "is not a valid group name"),
    ("expected an absolute path", "invalid home directory"),
    ("expected an absolute path", "invalid shell"),
    ("expected a number from 0", "invalid user ID"),
    ("in an account file's field", "invalid comment"),
];

/// Before the message with which theirs ends.
const END: &str = "CRITICAL : Ignition failed: ";
/// The lists of entries.
const ENTRIES: [&str; 3] = ["files", "directories", "links"];

/// Why ours refuses a config.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    key: String,
    message: String,
    /// Whether `key` is one of the config itself, and not of one that it refers to.
    own: bool,
}

/// All reasons that ours gave in its log.
pub fn reasons(ours: &str) -> Vec<Reason> {
    ours.lines().filter_map(Reason::read).collect()
}

impl Reason {
    fn read(line: &str) -> Option<Self> {
        let line = line.strip_prefix("ignition: ").unwrap_or(line);
        let (source, rest) = line.strip_prefix("config from ")?.split_once(", key ")?;
        let (key, message) = rest.split_once(": ")?;
        Some(Self {
            key: key.to_owned(),
            message: message.to_owned(),
            own: source.starts_with("file "),
        })
    }

    /// Whether theirs, which said `theirs`, failed at the same thing for the same reason.
    pub fn is_what_failed(&self, config: &[u8], theirs: &str) -> bool {
        let Some(end) = theirs.lines().rev().find(|line| line.starts_with(END)) else {
            return false;
        };
        let same =
            |(ours, theirs): &(&str, &str)| self.message.contains(ours) && end.contains(theirs);
        let things = self.things(config);
        KINDS.iter().any(same) && things.iter().any(|thing| has(end, thing))
    }

    /// Whether theirs, which said `theirs`, refused a config for the same key.
    pub fn is_what_was_refused(&self, theirs: &str) -> bool {
        let ends = ['.', ',', ':'];
        let places = ends.map(|end| format!("error at $.{}{end}", self.key));
        places.iter().any(|place| theirs.contains(place))
    }

    /// What it is about, as theirs writes it: what the message has in quotes, and the entry
    /// that the key is of.
    fn things(&self, config: &[u8]) -> Vec<String> {
        let quoted = self
            .message
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned);
        let entry = self.own.then(|| name_at(config, &self.key)).flatten();
        quoted.chain(entry).map(as_theirs).collect()
    }

    /// A config with only the entry in it that ours refuses, and what it lies below, if it
    /// is one of files, directories and links.
    pub fn alone(&self, case: &Case) -> Option<Case> {
        let path = self
            .message
            .split('"')
            .nth(1)
            .filter(|p| p.starts_with('/'))?;
        let documents = documents(&case.config);
        let all: Vec<_> = documents.iter().rev().flat_map(entries).collect();
        let (list, entry) = all.iter().find(|(_, entry)| entry["path"] == path)?;
        // Another config may have a directory in its place.
        let leaf = |path: &str| {
            all.iter()
                .find(|(list, entry)| *list != "directories" && entry["path"] == path)
        };
        let mut storage = Map::new();
        put(&mut storage, list, entry);
        let mut above = path;
        while let Some((up, _)) = above.rsplit_once('/') {
            above = up;
            if let Some((list, entry)) = leaf(above) {
                put(&mut storage, list, entry);
                break;
            }
        }
        let config = json!({"ignition": {"version": "3.3.0"}, "storage": storage});
        Some(Case::text(&case.name, &config.to_string()))
    }
}

/// Adds an entry with nothing that it could fail at but what and where it is.
fn put(storage: &mut Map<String, Value>, list: &str, entry: &Value) {
    let mut bare = json!({"path": entry["path"], "overwrite": true});
    match list {
        "files" => bare["contents"] = json!({"source": "data:,"}),
        "links" => {
            bare["target"] = entry["target"].clone();
            bare["hard"] = entry["hard"].clone();
        }
        _ => {}
    }
    let entries = storage.entry(list).or_insert_with(|| json!([]));
    entries
        .as_array_mut()
        .into_iter()
        .for_each(|list| list.push(bare.clone()));
}

/// The entries of a config, the last ones first.
fn entries(config: &Value) -> Vec<(&'static str, &Value)> {
    let list = |name: &'static str| {
        let entries = config["storage"][name].as_array();
        let entries = entries.into_iter().flatten().rev();
        entries.map(move |entry| (name, entry))
    };
    ENTRIES.into_iter().flat_map(list).collect()
}

/// A config, and all that it refers to with data URLs.
fn documents(config: &[u8]) -> Vec<Value> {
    let Ok(document) = serde_json::from_slice::<Value>(config) else {
        return Vec::new();
    };
    let references = &document["ignition"]["config"];
    let merged = references["merge"].as_array().into_iter().flatten();
    let children = merged.chain([&references["replace"]]);
    let children: Vec<_> = children.filter_map(unpacked).collect();
    let below = children.iter().flat_map(|child| documents(child));
    let below: Vec<_> = below.collect();
    [vec![document], below].concat()
}

/// What a data URL holds, as the generator and the cases by hand write them.
fn unpacked(reference: &Value) -> Option<Vec<u8>> {
    let (kind, body) = reference["source"]
        .as_str()?
        .strip_prefix("data:")?
        .split_once(',')?;
    let bytes = match kind.ends_with(";base64") {
        true => STANDARD.decode(body).ok()?,
        false => unescaped(body)?,
    };
    if reference["compression"] != "gzip" {
        return Some(bytes);
    }
    let mut text = Vec::new();
    GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut text)
        .ok()?;
    Some(text)
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.as_bytes().get(2..)?);
    }
    Some(bytes)
}

/// Path or name of the entry that `key` is in; empty if it has none.
fn name_at(config: &[u8], key: &str) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let parts: Vec<_> = key.split('.').take(3).collect();
    let entry = config
        .pointer(&format!("/{}", parts.join("/")))?
        .as_object()?;
    let name = entry.get("path").or_else(|| entry.get("name"));
    Some(name.and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// How theirs writes a path, or a name.
fn as_theirs(thing: String) -> String {
    match thing.starts_with('/') {
        true => format!("/root{thing}").trim_end_matches('/').to_owned(),
        false => format!("{thing:?}"),
    }
}

/// Whether `text` has `thing`, and not only as the start of another path.
fn has(text: &str, thing: &str) -> bool {
    let longer = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    let mut ends = text.match_indices(thing).map(|(at, _)| at + thing.len());
    ends.any(|end| !text[end..].starts_with(longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "\
ignition: warning: config from file /w/config.ign, line 1, column 9, key storage.files.1.mode: x
ignition: config from file /w/config.ign, line 1, column 47, key storage.files.1.path: \"/opt/f/g\" lies below storage.files.0.path, which is no directory
config from the data URL of ignition.config.merge.0, line 1, column 7, key storage.links.0.path: \"/a/b\" lies below storage.files.2.path, which is no directory
";

    fn failed(message: &str) -> String {
        format!("INFO     : x\nCRITICAL : Ignition failed: failed to create files: {message}\n")
    }

    #[test]
    fn every_reason_is_found_and_warnings_are_none() {
        let reasons = reasons(OURS);
        let keys: Vec<_> = reasons.iter().map(|r| (r.key.as_str(), r.own)).collect();
        let expected = [
            ("storage.files.1.path", true),
            ("storage.links.0.path", false),
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn both_must_say_the_same_of_the_same_thing() {
        let reason = &reasons(OURS)[0];
        let config = br#"{"storage": {"files": [{"path": "/opt/f"}, {"path": "/opt/f/g"}]}}"#;
        let same = |message: &str| reason.is_what_failed(config, &failed(message));
        assert!(same(
            "error creating /w/root/opt/f/g: lstat /w/root/opt/f/g: not a directory"
        ));
        assert!(!same(
            "error creating /w/root/opt/f/g: no space left on device"
        ));
        assert!(!same("error creating /w/root/opt/f/gh: not a directory"));
        assert!(!same("error creating /w/root/opt/f/g/h: not a directory"));
        assert!(!reason.is_what_failed(config, "INFO     : /w/root/opt/f/g: not a directory\n"));
    }

    #[test]
    fn a_refusal_is_the_same_if_it_is_of_the_same_key() {
        let line =
            "config from file c, line 1, column 1, key storage.links.1: missing field `target`";
        let reason = Reason::read(line).unwrap();
        let same = |key: &str| {
            let line = format!("CRITICAL : error at $.storage.{key}: link target is required\n");
            reason.is_what_was_refused(&line)
        };
        assert!(same("links.1"));
        assert!(same("links.1.target"));
        assert!(!same("links.11.target"));
        assert!(!same("links.0.target"));
    }

    #[test]
    fn a_name_is_the_one_that_the_key_is_of() {
        let line = "config from file c, line 1, column 1, key passwd.users.0.shell: expected an absolute path";
        let config = br#"{"passwd": {"users": [{"name": "u", "shell": "sh"}]}}"#;
        let reason = Reason::read(line).unwrap();
        let same = |name: &str| {
            let message = format!("create user \"{name}\": invalid shell 'sh'");
            reason.is_what_failed(config, &failed(&message))
        };
        assert!(same("u"));
        assert!(!same("v"));
        assert!(!same("uu"));
    }

    #[test]
    fn what_is_refused_is_left_alone_with_what_it_lies_below() {
        let child = json!({"storage": {
            "files": [{"path": "/a", "mode": 5}, {"path": "/other"}],
            "directories": [{"path": "/"}],
            "links": [{"path": "/a/b", "target": "x"}]}});
        let other = json!({"storage": {"directories": [{"path": "/a"}]}});
        let source = |config: Value| {
            let encoded = STANDARD.encode(config.to_string());
            json!({"source": format!("data:;base64,{encoded}")})
        };
        let config = json!({
            "ignition": {"config": {"merge": [source(child), source(other)]}},
            "storage": {"files": [{"path": "/own"}]}});
        let case = Case::text("x", &config.to_string());
        let alone = reasons(OURS)[1].alone(&case).unwrap();
        let alone: Value = serde_json::from_slice(&alone.config).unwrap();
        let expected = json!({
            "files": [{"path": "/a", "overwrite": true, "contents": {"source": "data:,"}}],
            "links": [{"path": "/a/b", "overwrite": true, "target": "x", "hard": null}]});
        assert_eq!(alone["storage"], expected);
        // Not in any config: nothing explains that ours refuses it.
        assert_eq!(reasons(OURS)[0].alone(&case).map(|case| case.config), None);
    }
}
