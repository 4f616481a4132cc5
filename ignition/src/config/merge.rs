//! Merging a child config into its parent, by upstream's rules
//! (Ignition's operator notes, "Config Merging"):
//!
//! - objects merge key by key; of plain values the child's wins, if it has one;
//! - lists of things with an identity (files by path, users by name, …) merge
//!   entry by entry, new ones are appended in order;
//! - files, directories and links share one identity space: a child's link
//!   replaces a parent's file of the same path. So do the two lists of
//!   kernel arguments;
//! - lists of arguments and of fragments (`append`, `options`, …) are joined;
//! - a child's HTTP header without a value removes the parent's.
//!
//! The rules work on JSON values, because they are about the spec's shape:
//! one table of identities here stands for a function per type.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Config;

type Object = Map<String, Value>;

/// Lists whose entries have no identity.
const JOINED: [&str; 4] = ["append", "options", "mountOptions", "openOptions"];

/// Lists of one object that share one identity space.
const SHARED: [&[&str]; 2] = [
    &["files", "directories", "links"],
    &["shouldExist", "shouldNotExist"],
];

/// `parent` with `child` merged into it.
///
/// Fails only if a config cannot be represented in JSON.
pub fn merge(parent: &Config, child: &Config) -> Result<Config, serde_json::Error> {
    let parent = serde_json::to_value(parent)?;
    let child = serde_json::to_value(child)?;
    serde_json::from_value(merge_values(&parent, &child))
}

fn merge_values(parent: &Value, child: &Value) -> Value {
    match (parent, child) {
        (Value::Object(parent), Value::Object(child)) => {
            Value::Object(merge_objects(parent, child))
        }
        (parent, Value::Null) => parent.clone(),
        (_, child) => child.clone(),
    }
}

