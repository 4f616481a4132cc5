//! Repositories for these tests: signed with keys that are made on the spot, right by
//! default, wrong where a test says so.
//!
//! Metadata is written as plain JSON, not through the types of the client, so that
//! both sides do not share a mistake.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jiff::{Span, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::release::build;

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A time so many hours from now; may be negative.
pub fn hours(hours: i64) -> Timestamp {
    Timestamp::now() + Span::new().hours(hours)
}

pub struct Key(Ed25519KeyPair);

impl Key {
    pub fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn public(&self) -> Value {
        json!({
            "keytype": "ed25519",
            "scheme": "ed25519",
            "keyval": {"public": hex(self.0.public_key().as_ref())},
        })
    }

    fn id(&self) -> String {
        sha256(&canonical(&self.public()))
    }
}

/// Canonical JSON; for text without special characters and whole numbers it is what
/// `serde_json` writes, with keys in order.
fn canonical(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Who signs, and how many must.
pub struct Role {
    pub keys: Vec<Key>,
    pub threshold: usize,
    /// How many of the keys are used; all by default.
    pub signers: usize,
    /// How often each of them signs; once by default.
    pub repeat: usize,
    pub version: u64,
    pub expires: Timestamp,
}

impl Role {
    fn new(keys: usize, threshold: usize, expires: Timestamp) -> Self {
        Self {
            keys: (0..keys).map(|_| Key::new()).collect(),
            threshold,
            signers: keys,
            repeat: 1,
            version: 1,
            expires,
        }
    }

    fn listed(&self) -> Value {
        let ids: Vec<_> = self.keys.iter().map(Key::id).collect();
        json!({"keyids": ids, "threshold": self.threshold})
    }

    fn head(&self, kind: &str) -> Value {
        let expires = self.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({
            "_type": kind,
            "spec_version": "1.0.0",
            "version": self.version,
            "expires": expires,
        })
    }

    fn signers(&self) -> impl Iterator<Item = &Key> {
        let once = self.keys.iter().take(self.signers);
        once.flat_map(|key| std::iter::repeat_n(key, self.repeat))
    }
}

/// `signed` with signatures around it.
pub fn sign<'a>(signed: &Value, keys: impl Iterator<Item = &'a Key>) -> Vec<u8> {
    let bytes = canonical(signed);
    let signatures: Vec<_> = keys
        .map(|key| json!({"keyid": key.id(), "sig": hex(key.0.sign(&bytes).as_ref())}))
        .collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
}

fn with(mut head: Value, key: &str, value: Value) -> Value {
    head[key] = value;
    head
}

/// A repository and those who sign it. Thresholds are 2 of 3 for root and targets, 1 of
/// 1 for snapshot and timestamp.
pub struct Repository {
    pub root: Role,
    pub targets: Role,
    pub snapshot: Role,
    pub timestamp: Role,
    /// Length of `targets.json` that the snapshot names, if it is not the true one.
    pub targets_length: Option<u64>,
    /// Content of targets, by name.
    pub content: BTreeMap<String, Vec<u8>>,
    /// Every file that was ever published, as a web server has them.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// An empty repository; [`Repository::publish`] writes its files.
    pub fn new() -> Self {
        let mut new = Self {
            root: Role::new(3, 2, hours(24 * 365)),
            targets: Role::new(3, 2, hours(24 * 90)),
            snapshot: Role::new(1, 1, hours(24 * 7)),
            timestamp: Role::new(1, 1, hours(24)),
            targets_length: None,
            content: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        new.write_root(&[]);
        new
    }

    /// The root that the files begin with.
    pub fn first_root(&self) -> Vec<u8> {
        self.files["metadata/1.root.json"].clone()
    }

    /// Writes the root, signed also by `old` keys.
    pub fn write_root(&mut self, old: &[Key]) {
        let mut keys = json!({});
        let roles = [&self.root, &self.targets, &self.snapshot, &self.timestamp];
        for key in roles.iter().flat_map(|role| &role.keys) {
            keys[key.id()] = key.public();
        }
        let mut root = with(self.root.head("root"), "keys", keys);
        root["consistent_snapshot"] = json!(true);
        root["roles"] = json!({
            "root": self.root.listed(),
            "targets": self.targets.listed(),
            "snapshot": self.snapshot.listed(),
            "timestamp": self.timestamp.listed(),
        });
        let signed = sign(&root, self.root.signers().chain(old));
        let name = format!("metadata/{}.root.json", self.root.version);
        self.files.insert(name, signed);
    }

    /// A new root with the same keys of the root role, and what else was changed.
    pub fn next_root(&mut self) {
        self.root.version += 1;
        self.write_root(&[]);
    }

    /// A new root with new keys of every role, signed by the old keys of root too,
    /// which are returned.
    pub fn rotate(&mut self) -> Vec<Key> {
        let fresh = Role::new(3, 2, self.root.expires);
        let old = std::mem::replace(&mut self.root.keys, fresh.keys);
        self.targets.keys = Role::new(3, 2, self.targets.expires).keys;
        self.snapshot.keys = vec![Key::new()];
        self.timestamp.keys = vec![Key::new()];
        self.root.version += 1;
        self.write_root(&old);
        old
    }

    /// Puts a target into the next state that is published.
    pub fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.content.insert(name.to_string(), content.into());
    }

