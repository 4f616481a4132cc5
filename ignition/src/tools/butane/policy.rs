//! `update:` and `reboot:`: a fragment of the host's policy.

use ::policy::Length;
use serde_json::{Value, json};

use crate::tools::yaml::{Content, Node};

use super::resource::written;
use super::shape::{self, Kind};
use super::value::Path;
use super::{Translator, list_in};

/// The fragment. Operators' own may come before and after it.
const FRAGMENT: &str = "/etc/ballast/config.d/50-provisioned.toml";

const SECTIONS: [(&str, Kind); 2] = [("reboot", shape::REBOOT), ("update", shape::UPDATE)];

/// Texts that are lengths of time.
const LENGTHS: [&str; 4] = ["drain_deadline", "length", "login_grace", "poll"];

/// Texts that are one of a few words.
const WORDS: [(&str, &[&str]); 2] = [
    (
        "reboot.strategy",
        &["reboot", "etcd-lock", "fleet-lock", "off"],
    ),
    ("update.reboot", &["off", "immediately"]),
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Adds the fragment to `json`.
pub fn add(translator: &mut Translator<'_>, root: &Node, json: &mut Value) {
    let mut policy = toml::Table::new();
    let mut due = None;
    for (name, kind) in SECTIONS {
        let Some(node) = root.get(name) else {
            continue;
        };
        let path = Path::default().key(name);
        let Some(value) = translator.value(node, kind, &path) else {
            continue;
        };
        check(translator, node, &path);
        if let Some(section) = to_toml(&value) {
            policy.insert(name.to_owned(), section);
            due = Some((node, path));
        }
    }
    let Some((node, path)) = due else {
        return;
    };
    let Some(files) = list_in(json, "storage", "files") else {
        return;
    };
    let contents = written(policy.to_string().as_bytes());
    files.push(json!({ "path": FRAGMENT, "mode": 0o644, "contents": contents }));
    let key = format!("storage.files.{}", files.len() - 1);
    translator.due_to(key, node, &path);
}

/// The same with the policy's names of keys.
fn to_toml(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number.as_i64()?.into(),
        Value::Array(values) => toml::Value::Array(values.iter().filter_map(to_toml).collect()),
        Value::Object(object) => toml::Value::Table(
            object
                .iter()
                .filter_map(|(key, value)| Some((snake(key), to_toml(value)?)))
                .collect(),
        ),
        Value::Null => return None,
    })
}

/// `allowDowngrade`, `allow_downgrade`: back from the walk's names.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Checks the texts below `node`: a daemon that cannot use its policy would
/// only say so in the host's journal.
fn check(translator: &mut Translator<'_>, node: &Node, path: &Path) {
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                check(translator, &entry.value, &path.key(&entry.key));
            }
        }
        Content::List(nodes) => {
            for (number, node) in nodes.iter().enumerate() {
                check(translator, node, &path.entry(number));
            }
        }
        Content::Scalar { text, .. } => {
            if let Some(message) = wrong(&path.yaml, text) {
                translator.error(node, path, message);
            }
        }
        Content::Null => {}
    }
}

/// What is wrong with `text` as the value of `key`.
fn wrong(key: &str, text: &str) -> Option<String> {
    let name = key.rsplit('.').next().unwrap_or_default();
    if LENGTHS.contains(&name) {
        return text.parse::<Length>().err().map(|error| error.to_string());
    }
    if let Some((_, words)) = WORDS.iter().find(|(of, _)| *of == key) {
        let known = words.contains(&text);
        return (!known).then(|| format!("expected {}, found {text:?}", words.join(", ")));
    }
    let day = |text: &str| {
        let short = text.get(..3).unwrap_or_default().to_ascii_lowercase();
        DAYS.contains(&short.as_str())
    };
    match key {
        "update.wave" if !matches!(text.parse(), Ok(0..=100_u8)) => {
            Some(format!("expected a number from 0 to 100, found {text:?}"))
        }
        "update.server" if !is_server(text) => Some(format!(
            "expected an address of http, https or file, or an absolute path, found {text:?}"
        )),
        "update.ca" if !text.starts_with('/') => Some(format!(
            "expected an absolute path on the host, found {text:?}"
        )),
        _ if name == "start" && !is_time(text) => Some(format!(
            "expected a time of day such as 02:30, found {text:?}"
        )),
        _ if key.contains(".days.") && !day(text) => {
            Some(format!("expected a day such as Mon, found {text:?}"))
        }
        _ => None,
    }
}

fn is_server(text: &str) -> bool {
    let schemes = ["http://", "https://", "file://", "/"];
    schemes.iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty())
    })
}

fn is_time(text: &str) -> bool {
    let Some((hours, minutes)) = text.split_once(':') else {
        return false;
    };
    let below = |text: &str, limit: u8| {
        text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < limit)
    };
    below(hours, 24) && below(minutes, 60)
}