fn merge_objects(parent: &Object, child: &Object) -> Object {
    let names: BTreeSet<&String> = parent.keys().chain(child.keys()).collect();
    let mut merged = Object::new();
    for name in names {
        let ours = parent.get(name).unwrap_or(&Value::Null);
        let theirs = child.get(name).unwrap_or(&Value::Null);
        let value = match (ours, theirs) {
            (Value::Array(ours), Value::Array(theirs)) => merge_lists(name, ours, theirs, child),
            (Value::Array(ours), Value::Null) => merge_lists(name, ours, &[], child),
            (ours, theirs) => merge_values(ours, theirs),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

fn merge_lists(name: &str, ours: &[Value], theirs: &[Value], child: &Object) -> Value {
    if JOINED.contains(&name) {
        return ours.iter().chain(theirs).cloned().collect();
    }
    let by_key: BTreeMap<String, &Value> = theirs
        .iter()
        .map(|entry| (identity(name, entry), entry))
        .collect();
    let elsewhere = identities_elsewhere(name, child);
    let mut merged = Vec::new();
    for entry in ours {
        let key = identity(name, entry);
        match by_key.get(&key) {
            Some(new) if name == "httpHeaders" && new["value"].is_null() => {}
            Some(new) => merged.push(merge_values(entry, new)),
            None if elsewhere.contains(&key) => {}
            None => merged.push(entry.clone()),
        }
    }
    let known: BTreeSet<String> = ours.iter().map(|entry| identity(name, entry)).collect();
    let new = theirs
        .iter()
        .filter(|e| !known.contains(&identity(name, e)));
    merged.extend(new.cloned());
    Value::Array(merged)
}

/// Identities in the child's other lists of the same identity space.
fn identities_elsewhere(name: &str, child: &Object) -> BTreeSet<String> {
    let family = SHARED.iter().find(|family| family.contains(&name));
    let others = family
        .into_iter()
        .copied()
        .flatten()
        .filter(|n| **n != name);
    others
        .filter_map(|other| Some((other, child.get(*other)?.as_array()?)))
        .flat_map(|(other, entries)| entries.iter().map(move |e| identity(other, e)))
        .collect()
}

/// What makes an entry of the list `name` the same thing as another one.
pub(super) fn identity(name: &str, entry: &Value) -> String {
    let field = match name {
        "files" | "directories" | "links" => "path",
        "disks" | "filesystems" => "device",
        "merge" | "certificateAuthorities" => "source",
        "tang" => "url",
        "partitions" => return partition_identity(entry),
        _ => "name",
    };
    match entry {
        Value::Object(object) => match object.get(field) {
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The number if there is one, else the label.
fn partition_identity(entry: &Value) -> String {
    match entry["number"].as_i64() {
        Some(number) if number != 0 => format!("#{number}"),
        _ => entry["label"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::empty;
    use proptest::prelude::*;
    use serde_json::json;

    fn config(body: Value) -> Config {
        let mut full = body;
        full["ignition"]["version"] = json!("3.6.0");
        serde_json::from_value(full).unwrap()
    }

    fn merged(parent: Value, child: Value) -> Value {
        serde_json::to_value(merge(&config(parent), &config(child)).unwrap()).unwrap()
    }

    #[test]
    fn same_file_merges_key_by_key() {
        let out = merged(
            json!({"storage": {"files": [
                {"path": "/a", "mode": 384, "contents": {"source": "data:,old"}},
                {"path": "/keep"}]}}),
            json!({"storage": {"files": [
                {"path": "/new"},
                {"path": "/a", "contents": {"source": "data:,new"}}]}}),
        );
        let files = &out["storage"]["files"];
        assert_eq!(files[0]["path"], "/a");
        assert_eq!(files[0]["mode"], 384);
        assert_eq!(files[0]["contents"]["source"], "data:,new");
        assert_eq!(files[1]["path"], "/keep");
        assert_eq!(files[2]["path"], "/new");
    }

    #[test]
    fn child_link_replaces_parents_file() {
        let out = merged(
            json!({"storage": {"files": [{"path": "/a"}, {"path": "/b"}]}}),
            json!({"storage": {"links": [{"path": "/a", "target": "/t"}]}}),
        );
        assert_eq!(out["storage"]["files"].as_array().unwrap().len(), 1);
        assert_eq!(out["storage"]["files"][0]["path"], "/b");
        assert_eq!(out["storage"]["links"][0]["path"], "/a");
    }

    #[test]
    fn fragments_are_joined() {
        let file = |source: &str| {
            json!({"storage": {"files": [
                {"path": "/a", "append": [{"source": source}]}]}})
        };
        let out = merged(file("data:,1"), file("data:,1"));
        let append = out["storage"]["files"][0]["append"].as_array().unwrap();
        assert_eq!(append.len(), 2);
    }

    #[test]
    fn units_users_and_keys_merge_by_name() {
        let out = merged(
            json!({"systemd": {"units": [{"name": "a.service", "enabled": true,
                     "dropins": [{"name": "1.conf", "contents": "x"}]}]},
                   "passwd": {"users": [{"name": "u", "uid": 5, "sshAuthorizedKeys": ["k1"]}]}}),
            json!({"systemd": {"units": [{"name": "a.service", "enabled": false,
                     "dropins": [{"name": "2.conf", "contents": "y"}]}]},
                   "passwd": {"users": [{"name": "u", "sshAuthorizedKeys": ["k1", "k2"]}]}}),
        );
        let unit = &out["systemd"]["units"][0];
        assert_eq!(unit["enabled"], false);
        assert_eq!(unit["dropins"].as_array().unwrap().len(), 2);
        let user = &out["passwd"]["users"][0];
        assert_eq!(user["uid"], 5);
        assert_eq!(user["sshAuthorizedKeys"], json!(["k1", "k2"]));
    }

    #[test]
    fn header_without_value_removes_the_parents() {
        let file = |headers: Value| {
            json!({"storage": {"files": [{"path": "/a",
                "contents": {"source": "http://h/", "httpHeaders": headers}}]}})
        };
        let out = merged(
            file(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])),
            file(json!([{"name": "A"}, {"name": "C", "value": "3"}])),
        );
        assert_eq!(
            out["storage"]["files"][0]["contents"]["httpHeaders"],
            json!([{"name": "B", "value": "2"}, {"name": "C", "value": "3"}])
        );
    }

    #[test]
    fn kernel_arguments_move_between_lists() {
        let out = merged(
            json!({"kernelArguments": {"shouldExist": ["a", "b"]}}),
            json!({"kernelArguments": {"shouldNotExist": ["a"]}}),
        );
        assert_eq!(out["kernelArguments"]["shouldExist"], json!(["b"]));
        assert_eq!(out["kernelArguments"]["shouldNotExist"], json!(["a"]));
    }

    fn any_config() -> impl Strategy<Value = Config> {
        let path = "/[ab]{1,2}";
        let files = prop::collection::btree_map(path, prop::option::of(0_i64..0o7777), 0..4);
        let users = prop::collection::btree_map("[ab]", prop::option::of(0_i64..9), 0..3);
        let units = prop::collection::btree_map("[ab]", prop::option::of(any::<bool>()), 0..3);
        (files, users, units).prop_map(|(files, users, units)| {
            let pick = |(name, value): (String, Value), keys: [&str; 2]| {
                json!({keys[0]: name, keys[1]: value})
            };
            let each = |items: Vec<(String, Value)>, keys: [&str; 2]| -> Vec<Value> {
                items.into_iter().map(|item| pick(item, keys)).collect()
            };
            let plain = |map: BTreeMap<String, Option<i64>>| -> Vec<(String, Value)> {
                map.into_iter().map(|(k, v)| (k, json!(v))).collect()
            };
            let units = units.into_iter().map(|(k, v)| (k, json!(v))).collect();
            config(json!({
                "storage": {"files": each(plain(files), ["path", "mode"])},
                "passwd": {"users": each(plain(users), ["name", "uid"])},
                "systemd": {"units": each(units, ["name", "enabled"])},
            }))
        })
    }

    proptest! {
        #[test]
        fn the_empty_config_changes_nothing(x in any_config()) {
            prop_assert_eq!(&merge(&empty(), &x).unwrap(), &x);
            prop_assert_eq!(&merge(&x, &empty()).unwrap(), &x);
        }

        #[test]
        fn merging_twice_is_merging_once(x in any_config(), y in any_config()) {
            let once = merge(&x, &y).unwrap();
            prop_assert_eq!(&merge(&once, &y).unwrap(), &once);
        }

        #[test]
        fn order_of_grouping_does_not_matter(
            x in any_config(), y in any_config(), z in any_config(),
        ) {
            let left = merge(&merge(&x, &y).unwrap(), &z).unwrap();
            let right = merge(&x, &merge(&y, &z).unwrap()).unwrap();
            prop_assert_eq!(left, right);
        }
    }
}