    /// Publishes the next state.
    pub fn publish(&mut self) {
        self.targets.version += 1;
        self.snapshot.version += 1;
        self.timestamp.version += 1;
        self.write();
    }

    /// Writes the state with the versions that it has.
    pub fn write(&mut self) {
        let mut listed = json!({});
        for (name, content) in &self.content {
            let hash = sha256(content);
            listed[name] = json!({"length": content.len(), "hashes": {"sha256": hash}});
            let file = match name.rsplit_once('/') {
                Some((dir, file)) => format!("targets/{dir}/{hash}.{file}"),
                None => format!("targets/{hash}.{name}"),
            };
            self.files.insert(file, content.clone());
        }
        let targets = with(self.targets.head("targets"), "targets", listed);
        let targets = sign(&targets, self.targets.signers());
        let mut described_targets = described(self.targets.version, &targets);
        if let Some(length) = self.targets_length {
            described_targets["length"] = json!(length);
        }
        let meta = json!({"targets.json": described_targets});
        let snapshot = with(self.snapshot.head("snapshot"), "meta", meta);
        let snapshot = sign(&snapshot, self.snapshot.signers());
        let meta = json!({"snapshot.json": described(self.snapshot.version, &snapshot)});
        let timestamp = with(self.timestamp.head("timestamp"), "meta", meta);
        let timestamp = sign(&timestamp, self.timestamp.signers());
        let mut file = |name: String, content| self.files.insert(name, content);
        file(
            format!("metadata/{}.targets.json", self.targets.version),
            targets,
        );
        file(
            format!("metadata/{}.snapshot.json", self.snapshot.version),
            snapshot,
        );
        file("metadata/timestamp.json".into(), timestamp);
    }

    /// Name of the file of a target.
    pub fn file_of(&self, target: &str) -> String {
        let hash = sha256(&self.content[target]);
        let (dir, file) = target.rsplit_once('/').unwrap();
        format!("targets/{dir}/{hash}.{file}")
    }

    /// Writes all files below a directory.
    pub fn store(&self, dir: &Path) {
        for (name, content) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// All files as a tar.
    pub fn archive(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, content.as_slice())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A channel, and the release in it.
    pub fn add_release(&mut self, channel: &str, version: &str) {
        let built = build(version);
        let release = format!("releases/{version}");
        self.add(&format!("{release}/usr.verity"), built.tree);
        self.add(&format!("{release}/usr.zst"), built.usr_file);
        self.add(&format!("{release}/boot.zst"), built.boot_file);
        let descriptor = serde_json::to_vec(&built.descriptor).unwrap();
        self.add(&format!("{release}/release.json"), descriptor);
        let content = json!({"schema": 1, "channel": channel, "release": version});
        self.add(&format!("channels/{channel}.json"), content.to_string());
    }
}

fn described(version: u64, file: &[u8]) -> Value {
    json!({"version": version, "length": file.len(), "hashes": {"sha256": sha256(file)}})
}
