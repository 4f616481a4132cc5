//! systemd units: files, drop-ins, masks, and whether they are enabled.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::config::{Config, Unit, filled, list};
use crate::durable::Attributes;
use crate::log;
use crate::program::{self, ProgramError};
use crate::root::{Kind, RootError};

use super::{Context, FilesError};

const UNITS: &str = "/etc/systemd/system";
const PRESET: &str = "/etc/systemd/system-preset/20-ignition.preset";
const MASK: &str = "/dev/null";

/// Where systemd looks for unit files, apart from generated ones.
const SEARCHED: [&str; 4] = [
    UNITS,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Writes all units of `config` and enables or disables them.
pub fn apply(context: &Context<'_>, config: &Config) -> Result<(), FilesError> {
    let units = list(config.systemd.as_ref().and_then(|s| s.units.as_ref()));
    for (number, unit) in units.iter().enumerate() {
        let place = context.place(&format!("systemd.units.{number}"));
        write_unit(context, unit).map_err(|source| FilesError::Change { place, source })?;
    }
    let lines = preset(units);
    if lines.is_empty() {
        return Ok(());
    }
    write_preset(context, config, &lines)?;
    enable(context, units)
}

fn write_unit(context: &Context<'_>, unit: &Unit) -> Result<(), RootError> {
    let path = format!("{UNITS}/{}", unit.name);
    for dropin in list(unit.dropins.as_ref()) {
        // An empty one has a meaning: it hides the one of that name in /usr.
        if let Some(contents) = &dropin.contents {
            write(context, &format!("{path}.d/{}", dropin.name), contents)?;
        }
    }
    let masked = match context.root.entry(&path)?.map(|entry| entry.kind) {
        Some(Kind::Link) => context.root.link_target(&path)? == MASK,
        _ => false,
    };
    match unit.mask {
        Some(true) if masked => {}
        Some(true) => {
            context.root.remove(&path)?;
            let own = Attributes::own(0);
            context.root.make_link(&path, MASK, own.uid, own.gid)?;
        }
        Some(false) if masked => {
            context.root.remove(&path)?;
            log::info(&format!("unmasked unit={}", unit.name));
        }
        _ => {}
    }
    if unit.mask == Some(true) {
        log::info(&format!("masked unit={}", unit.name));
    } else if let Some(contents) = filled(unit.contents.as_ref()) {
        write(context, &path, contents)?;
    }
    Ok(())
}

fn write(context: &Context<'_>, path: &str, contents: &str) -> Result<(), RootError> {
    let attributes = Attributes::own(0o644);
    let found = context.root.entry(path)?;
    if found.is_some_and(|entry| entry.kind == Kind::Directory) {
        context.root.remove(path)?;
    }
    context
        .root
        .write_bytes(path, contents.as_bytes(), attributes)?;
    log::info(&format!(
        "wrote path={path} mode=0644 uid={} gid={} bytes={}",
        attributes.uid,
        attributes.gid,
        contents.len()
    ));
    Ok(())
}

/// The lines of the preset file. Instances of a template share one line per
/// state, as systemd.preset(5) wants.
fn preset(units: &[Unit]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut templates: BTreeMap<(bool, String), usize> = BTreeMap::new();
    for unit in units {
        let Some(enabled) = unit.enabled else {
            continue;
        };
        let verb = if enabled { "enable" } else { "disable" };
        match instance(&unit.name) {
            Some((template, instance)) if !instance.is_empty() => {
                let next = lines.len();
                let line = *templates.entry((enabled, template.clone())).or_insert(next);
                if line == next {
                    lines.push(format!("{verb} {template}"));
                }
                lines[line].push(' ');
                lines[line].push_str(instance);
            }
            _ => lines.push(format!("{verb} {}", unit.name)),
        }
    }
    lines
}

/// `echo@foo.service` is instance `foo` of template `echo@.service`.
fn instance(name: &str) -> Option<(String, &str)> {
    let (stem, kind) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    Some((format!("{prefix}@.{kind}"), instance))
}

/// Writes the preset file; after what the config itself put there.
fn write_preset(
    context: &Context<'_>,
    config: &Config,
    lines: &[String],
) -> Result<(), FilesError> {
    let files = list(config.storage.as_ref().and_then(|s| s.files.as_ref()));
    let mut text = if files.iter().any(|file| file.path == PRESET) {
        context.root.read(PRESET)?.unwrap_or_default()
    } else {
        Vec::new()
    };
    for line in lines {
        // Writing to memory does not fail.
        let _ = writeln!(text, "{line}");
    }
    context
        .root
        .write_bytes(PRESET, &text, Attributes::own(0o644))?;
    log::info(&format!("wrote path={PRESET} lines={}", lines.len()));
    Ok(())
}

/// Makes the presets real at once, so that nothing depends on systemd taking
/// this boot for the first one.
///
/// What is disabled is disabled by name: systemd does not look at the instances
/// of a preset that disables, and would enable them.
fn enable(context: &Context<'_>, units: &[Unit]) -> Result<(), FilesError> {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for unit in units.iter().filter(|unit| unit.mask != Some(true)) {
        let list = match unit.enabled {
            Some(true) => &mut on,
            Some(false) => &mut off,
            None => continue,
        };
        if exists(context, &unit.name)? {
            list.push(unit.name.clone());
        } else {
            log::warn(&format!(
                "unit {} is not on this host; its enablement takes effect once it is",
                unit.name
            ));
        }
    }
    for (verb, done, units) in [("preset", "enabled", on), ("disable", "disabled", off)] {
        if units.is_empty() {
            continue;
        }
        let root = format!("--root={}", context.root.path().display());
        let mut arguments = vec![root, verb.to_owned(), "--".to_owned()];
        arguments.extend(units.iter().cloned());
        run(context, &arguments)?;
        for unit in &units {
            log::info(&format!("{done} unit={unit}"));
        }
    }
    Ok(())
}

fn run(context: &Context<'_>, arguments: &[String]) -> Result<(), FilesError> {
    let result = program::run_about(context.root.path(), "systemctl", arguments);
    result.map_err(|source: ProgramError| FilesError::Program {
        place: "enabling units (key systemd.units)".to_owned(),
        source,
    })
}

fn exists(context: &Context<'_>, name: &str) -> Result<bool, FilesError> {
    let template = instance(name).map(|(template, _)| template);
    for name in std::iter::once(name).chain(template.as_deref()) {
        for directory in SEARCHED {
            if context
                .root
                .entry(&format!("{directory}/{name}"))?
                .is_some()
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_group_instances() {
        let unit = |name: &str, enabled| {
            let mut unit = Unit::new(name.to_owned());
            unit.enabled = enabled;
            unit
        };
        let units = [
            unit("a.service", Some(true)),
            unit("e@x.service", Some(true)),
            unit("quiet.service", None),
            unit("e@y.service", Some(true)),
            unit("e@z.service", Some(false)),
            unit("e@.service", Some(true)),
        ];
        assert_eq!(
            preset(&units),
            [
                "enable a.service",
                "enable e@.service x y",
                "disable e@.service z",
                "enable e@.service"
            ]
        );
    }
}
