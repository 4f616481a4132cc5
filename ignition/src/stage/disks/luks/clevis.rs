//! Volumes that open by themselves where they belong: bound by clevis(1) to a TPM, to
//! tang servers, or to whatever its pins know.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::config::{Luks, Resource, Tang, filled, is_bound, list};

/// What a volume is bound with.
#[derive(Debug, PartialEq, Eq)]
pub struct Binding {
    pin: String,
    config: String,
    /// Whether enough pins can be tried at once.
    pub testable: bool,
    /// What may be wrong if binding fails.
    pub advice: Option<&'static str>,
}

/// A pin of its own may be for what is elsewhere, and only the config knows; as upstream
/// has it.
const OFFLINE: &str = "if this pin needs the network, set needsNetwork in clevis.custom";

/// The variable that names the authorities which curl(1), that clevis asks servers with,
/// trusts.
pub const AUTHORITIES: &str = "CURL_CA_BUNDLE";

/// What `wanted` is to be bound with, as upstream has it: several pins, of which
/// `threshold` suffice, or one of its own.
pub fn binding(wanted: &Luks) -> Option<Binding> {
    let clevis = wanted.clevis.as_ref().filter(|_| is_bound(wanted))?;
    let custom = clevis.custom.as_ref();
    if let Some(pin) = custom.and_then(|custom| filled(custom.pin.as_ref())) {
        let config = custom.and_then(|custom| filled(custom.config.as_ref()));
        let offline = custom.is_some_and(|custom| custom.needs_network != Some(true));
        return Some(Binding {
            pin: pin.to_owned(),
            config: config.unwrap_or("{}").to_owned(),
            testable: false,
            advice: offline.then_some(OFFLINE),
        });
    }
    let servers = list(clevis.tang.as_ref());
    let mut pins = Map::new();
    if !servers.is_empty() {
        pins.insert("tang".to_owned(), servers.iter().map(server).collect());
    }
    let tpm2 = clevis.tpm2 == Some(true);
    if tpm2 {
        pins.insert("tpm2".to_owned(), json!({}));
    }
    let threshold = clevis
        .threshold
        .filter(|threshold| *threshold > 0)
        .unwrap_or(1);
    let present = servers
        .iter()
        .filter(|server| !is_advertised(server))
        .count();
    let present = present + usize::from(tpm2);
    Some(Binding {
        pin: "sss".to_owned(),
        config: json!({"pins": pins, "t": threshold}).to_string(),
        testable: usize::try_from(threshold).is_ok_and(|threshold| present >= threshold),
        advice: None,
    })
}

fn server(tang: &Tang) -> Value {
    let mut server = Map::new();
    server.insert("url".to_owned(), json!(tang.url));
    if let Some(thumbprint) = filled(tang.thumbprint.as_ref()) {
        server.insert("thp".to_owned(), json!(thumbprint));
    }
    let advertisement = filled(tang.advertisement.as_ref());
    if let Some(Ok(value)) = advertisement.map(serde_json::from_str::<Value>) {
        server.insert("adv".to_owned(), value);
    }
    Value::Object(server)
}

/// Whether the server need not be there yet: the config says what it would.
pub fn is_advertised(tang: &Tang) -> bool {
    filled(tang.advertisement.as_ref()).is_some()
}

/// What must be there for `wanted` to be bound: what the servers say of themselves.
pub fn advertisements(wanted: &Luks) -> impl Iterator<Item = Resource> {
    let clevis = wanted.clevis.as_ref();
    let servers = list(clevis.and_then(|clevis| clevis.tang.as_ref())).iter();
    servers
        .filter(|server| !is_advertised(server))
        .map(|server| {
            let url = server.url.as_deref().unwrap_or_default();
            let source = format!("{}/adv", url.trim_end_matches('/'));
            Resource {
                source: Some(source),
                ..Resource::default()
            }
        })
}

