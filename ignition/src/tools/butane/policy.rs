//! `update:` and `reboot:`: a fragment of the host's policy.

use daemon::policy::Length;
use serde_json::{Value, json};

use crate::fetch::Source;
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

/// Sections of `reboot` and what their strategy cannot do without.
const LOCKS: [(&str, &str, &str); 2] = [
    ("etcd-lock", "etcd", "endpoints"),
    ("fleet-lock", "fleet_lock", "url"),
];

/// Keys of `reboot.etcd` that go together.
const PAIRS: [(&str, &str); 2] = [("certificate", "key"), ("user", "password_file")];

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
        if name == "reboot" {
            check_locks(translator, node, &path);
        }
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

/// Checks what the keys of `reboot` mean for each other.
fn check_locks(translator: &mut Translator<'_>, reboot: &Node, path: &Path) {
    let strategy = reboot.get("strategy").and_then(Node::text);
    for (of, section, needs) in LOCKS {
        let section_path = path.key(section);
        let given = reboot.get(section);
        let filled = given
            .and_then(|given| given.get(needs))
            .is_some_and(|node| !node.is_empty());
        if (strategy == Some(of) || given.is_some()) && !filled {
            let message = format!("the strategy {of} needs reboot.{section}.{needs}");
            translator.error(given.unwrap_or(reboot), &section_path, message);
        }
    }
    let Some(etcd) = reboot.get("etcd") else {
        return;
    };
    for (one, other) in PAIRS {
        for (has, lacks) in [(one, other), (other, one)] {
            if let (Some(node), None) = (etcd.get(has), etcd.get(lacks)) {
                let message = format!("{has} needs {lacks} beside it");
                translator.error(node, &path.key("etcd").key(has), message);
            }
        }
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
        _ if is_path_of(key) && !text.starts_with('/') => Some(format!(
            "expected an absolute path on the host, found {text:?}"
        )),
        "reboot.fleet_lock.url" if !is_http(text) => Some(format!(
            "expected an address of http or https, found {text:?}"
        )),
        _ if key.starts_with("reboot.etcd.endpoints.") && !is_http(text) => Some(format!(
            "expected an address such as https://10.0.0.1:2379, found {text:?}"
        )),
        _ if name == "group" && !is_group(text) => Some(format!(
            "expected letters, digits, dots and dashes, found {text:?}"
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

/// Whether the value of `key` is a file on the host.
fn is_path_of(key: &str) -> bool {
    let files = ["ca", "certificate", "key", "password_file"];
    let sections = ["update.", "reboot.etcd.", "reboot.fleet_lock."];
    sections.iter().any(|section| {
        key.strip_prefix(section)
            .is_some_and(|name| files.contains(&name))
    })
}

fn is_http(text: &str) -> bool {
    matches!(Source::parse(text), Ok(Source::Http(_)))
}

/// As the FleetLock protocol has groups.
fn is_group(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    !text.is_empty() && text.chars().all(plain)
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
