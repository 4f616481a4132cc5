//! What the spec has and this program does not do yet. Such keys are refused
//! by name, before anything is written; they are never ignored.

use super::place::{Locate, Problem};
use super::{Config, Luks, filled, list};

/// The keys of `config` that ask for something not implemented.
pub fn unsupported(config: &Config, at: &dyn Locate) -> Vec<Problem> {
    let mut keys = Vec::new();
    let storage = config.storage.as_ref();
    let volumes = list(storage.and_then(|s| s.luks.as_ref())).iter();
    for (index, one) in volumes.enumerate() {
        if one
            .cex
            .as_ref()
            .is_some_and(|cex| cex.enabled == Some(true))
        {
            keys.push(format!("storage.luks.{index}.cex"));
        }
    }
    let refused = keys.iter().map(|key| Problem {
        place: at.place(key),
        message: format!(
            "{key} is not implemented in this version; \
             remove it, or provision with a version that has it"
        ),
    });
    let refused = refused.chain(linear_arrays(config, at));
    let refused = refused.chain(volumes_of_the_system(config, at));
    refused.chain(mounts_over_the_system(config, at)).collect()
}

/// The root is made by the running system, before there is a config; `/usr` is mapped
/// under its name.
fn volumes_of_the_system(config: &Config, at: &dyn Locate) -> Vec<Problem> {
    let storage = config.storage.as_ref();
    let volumes = list(storage.and_then(|s| s.luks.as_ref()))
        .iter()
        .enumerate();
    let problem = |(index, one): (usize, &Luks)| {
        let (key, message) = if one.device.as_deref() == Some("/dev/disk/by-partlabel/root") {
            let message = "encrypting root is not implemented in this version; encrypt a partition \
                           of its own, and mount it where the data is (/var/lib/…)";
            ("device", message)
        } else if one.name == "usr" {
            let message = "another volume of the name \"usr\" is not implemented in this version: \
                           it is the release's; give another name";
            ("name", message)
        } else {
            return None;
        };
        let place = at.place(&format!("storage.luks.{index}.{key}"));
        let message = message.to_owned();
        Some(Problem { place, message })
    };
    volumes.filter_map(problem).collect()
}

/// The kernel of the release has no driver for this level.
fn linear_arrays(config: &Config, at: &dyn Locate) -> Vec<Problem> {
    let storage = config.storage.as_ref();
    let arrays = list(storage.and_then(|s| s.raid.as_ref())).iter();
    let linear = arrays
        .enumerate()
        .filter(|(_, raid)| raid.level.as_deref() == Some("linear"));
    let problem = |(index, _)| Problem {
        place: at.place(&format!("storage.raid.{index}.level")),
        message: "the level linear is not implemented in this version: its kernel does not have \
                  it; use raid0, or a btrfs over several devices"
            .to_owned(),
    };
    linear.map(problem).collect()
}

/// The root is the one that the running system made; `/usr` is verified, and
/// `/etc` lies over it.
fn mounts_over_the_system(config: &Config, at: &dyn Locate) -> Vec<Problem> {
    let storage = config.storage.as_ref();
    let filesystems = list(storage.and_then(|s| s.filesystems.as_ref()));
    let paths = filesystems.iter().enumerate().filter_map(|(index, one)| {
        let path = filled(one.path.as_ref()).filter(|path| of_system(path))?;
        Some((format!("storage.filesystems.{index}.path"), path))
    });
    let problem = |(key, path): (String, &str)| Problem {
        place: at.place(&key),
        message: format!(
            "a file system of its own at {path:?} is not implemented in this version: \
             /, /usr and /etc belong to the release; mount it at another path"
        ),
    };
    paths.map(problem).collect()
}

fn of_system(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    matches!(parts.next(), None | Some("usr" | "etc"))
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn refusals(body: &str) -> Vec<String> {
        let text = format!("{{\"ignition\": {{\"version\": \"3.6.0\"}},\n{body}}}");
        parse("t", text.as_bytes())
            .unwrap_err()
            .0
            .iter()
            .map(|problem| format!("{} {}", problem.place.key, problem.message))
            .collect()
    }

    #[test]
    fn every_missing_feature_is_refused_by_name() {
        for (body, key) in [
            (
                r#""storage": {"raid": [{"name": "a", "level": "linear", "devices": ["/dev/a"]}]}"#,
                "storage.raid.0.level",
            ),
            (
                r#""storage": {"luks": [{"name": "a", "device": "/dev/a", "cex": {"enabled": true}}]}"#,
                "storage.luks.0.cex",
            ),
            (
                r#""storage": {"luks": [{"name": "a", "device": "/dev/disk/by-partlabel/root"}]}"#,
                "storage.luks.0.device",
            ),
            (
                r#""storage": {"luks": [{"name": "usr", "device": "/dev/a"}]}"#,
                "storage.luks.0.name",
            ),
            (
                r#""storage": {"filesystems": [{"device": "/dev/a", "format": "ext4", "path": "/"}]}"#,
                "storage.filesystems.0.path",
            ),
            (
                r#""storage": {"filesystems": [{"device": "/dev/a", "format": "ext4", "path": "/etc/x"}]}"#,
                "storage.filesystems.0.path",
            ),
        ] {
            let found = refusals(body);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(key), "{found:?}");
            assert!(found[0].contains("not implemented"), "{found:?}");
        }
    }

    #[test]
    fn empty_sections_are_no_request() {
        let text = br#"{"ignition": {"version": "3.6.0"},
            "storage": {"luks": [], "raid": []}, "kernelArguments": {"shouldExist": []}}"#;
        assert!(parse("t", text).unwrap().is_some());
    }
}