/// What binds the volume on `device`, which the key in the file `key` opens.
pub fn bind(binding: &Binding, device: &str, key: &Path) -> Vec<String> {
    let key = key.display().to_string();
    [
        "luks",
        "bind",
        "-f",
        "-k",
        &key,
        "-d",
        device,
        &binding.pin,
        &binding.config,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What opens a volume that is bound.
pub fn unlock(device: &str, name: &str) -> Vec<String> {
    ["luks", "unlock", "-d", device, "-n", name]
        .map(str::to_owned)
        .to_vec()
}

/// What takes a key, which comes through standard input, away from a volume.
pub fn removal(device: &str) -> Vec<String> {
    ["luksRemoveKey", "--batch-mode", "--key-file", "-", device]
        .map(str::to_owned)
        .to_vec()
}

/// A file that only this user can read; gone when this value is. clevis takes keys of any
/// bytes from files only, and curl authorities.
#[derive(Debug)]
pub struct PassingFile(PathBuf);

impl PassingFile {
    /// Writes `bytes` to the file `name` in `directory`, which is in memory.
    pub fn new(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<Self> {
        let path = directory.join(name);
        // One that a killed attempt left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let kept = Self(path);
        file.write_all(bytes)?;
        Ok(kept)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PassingFile {
    fn drop(&mut self) {
        // Left behind, it is in memory, and readable by root only.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn luks(clevis: Value) -> Luks {
        let luks = json!({"name": "safe", "device": "/dev/vdb", "clevis": clevis});
        serde_json::from_value(luks).unwrap()
    }

    fn bound(clevis: Value) -> (String, Value, bool) {
        let binding = binding(&luks(clevis)).unwrap();
        let config = serde_json::from_str(&binding.config).unwrap();
        (binding.pin, config, binding.testable)
    }

    #[test]
    fn pins_are_shared_as_upstream_shares_them() {
        let (pin, config, testable) = bound(json!({"tpm2": true}));
        assert_eq!((pin.as_str(), testable), ("sss", true));
        assert_eq!(config, json!({"pins": {"tpm2": {}}, "t": 1}));
        let tang = json!([{"url": "http://a", "thumbprint": "x"},
            {"url": "http://b", "thumbprint": "y", "advertisement": "{\"payload\": \"p\"}"}]);
        let (_, config, testable) = bound(json!({"tang": tang, "threshold": 2}));
        let servers = json!([{"url": "http://a", "thp": "x"},
            {"url": "http://b", "thp": "y", "adv": {"payload": "p"}}]);
        assert_eq!(config, json!({"pins": {"tang": servers}, "t": 2}));
        assert!(!testable, "the second server need not be there yet");
        let (_, _, testable) = bound(json!({"tang": tang, "tpm2": true, "threshold": 2}));
        assert!(testable);
        let custom = json!({"pin": "tpm2", "config": "{\"pcr_ids\": \"7\"}"});
        let (pin, config, testable) = bound(json!({"custom": custom}));
        assert_eq!((pin.as_str(), testable), ("tpm2", false));
        let advice = |custom: Value| binding(&luks(json!({"custom": custom}))).unwrap().advice;
        assert_eq!(advice(custom.clone()), Some(OFFLINE));
        assert_eq!(advice(json!({"pin": "tang", "needsNetwork": true})), None);
        assert_eq!(config, json!({"pcr_ids": "7"}));
        assert_eq!(binding(&luks(json!({"tpm2": false, "threshold": 1}))), None);
    }

    #[test]
    fn arguments_are_those_of_upstream() {
        let binding = Binding {
            pin: "sss".to_owned(),
            config: "{}".to_owned(),
            testable: true,
            advice: None,
        };
        assert_eq!(
            bind(&binding, "/dev/vdb", Path::new("/run/k")).join(" "),
            "luks bind -f -k /run/k -d /dev/vdb sss {}"
        );
        assert_eq!(
            unlock("/dev/vdb", "safe").join(" "),
            "luks unlock -d /dev/vdb -n safe"
        );
        assert_eq!(
            removal("/dev/vdb").join(" "),
            "luksRemoveKey --batch-mode --key-file - /dev/vdb"
        );
    }

    #[test]
    fn servers_are_asked_unless_the_config_has_their_answer() {
        let tang = json!([{"url": "http://a/", "thumbprint": "x"},
            {"url": "http://b", "thumbprint": "y", "advertisement": "{}"}]);
        let wanted = luks(json!({"tang": tang}));
        let asked: Vec<_> = advertisements(&wanted).map(|r| r.source.unwrap()).collect();
        assert_eq!(asked, ["http://a/adv"]);
    }

    #[test]
    fn a_key_in_a_file_is_for_its_user_only_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("luks.key"), "left").unwrap();
        let file = PassingFile::new(directory.path(), "luks.key", b"se\0cret").unwrap();
        let path = file.path().to_owned();
        assert_eq!(fs::read(&path).unwrap(), b"se\0cret");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
