//! `update:` and `reboot:`: a fragment of the host's policy.

use std::fmt::Display;
use std::str::FromStr;

use daemon::policy::reboot::{
    Day, Endpoint, FilePath, Group, LONGEST, NEEDS, PAIRS, Patience, ServerAddress, Strategy,
    Threshold, TimeOfDay, UserName, Zone,
};
use daemon::policy::{Grace, Length};
use serde_json::{Value, json};

use crate::tools::yaml::{Content, Node};

use super::resource::written;
use super::shape::{self, Kind};
use super::value::Path;
use super::{Translator, list_in};

/// The fragment. Operators' own may come before and after it.
const FRAGMENT: &str = "/etc/ballast/config.d/50-provisioned.toml";

const SECTIONS: [(&str, Kind); 2] = [("reboot", shape::REBOOT), ("update", shape::UPDATE)];

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
    check_windows(translator, reboot, path);
    let strategy = reboot.get("strategy").and_then(Node::text);
    for (of, section, needs) in NEEDS {
        let section_path = path.key(section);
        let given = reboot.get(section);
        let filled = given
            .and_then(|given| given.get(needs))
            .is_some_and(|node| !node.is_empty());
        if (strategy == Some(of.as_str()) || given.is_some()) && !filled {
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

/// Checks that windows say when they begin and how long they are, and that they are not
/// too long.
fn check_windows(translator: &mut Translator<'_>, reboot: &Node, path: &Path) {
    let windows = reboot.get("windows").map(|windows| &windows.content);
    let Some(Content::List(windows)) = windows else {
        return;
    };
    for (number, window) in windows.iter().enumerate() {
        let path = path.key("windows").entry(number);
        for key in ["start", "length"] {
            if window.get(key).is_none() {
                let message = format!("a window needs {key}");
                translator.error(window, &path, message);
            }
        }
        let length = window.get("length").and_then(Node::text);
        let length = length.and_then(|text| text.parse::<Length>().ok());
        if length.is_some_and(|length| length > LONGEST) {
            let message = "a window is a week long at most".to_owned();
            translator.error(window, &path.key("length"), message);
        }
    }
}

/// What is wrong with `text` as the value of `key`. What is known to the daemons' own
/// types is asked of them.
fn wrong(key: &str, text: &str) -> Option<String> {
    let (section, name) = key.rsplit_once('.').unwrap_or_default();
    match (section, name) {
        ("reboot", "login_grace") => is::<Grace>(text),
        ("update", "poll") | ("reboot", "drain_deadline") => is::<Length>(text),
        ("update", "reboot") if !matches!(text, "off" | "immediately") => {
            Some(format!("expected off or immediately, found {text:?}"))
        }
        ("update", "wave") if !matches!(text.parse(), Ok(0..=100_u8)) => {
            Some(format!("expected a number from 0 to 100, found {text:?}"))
        }
        ("update", "server") if !is_server(text) => Some(format!(
            "expected an address of http, https or file, or an absolute path, found {text:?}"
        )),
        ("update", "ca") => is::<FilePath>(text),
        ("reboot", "strategy") => is::<Strategy>(text),
        ("reboot.etcd", "brake_threshold") => is::<Threshold>(text),
        ("reboot.etcd", "expire_after") => is::<Length>(text).or_else(|| {
            text.parse()
                .ok()
                .and_then(|long: Length| told(Patience::try_from(long)))
        }),
        ("reboot.etcd", "user") => is::<UserName>(text),
        ("reboot.etcd" | "reboot.fleet_lock", "group") => is::<Group>(text),
        ("reboot.etcd" | "reboot.fleet_lock", "ca" | "certificate" | "key" | "password_file") => {
            is::<FilePath>(text)
        }
        ("reboot.etcd.endpoints", _) => is::<Endpoint>(text),
        ("reboot.fleet_lock", "url") => is::<ServerAddress>(text),
        (list, _) if list.ends_with(".days") => is::<Day>(text),
        (window, "start") if is_window(window) => is::<TimeOfDay>(text),
        (window, "length") if is_window(window) => is::<Length>(text),
        (window, "time_zone") if is_window(window) => is::<Zone>(text),
        _ => None,
    }
}

/// Why `text` is no `T`, if it is none.
fn is<T: FromStr<Err: Display>>(text: &str) -> Option<String> {
    told(text.parse::<T>())
}

fn told<T, E: Display>(result: Result<T, E>) -> Option<String> {
    result.err().map(|error| error.to_string())
}

/// Whether `section` is one of the windows.
fn is_window(section: &str) -> bool {
    section.starts_with("reboot.windows.")
}

fn is_server(text: &str) -> bool {
    let schemes = ["http://", "https://", "file://", "/"];
    schemes.iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use daemon::policy::reboot::{Etcd, FleetLock, Reboot, Window};
    use daemon::policy::schema::keys;

    use super::super::shape::{Kind, Shape};
    use super::*;

    /// Names of the keys of `shape`, and of the maps below it.
    fn names(shape: &Shape) -> Vec<&'static str> {
        let mut names: Vec<_> = shape.fields.iter().map(|field| field.name).collect();
        names.sort_unstable();
        names
    }

    fn sorted(keys: &[&'static str], more: &[&'static str]) -> Vec<&'static str> {
        let mut keys = [keys, more].concat();
        keys.sort_unstable();
        keys
    }

    /// The map that is the value of `name`, or of what is in the list there.
    fn below(shape: &Shape, name: &str) -> &'static Shape {
        let field = shape.fields.iter().find(|field| field.name == name);
        match field.unwrap().kind {
            Kind::Map(shape) | Kind::List(&Kind::Map(shape)) => shape,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn the_keys_are_those_that_the_daemon_has() {
        let Kind::Map(reboot) = shape::REBOOT else {
            panic!("no map");
        };
        let sections = ["etcd", "fleet_lock"];
        assert_eq!(names(reboot), sorted(keys::<Reboot>(), &sections));
        assert_eq!(names(below(reboot, "etcd")), sorted(keys::<Etcd>(), &[]));
        let fleet_lock = below(reboot, "fleet_lock");
        assert_eq!(names(fleet_lock), sorted(keys::<FleetLock>(), &[]));
        assert_eq!(
            names(below(reboot, "windows")),
            sorted(keys::<Window>(), &[])
        );
    }
}
