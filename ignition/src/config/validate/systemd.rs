//! Units and drop-ins.

use crate::config::{Unit, filled, list};

use super::Check;

const KINDS: [&str; 12] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "snapshot",
    "slice",
    "scope",
];

/// Checks all units.
pub fn units(units: &[Unit], check: &mut Check<'_>) {
    let named = units.iter().enumerate();
    check.unique(named.map(|(n, u)| (format!("systemd.units.{n}.name"), u.name.as_str())));
    for (number, unit) in units.iter().enumerate() {
        let key = format!("systemd.units.{number}");
        name(&format!("{key}.name"), &unit.name, check);
        contents(&key, unit, check);
        let dropins = list(unit.dropins.as_ref());
        let named = dropins.iter().enumerate();
        check.unique(named.map(|(n, d)| (format!("{key}.dropins.{n}.name"), d.name.as_str())));
        for (number, dropin) in dropins.iter().enumerate() {
            let key = format!("{key}.dropins.{number}");
            let stem = dropin.name.strip_suffix(".conf");
            if stem.is_none_or(str::is_empty) || dropin.name.contains('/') {
                let message = format!(
                    "expected a file name ending in .conf, found {:?}",
                    dropin.name
                );
                check.error(&format!("{key}.name"), message);
            }
            if let Err(message) = sections(dropin.contents.as_deref().unwrap_or_default()) {
                check.error(&format!("{key}.contents"), message);
            }
        }
    }
}

fn name(key: &str, name: &str, check: &mut Check<'_>) {
    if name.contains(['/', '\0', ' ', '\n']) {
        check.error(key, "a unit name has no slash, space or control character");
    } else if !matches!(name.rsplit_once('.'), Some((stem, kind)) if !stem.is_empty() && KINDS.contains(&kind))
    {
        let message =
            format!("expected a unit name ending in .service, .socket, .timer, …, found {name:?}");
        check.error(key, message);
    }
}

fn contents(key: &str, unit: &Unit, check: &mut Check<'_>) {
    let Some(text) = filled(unit.contents.as_ref()) else {
        return;
    };
    let key = format!("{key}.contents");
    if unit.mask == Some(true) {
        let message = "the contents have no effect: the unit is masked";
        check.warn(&key, message);
    }
    match sections(text) {
        Ok(sections) => {
            if unit.enabled == Some(true) && !sections.iter().any(|s| s == "Install") {
                let message = format!(
                    "{:?} is enabled, but has no [Install] section, so that has no effect",
                    unit.name
                );
                check.warn(&key, message);
            }
        }
        Err(message) => check.error(&key, message),
    }
}

/// The section names of a unit file (systemd.syntax(7)).
fn sections(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut continued = false;
    for (number, raw) in text.lines().enumerate() {
        let line = raw.trim();
        let comment = line.starts_with(['#', ';']);
        if comment || (line.is_empty() && !continued) {
            continue;
        }
        if !continued {
            let refuse = |what| Err(format!("line {} of the unit: {what}", number + 1));
            if let Some(rest) = line.strip_prefix('[') {
                match rest.strip_suffix(']') {
                    Some(name) if !name.is_empty() => names.push(name.to_owned()),
                    _ => return refuse("a section header is not closed with ]"),
                }
            } else if !line.contains('=') {
                return refuse("expected [Section] or Key=value");
            } else if names.is_empty() {
                return refuse(
                    "a setting before the first [Section]; put it below one, such as [Service]",
                );
            }
        }
        continued = line.ends_with('\\');
    }
    Ok(names)
}
