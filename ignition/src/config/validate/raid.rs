//! Arrays.

use crate::config::{Raid, filled, list};

use super::{Check, storage};

/// Characters of a name: the superblock has 32, and `any:` comes before it.
const NAME: usize = 28;

/// Checks all arrays.
pub fn raid(arrays: &[Raid], check: &mut Check<'_>) {
    let key = |number: usize| format!("storage.raid.{number}");
    let named = arrays.iter().enumerate();
    check.unique(named.map(|(n, r)| (format!("{}.name", key(n)), r.name.as_str())));
    for (number, one) in arrays.iter().enumerate() {
        let key = key(number);
        name(&format!("{key}.name"), &one.name, check);
        let devices = list(one.devices.as_ref());
        for (number, device) in devices.iter().enumerate() {
            storage::device(&format!("{key}.devices.{number}"), device, check);
        }
        let named = devices.iter().enumerate();
        check.unique(named.map(|(n, d)| (format!("{key}.devices.{n}"), d.as_str())));
        if devices.is_empty() {
            check.error(&format!("{key}.devices"), "an array needs devices");
        }
        level(&key, one, devices.len(), check);
    }
}

/// mdadm makes `/dev/md/NAME` of it, and takes the POSIX portable characters.
fn name(key: &str, name: &str, check: &mut Check<'_>) {
    let portable = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME {
        let message = format!("expected a name of 1 to {NAME} characters");
        check.error(key, message);
    } else if !name.chars().all(portable) || name.starts_with(['-', '.']) {
        let message = format!(
            "the name of an array has letters, digits, '.', '_' and '-' and starts with one of \
             the first three, found {name:?}; its device is /dev/md/NAME"
        );
        check.error(key, message);
    }
}

fn level(key: &str, raid: &Raid, devices: usize, check: &mut Check<'_>) {
    let level_key = format!("{key}.level");
    let Some(level) = filled(raid.level.as_ref()) else {
        check.error(&level_key, "an array needs a level, such as raid1");
        return;
    };
    let redundant = match level {
        "linear" | "raid0" | "0" | "stripe" => false,
        "raid1" | "1" | "mirror" | "raid4" | "4" | "raid5" | "5" | "raid6" | "6" | "raid10"
        | "10" => true,
        level => {
            let message = format!(
                "expected raid0, raid1, raid4, raid5, raid6, raid10 or linear, found {level:?}"
            );
            check.error(&level_key, message);
            return;
        }
    };
    let spares = raid.spares.unwrap_or(0);
    let spares_key = format!("{key}.spares");
    match usize::try_from(spares) {
        Err(_) => check.error(&spares_key, "expected a number, 0 or more"),
        Ok(0) => {}
        Ok(_) if !redundant => {
            check.error(&spares_key, format!("level {level} has no spares"));
        }
        Ok(spares) if spares >= devices => {
            let message = format!("{spares} spares of {devices} devices leave none for the array");
            check.error(&spares_key, message);
        }
        Ok(_) => {}
    }
}
