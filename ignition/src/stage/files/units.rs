//! systemd units: files, drop-ins, masks, and whether they are enabled.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::config::{Config, Unit, filled, list};
use crate::durable::Attributes;
use crate::log;
use crate::program::{self, ProgramError};
use crate::root::{Kind, Root, RootError};

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
///
/// Of lines about one template the first one counts for the template: its own comes
/// before its instances', or these would be enabled in its place; and one that disables
/// it comes after those of instances to enable, or none of them would be.
fn preset(units: &[Unit]) -> Vec<String> {
    let mut lines: Vec<(LineOrder, String)> = Vec::new();
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
                    lines.push(((!enabled, true), format!("{verb} {template}")));
                }
                lines[line].1.push(' ');
                lines[line].1.push_str(instance);
            }
            _ => lines.push(((!enabled, false), format!("{verb} {}", unit.name))),
        }
    }
    lines.sort_by_key(|(order, _)| *order);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Whether a line disables, and whether it is about instances.
type LineOrder = (bool, bool);

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
/// of a preset that disables, and would enable them. It comes first: disabling a template
/// disables its instances.
fn enable(context: &Context<'_>, units: &[Unit]) -> Result<(), FilesError> {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for unit in units.iter().filter(|unit| unit.mask != Some(true)) {
        let Some(enabled) = unit.enabled else {
            continue;
        };
        let later = match (find(context.root, &unit.name)?, enabled) {
            (Found::Present, true) => {
                on.push(unit.name.clone());
                continue;
            }
            (Found::Present | Found::Masked, false) => {
                off.push(unit.name.clone());
                continue;
            }
            (Found::Masked, true) => "is masked; its enablement takes effect once it is not",
            (Found::Absent, _) => "is not on this host; its enablement takes effect once it is",
        };
        log::warn(&format!("unit {} {later}", unit.name));
    }
    for (verb, done, units) in [("disable", "disabled", off), ("preset", "enabled", on)] {
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

/// What systemd would find of a unit.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Absent,
    /// systemctl refuses to enable it.
    Masked,
    Present,
}

fn find(root: &Root, name: &str) -> Result<Found, RootError> {
    let template = instance(name).map(|(template, _)| template);
    for name in std::iter::once(name).chain(template.as_deref()) {
        for directory in SEARCHED {
            let path = format!("{directory}/{name}");
            let Some(entry) = root.entry(&path)? else {
                continue;
            };
            return Ok(match is_mask(root, &path, entry.kind)? {
                true => Found::Masked,
                false => Found::Present,
            });
        }
    }
    Ok(Found::Absent)
}

/// An empty file masks, too.
fn is_mask(root: &Root, path: &str, kind: Kind) -> Result<bool, RootError> {
    match kind {
        Kind::Link => Ok(root.link_target(path)? == MASK),
        Kind::File => Ok(root.read(path)?.is_some_and(|bytes| bytes.is_empty())),
        Kind::Directory | Kind::Special => Ok(false),
    }
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
                "enable e@.service",
                "enable e@.service x y",
                "disable e@.service z",
            ]
        );
    }

    #[test]
    fn instances_are_enabled_before_their_template_is_disabled() {
        let unit = |name: &str, enabled| {
            let mut unit = Unit::new(name.to_owned());
            unit.enabled = Some(enabled);
            unit
        };
        let units = [unit("e@.service", false), unit("e@x.service", true)];
        assert_eq!(
            preset(&units),
            ["enable e@.service x", "disable e@.service"]
        );
    }

    #[test]
    fn masked_units_are_told_from_those_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let file = |path: &str, text: &str| {
            let attributes = Attributes::own(0o644);
            root.write_bytes(path, text.as_bytes(), attributes).unwrap();
        };
        let link = |path: &str, target| root.make_link(path, target, 0, 0).unwrap();
        file("/usr/lib/systemd/system/a.service", "[Unit]");
        file("/usr/lib/systemd/system/b.service", "[Unit]");
        file("/usr/lib/systemd/system/t@.service", "[Unit]");
        file("/usr/lib/systemd/system/empty.service", "");
        link("/etc/systemd/system/b.service", "/dev/null");
        link("/etc/systemd/system/t@y.service", "/dev/null");
        link("/etc/systemd/system/alias.service", "a.service");
        for (name, expected) in [
            ("a.service", Found::Present),
            ("alias.service", Found::Present),
            ("t@x.service", Found::Present),
            ("b.service", Found::Masked),
            ("t@y.service", Found::Masked),
            ("empty.service", Found::Masked),
            ("c.service", Found::Absent),
        ] {
            assert_eq!(find(&root, name).unwrap(), expected, "{name}");
        }
    }
}
