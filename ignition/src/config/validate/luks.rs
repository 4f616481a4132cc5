//! Encrypted volumes.

use crate::config::{Clevis, Luks, Tang, filled, list};

use super::{Check, resource, storage};

/// Bytes of a label, and of a name of the device mapper.
const LABEL: usize = 47;
const NAME: usize = 127;

/// What clevis binds with, as the spec has it.
const PINS: [&str; 3] = ["tpm2", "tang", "sss"];

/// Checks all volumes.
pub fn luks(volumes: &[Luks], check: &mut Check<'_>) {
    let key = |number: usize| format!("storage.luks.{number}");
    let named = volumes.iter().enumerate();
    check.unique(named.map(|(n, l)| (format!("{}.name", key(n)), l.name.as_str())));
    let devices = volumes.iter().enumerate().filter_map(|(n, l)| {
        let device = filled(l.device.as_ref())?;
        Some((format!("{}.device", key(n)), device))
    });
    check.unique(devices);
    for (number, one) in volumes.iter().enumerate() {
        let key = key(number);
        name(&format!("{key}.name"), &one.name, check);
        let device = one.device.as_deref().unwrap_or_default();
        storage::device(&format!("{key}.device"), device, check);
        let label = one.label.as_deref().unwrap_or_default();
        if label.len() > LABEL {
            let message = format!(
                "a label of LUKS has at most {LABEL} bytes, {label:?} has {}",
                label.len()
            );
            check.error(&format!("{key}.label"), message);
        }
        if let Some(file) = &one.key_file {
            resource::resource(&format!("{key}.keyFile"), file, check);
        }
        if let Some(bound) = &one.clevis {
            clevis(&format!("{key}.clevis"), bound, check);
        }
    }
}

/// It becomes a word of crypttab(5), and names of files and of a device.
fn name(key: &str, name: &str, check: &mut Check<'_>) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    if name.is_empty() || name.len() > NAME {
        check.error(key, format!("expected a name of 1 to {NAME} bytes"));
    } else if !name.chars().all(plain) || name.starts_with(['.', '#', '-']) {
        let message = format!(
            "the name of a volume has no slash and no space, and does not start with '.', '#' or \
             '-', found {name:?}; its device is /dev/mapper/NAME"
        );
        check.error(key, message);
    }
}

fn clevis(key: &str, clevis: &Clevis, check: &mut Check<'_>) {
    let servers = list(clevis.tang.as_ref());
    for (number, server) in servers.iter().enumerate() {
        tang(&format!("{key}.tang.{number}"), server, check);
    }
    let pins = servers.len() + usize::from(clevis.tpm2 == Some(true));
    let threshold = clevis.threshold.unwrap_or(0);
    if custom(key, clevis, check) {
        if pins > 0 || threshold != 0 {
            let message = "custom goes without tang, tpm2 and threshold";
            check.error(&format!("{key}.custom"), message);
        }
        return;
    }
    if threshold < 0 || usize::try_from(threshold).is_ok_and(|t| t > pins.max(1)) {
        let message = format!("expected a number from 1 to the number of pins, which is {pins}");
        check.error(&format!("{key}.threshold"), message);
    }
}

/// Checks the part for other pins; whether there is one.
fn custom(key: &str, clevis: &Clevis, check: &mut Check<'_>) -> bool {
    let Some(custom) = &clevis.custom else {
        return false;
    };
    let (pin, config) = (filled(custom.pin.as_ref()), filled(custom.config.as_ref()));
    let key = format!("{key}.custom");
    match (pin, config) {
        (None, None) if custom.needs_network != Some(true) => return false,
        (None, _) => {
            let message = format!("give the pin, one of {}", PINS.join(", "));
            check.error(&format!("{key}.pin"), message);
        }
        (Some(pin), _) if !PINS.contains(&pin) => {
            let message = format!("expected one of {}, found {pin:?}", PINS.join(", "));
            check.error(&format!("{key}.pin"), message);
        }
        (Some(_), None) => {
            check.error(
                &format!("{key}.config"),
                "give the config of the pin, in JSON",
            );
        }
        (Some(_), Some(config)) => json(&format!("{key}.config"), config, check),
    }
    true
}

fn tang(key: &str, tang: &Tang, check: &mut Check<'_>) {
    let url = tang.url.as_deref().unwrap_or_default();
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        check.error(
            &format!("{key}.url"),
            "expected the URL of a tang server, http or https",
        );
    }
    if filled(tang.thumbprint.as_ref()).is_none() {
        let message = "give the thumbprint of the server's key (tang-show-keys shows it)";
        check.error(&format!("{key}.thumbprint"), message);
    }
    if let Some(text) = filled(tang.advertisement.as_ref()) {
        json(&format!("{key}.advertisement"), text, check);
    }
}

/// An object in JSON. It is not shown.
fn json(key: &str, text: &str, check: &mut Check<'_>) {
    let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
    if object.is_err() {
        check.error(key, "expected a JSON object, written as a string");
    }
}
