//! What becomes of a volume, decided from what is there; and what cryptsetup(8) is
//! told.

use serde::Deserialize;

use crate::config::{Luks, filled, is_bound, list};

use super::super::journal::Step;
use super::super::probe::Probe;
use super::super::reuse::Action;

/// How blkid calls a volume.
const LUKS: &str = "crypto_LUKS";

/// The key comes through standard input.
const STDIN: [&str; 2] = ["--key-file", "-"];

/// What to do about `wanted` on a device that contains `found`; or what is in the
/// way. `step` is how far an earlier attempt of this first boot came.
pub fn decide(wanted: &Luks, found: &Probe, step: Option<Step>) -> Result<Action, String> {
    let is_luks = found.kind.as_deref() == Some(LUKS);
    match step {
        // Whatever it was is destroyed already, and the volume may be half made.
        Some(Step::Begun) if is_luks || found.describe().is_none() => return Ok(Action::Make),
        Some(Step::Made) if is_luks && differs(wanted, found).is_none() => {
            return Ok(Action::Keep);
        }
        _ => {}
    }
    if wanted.wipe_volume == Some(true) {
        return Ok(Action::Make);
    }
    let Some(what) = found.describe() else {
        return Ok(Action::Make);
    };
    let why = match is_luks {
        false => Some("the config wants a LUKS volume".to_owned()),
        true => unknown(wanted, found).or_else(|| differs(wanted, found)),
    };
    match why {
        None => Ok(Action::Keep),
        Some(why) => Err(format!(
            "holds {what}, and {why}; set wipeVolume if it may be destroyed"
        )),
    }
}

/// Why a volume that this first boot did not make cannot be taken over.
fn unknown(wanted: &Luks, found: &Probe) -> Option<String> {
    let key = wanted.key_file.as_ref();
    if found.version.as_deref() != Some("2") {
        Some("only LUKS2 can be kept".to_owned())
    } else if key.is_none_or(|key| filled(key.source.as_ref()).is_none()) {
        Some("only a volume whose keyFile the config has can be kept".to_owned())
    } else if is_bound(wanted) {
        Some("a volume that is to be bound by clevis cannot be kept".to_owned())
    } else {
        None
    }
}

/// How the volume that is there differs from the wanted one.
fn differs(wanted: &Luks, found: &Probe) -> Option<String> {
    let label = filled(wanted.label.as_ref());
    if label.is_some() && label != found.label.as_deref() {
        return Some(format!(
            "the config wants the label {:?}",
            label.unwrap_or_default()
        ));
    }
    let uuid = filled(wanted.uuid.as_ref()).map(str::to_ascii_lowercase);
    if uuid.is_some() && uuid.as_deref() != found.uuid.as_deref() {
        return Some(format!(
            "the config wants the UUID {}",
            uuid.unwrap_or_default()
        ));
    }
    None
}

/// What makes `wanted` on `device`, as upstream has it; but the key comes through
/// standard input, and nothing is asked.
pub fn creation(wanted: &Luks, device: &str) -> Vec<String> {
    let mut arguments = vec!["luksFormat", "--batch-mode", "--type", "luks2"];
    arguments.extend(STDIN);
    if let Some(label) = filled(wanted.label.as_ref()) {
        arguments.extend(["--label", label]);
    }
    if let Some(uuid) = filled(wanted.uuid.as_ref()) {
        arguments.extend(["--uuid", uuid]);
    }
    arguments.extend(list(wanted.options.as_ref()).iter().map(String::as_str));
    arguments.push(device);
    arguments.into_iter().map(str::to_owned).collect()
}

/// What opens `wanted`, which is on `device`. How it is opened is kept in its header,
/// for later boots.
pub fn opening(wanted: &Luks, device: &str) -> Vec<String> {
    let mut arguments = vec!["luksOpen", device, &wanted.name];
    arguments.extend(STDIN);
    arguments.push("--persistent");
    if wanted.discard == Some(true) {
        arguments.push("--allow-discards");
    }
    arguments.extend(
        list(wanted.open_options.as_ref())
            .iter()
            .map(String::as_str),
    );
    arguments.into_iter().map(str::to_owned).collect()
}

