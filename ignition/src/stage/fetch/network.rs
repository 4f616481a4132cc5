//! What later stages need the network for.

use crate::config::{Config, filled, list};
use crate::fetch::needs_network;

/// The first key of the config that a later stage will need the network for.
pub fn needed(config: &Config) -> Option<String> {
    keys_over_network(config).or_else(|| files_over_network(config))
}

/// The first key of the config that the files stage will need the network for.
fn files_over_network(config: &Config) -> Option<String> {
    let files = list(config.storage.as_ref()?.files.as_ref());
    files.iter().enumerate().find_map(|(number, file)| {
        let mut resources = file.contents.iter().chain(list(file.append.as_ref()));
        resources
            .any(needs_network)
            .then(|| format!("storage.files.{number} ({})", file.path))
    })
}

/// The first volume of the config whose key, or what binds it, is elsewhere.
fn keys_over_network(config: &Config) -> Option<String> {
    let volumes = list(config.storage.as_ref()?.luks.as_ref());
    let mut volumes = volumes.iter().enumerate();
    volumes.find_map(|(number, one)| {
        let key = one.key_file.as_ref();
        let clevis = one.clevis.as_ref();
        let servers = list(clevis.and_then(|clevis| clevis.tang.as_ref()));
        let custom = clevis.and_then(|clevis| clevis.custom.as_ref());
        let needed = key.is_some_and(needs_network)
            || servers
                .iter()
                .any(|tang| filled(tang.advertisement.as_ref()).is_none())
            || custom.is_some_and(|custom| custom.needs_network == Some(true));
        needed.then(|| format!("storage.luks.{number} ({})", one.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(storage: Value) -> Option<String> {
        let config = json!({"ignition": {"version": "3.6.0"}, "storage": storage});
        needed(&serde_json::from_value(config).unwrap())
    }

    fn volume(more: Value) -> Value {
        let mut volume = more;
        volume["name"] = json!("safe");
        volume["device"] = json!("/dev/a");
        json!({"luks": [volume]})
    }

    #[test]
    fn what_is_elsewhere_needs_the_network() {
        let tang = |more: Value| {
            let mut tang = more;
            tang["url"] = json!("http://t");
            tang["thumbprint"] = json!("x");
            json!({"clevis": {"tang": [tang]}})
        };
        let custom = json!({"pin": "tang", "config": "{}", "needsNetwork": true});
        for body in [
            json!({"keyFile": {"source": "https://h/k"}}),
            tang(json!({})),
            json!({"clevis": {"custom": custom}}),
        ] {
            assert_eq!(asked(volume(body)).unwrap(), "storage.luks.0 (safe)");
        }
        let file = json!({"path": "/a", "contents": {"source": "tftp://h/a"}});
        assert_eq!(
            asked(json!({"files": [file]})).unwrap(),
            "storage.files.0 (/a)"
        );
        for body in [
            json!({"keyFile": {"source": "data:,k"}}),
            json!({"clevis": {"tpm2": true}}),
            tang(json!({"advertisement": "{}"})),
        ] {
            assert_eq!(asked(volume(body)), None);
        }
    }
}
