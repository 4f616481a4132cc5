//! Whether a file system is kept or made, decided from what is there
//! (Ignition's operator notes, "Filesystem-Reuse Semantics").

use crate::config::{Filesystem, filled};

use super::journal::Step;
use super::mkfs::canonical_uuid;
use super::probe::Probe;

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is as wanted.
    Keep,
    /// What is there is wiped, and the file system is made.
    Make,
}

/// What to do about `wanted` on a device that contains `found`; or what is in
/// the way. `step` is how far an earlier attempt of this first boot came.
pub fn decide(wanted: &Filesystem, found: &Probe, step: Option<Step>) -> Result<Action, String> {
    let format = filled(wanted.format.as_ref()).unwrap_or("none");
    match step {
        // Whatever it was is destroyed already. What is there now may look whole
        // and be half of a file system.
        Some(Step::Begun)
            if found.describe().is_none() || found.kind.as_deref() == Some(format) =>
        {
            return Ok(Action::Make);
        }
        Some(Step::Made) if matches(wanted, format, found) => return Ok(Action::Keep),
        _ => {}
    }
    if wanted.wipe_filesystem == Some(true) {
        return Ok(Action::Make);
    }
    if matches(wanted, format, found) {
        return Ok(Action::Keep);
    }
    match found.describe() {
        None => Ok(Action::Make),
        Some(what) => Err(format!(
            "holds {what}, and the config wants {}; set wipeFilesystem if it may be destroyed",
            describe(wanted, format)
        )),
    }
}

fn matches(wanted: &Filesystem, format: &str, found: &Probe) -> bool {
    let uuid = |uuid: &str| canonical_uuid(format, uuid);
    let found_uuid = found.uuid.as_deref().unwrap_or_default();
    let found_label = found.label.as_deref().unwrap_or_default();
    let kind = match format {
        "none" => found.describe().is_none(),
        format => found.kind.as_deref() == Some(format),
    };
    kind && wanted
        .label
        .as_ref()
        .is_none_or(|label| label == found_label)
        && wanted
            .uuid
            .as_ref()
            .is_none_or(|wanted| uuid(wanted) == uuid(found_uuid))
}

fn describe(wanted: &Filesystem, format: &str) -> String {
    let mut text = match format {
        "none" => "nothing there".to_owned(),
        format => format.to_owned(),
    };
    for (what, value) in [("label", &wanted.label), ("UUID", &wanted.uuid)] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value:?}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ext4() -> Probe {
        Probe {
            kind: Some("ext4".to_owned()),
            label: Some("data".to_owned()),
            uuid: Some("ab-cd".to_owned()),
            ..Probe::default()
        }
    }

    fn decided(wanted: Value, found: &Probe, step: Option<Step>) -> Result<Action, String> {
        let mut wanted = wanted;
        wanted["device"] = json!("/dev/a");
        decide(&serde_json::from_value(wanted).unwrap(), found, step)
    }

    #[test]
    fn the_same_format_label_and_uuid_are_kept() {
        for wanted in [
            json!({"format": "ext4"}),
            json!({"format": "ext4", "label": "data"}),
            json!({"format": "ext4", "label": "data", "uuid": "AB-CD"}),
        ] {
            assert_eq!(decided(wanted, &ext4(), None), Ok(Action::Keep));
        }
        let nothing = Probe::default();
        assert_eq!(
            decided(json!({"format": "ext4"}), &nothing, None),
            Ok(Action::Make)
        );
        assert_eq!(
            decided(json!({"format": "none"}), &nothing, None),
            Ok(Action::Keep)
        );
    }

    #[test]
    fn anything_else_is_named_unless_it_may_be_wiped() {
        let table = Probe {
            table: Some("gpt".to_owned()),
            ..Probe::default()
        };
        for (wanted, found, words) in [
            (
                json!({"format": "xfs"}),
                ext4(),
                "holds ext4, label \"data\", UUID \"ab-cd\", and",
            ),
            (
                json!({"format": "ext4", "label": "x"}),
                ext4(),
                "wants ext4, label \"x\"; set wipe",
            ),
            (
                json!({"format": "ext4", "label": ""}),
                ext4(),
                "wants ext4, label \"\"",
            ),
            (
                json!({"format": "ext4", "uuid": "ef"}),
                ext4(),
                "UUID \"ef\"",
            ),
            (json!({"format": "none"}), ext4(), "wants nothing there"),
            (
                json!({"format": "ext4"}),
                table.clone(),
                "a partition table (gpt)",
            ),
            (json!({"format": "none"}), table, "a partition table (gpt)"),
        ] {
            let message = decided(wanted.clone(), &found, None).unwrap_err();
            assert!(message.contains(words), "{message}");
            let mut wipe = wanted;
            wipe["wipeFilesystem"] = json!(true);
            assert_eq!(decided(wipe, &found, None), Ok(Action::Make));
        }
    }

    #[test]
    fn an_attempt_that_was_cut_off_is_taken_up() {
        let (begun, made) = (Some(Step::Begun), Some(Step::Made));
        let ext = json!({"format": "ext4", "label": "data"});
        // Half of it may be missing.
        assert_eq!(decided(ext.clone(), &ext4(), begun), Ok(Action::Make));
        assert_eq!(
            decided(ext.clone(), &Probe::default(), begun),
            Ok(Action::Make)
        );
        assert_eq!(decided(ext.clone(), &ext4(), made), Ok(Action::Keep));
        let wipe = json!({"format": "ext4", "wipeFilesystem": true});
        assert_eq!(decided(wipe.clone(), &ext4(), None), Ok(Action::Make));
        assert_eq!(decided(wipe, &ext4(), made), Ok(Action::Keep));
        // Not what this program was making: somebody else's.
        let xfs = json!({"format": "xfs"});
        assert!(decided(xfs.clone(), &ext4(), begun).is_err());
        assert!(decided(xfs, &ext4(), made).is_err());
    }
}