/// Whether a volume allows discards, from `luksDump --dump-json-metadata`; None if
/// that is not understood.
pub fn discards(text: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Header {
        config: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        #[serde(default)]
        flags: Vec<String>,
    }
    let header: Header = serde_json::from_str(text).ok()?;
    Some(
        header
            .config
            .flags
            .iter()
            .any(|flag| flag == "allow-discards"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const UUID: &str = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";

    fn luks(body: Value) -> Luks {
        let mut luks = body;
        luks["name"] = json!("data");
        luks["device"] = json!("/dev/vdb1");
        serde_json::from_value(luks).unwrap()
    }

    fn with_key() -> Value {
        json!({"keyFile": {"source": "data:,k"}})
    }

    fn volume() -> Probe {
        let some = |text: &str| Some(text.to_owned());
        Probe {
            kind: some(LUKS),
            version: some("2"),
            label: some("safe"),
            uuid: some(UUID),
            ..Probe::default()
        }
    }

    #[test]
    fn arguments_are_those_of_upstream_but_for_the_key() {
        let wanted = luks(json!({"label": "safe", "uuid": UUID, "discard": true,
            "options": ["--cipher", "aes-cbc-essiv:sha256"],
            "openOptions": ["--perf-no_read_workqueue"]}));
        assert_eq!(
            creation(&wanted, "/dev/vdb1").join(" "),
            format!(
                "luksFormat --batch-mode --type luks2 --key-file - --label safe --uuid {UUID} \
                 --cipher aes-cbc-essiv:sha256 /dev/vdb1"
            )
        );
        assert_eq!(
            opening(&wanted, "/dev/vdb1").join(" "),
            "luksOpen /dev/vdb1 data --key-file - --persistent --allow-discards \
             --perf-no_read_workqueue"
        );
        let plain = luks(json!({"label": "", "uuid": ""}));
        assert_eq!(
            creation(&plain, "/d").join(" "),
            "luksFormat --batch-mode --type luks2 --key-file - /d"
        );
        assert_eq!(
            opening(&plain, "/d").join(" "),
            "luksOpen /d data --key-file - --persistent"
        );
    }

    #[test]
    fn a_volume_as_wanted_is_kept() {
        for body in [
            with_key(),
            json!({"keyFile": {"source": "data:,k"}, "label": "safe", "uuid": UUID.to_uppercase()}),
        ] {
            assert_eq!(decide(&luks(body), &volume(), None), Ok(Action::Keep));
        }
        let nothing = Probe::default();
        assert_eq!(decide(&luks(with_key()), &nothing, None), Ok(Action::Make));
    }

    #[test]
    fn what_is_there_is_named_and_stays_unless_it_may_be_wiped() {
        let old = Probe {
            version: Some("1".to_owned()),
            ..volume()
        };
        let ext4 = Probe {
            kind: Some("ext4".to_owned()),
            ..Probe::default()
        };
        let bound = json!({"keyFile": {"source": "data:,k"}, "clevis": {"tpm2": true}});
        let key = |more: &str, value: &str| {
            let mut body = with_key();
            body[more] = json!(value);
            body
        };
        for (body, found, words) in [
            (
                with_key(),
                &ext4,
                "holds ext4, and the config wants a LUKS volume",
            ),
            (with_key(), &old, "only LUKS2"),
            (json!({}), &volume(), "keyFile"),
            (bound, &volume(), "clevis"),
            (key("label", "other"), &volume(), "the label \"other\""),
            (key("uuid", "abc"), &volume(), "the UUID abc"),
        ] {
            let message = decide(&luks(body.clone()), found, None).unwrap_err();
            assert!(message.contains(words), "{message}");
            assert!(message.ends_with("set wipeVolume if it may be destroyed"));
            let mut body = body;
            body["wipeVolume"] = json!(true);
            assert_eq!(decide(&luks(body), found, None), Ok(Action::Make));
        }
    }

    #[test]
    fn an_interrupted_first_boot_goes_on() {
        let wiping = || luks(json!({"wipeVolume": true}));
        let (begun, made) = (Some(Step::Begun), Some(Step::Made));
        assert_eq!(decide(&luks(json!({})), &volume(), begun), Ok(Action::Make));
        assert_eq!(decide(&wiping(), &volume(), made), Ok(Action::Keep));
        assert_eq!(decide(&luks(json!({})), &volume(), made), Ok(Action::Keep));
        let ext4 = Probe {
            kind: Some("ext4".to_owned()),
            ..Probe::default()
        };
        assert!(decide(&luks(json!({})), &ext4, begun).is_err());
    }

    #[test]
    fn flags_of_a_header_are_understood() {
        let text = r#"{"keyslots": {}, "config": {"json_size": "12288",
            "flags": ["allow-discards", "no-read-workqueue"]}}"#;
        assert_eq!(discards(text), Some(true));
        assert_eq!(
            discards(r#"{"config": {"json_size": "12288"}}"#),
            Some(false)
        );
        assert_eq!(discards("x"), None);
    }
}
