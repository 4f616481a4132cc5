//! Files, directories, links.

use std::collections::BTreeMap;

use crate::config::{Config, NodeGroup, NodeUser, filled, list};

use super::{Check, disks, filesystems, luks, raid, resource};

/// Largest user or group id; the next one means "no change" to chown(2).
pub(super) const MAX_ID: i64 = u32::MAX as i64 - 1;

/// Checks `config.storage` and its conflicts with `config.systemd`.
pub fn storage(config: &Config, check: &mut Check<'_>) {
    if let Some(storage) = &config.storage {
        let disks = list(storage.disks.as_ref());
        disks::disks(disks, check);
        raid::raid(list(storage.raid.as_ref()), check);
        luks::luks(list(storage.luks.as_ref()), check);
        filesystems::filesystems(list(storage.filesystems.as_ref()), disks, check);
    }
    files(config, check);
    directories(config, check);
    links(config, check);
    let nodes = nodes(config);
    check.unique(nodes.iter().map(|node| (node.key.clone(), node.path)));
    parents(config, &nodes, check);
    unit_files(config, &nodes, check);
}

/// One file, directory or link.
struct Node<'a> {
    key: String,
    path: &'a str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

fn nodes(config: &Config) -> Vec<Node<'_>> {
    let Some(storage) = &config.storage else {
        return Vec::new();
    };
    let files = list(storage.files.as_ref()).iter().enumerate();
    let directories = list(storage.directories.as_ref()).iter().enumerate();
    let links = list(storage.links.as_ref()).iter().enumerate();
    let node = |list, number, path, kind| Node {
        key: format!("storage.{list}.{number}.path"),
        path,
        kind,
    };
    files
        .map(|(n, f)| node("files", n, f.path.as_str(), Kind::File))
        .chain(directories.map(|(n, d)| node("directories", n, d.path.as_str(), Kind::Directory)))
        .chain(links.map(|(n, l)| node("links", n, l.path.as_str(), Kind::Link)))
        .collect()
}

fn files(config: &Config, check: &mut Check<'_>) {
    let storage = config.storage.as_ref();
    for (number, file) in list(storage.and_then(|s| s.files.as_ref()))
        .iter()
        .enumerate()
    {
        let key = format!("storage.files.{number}");
        path(&format!("{key}.path"), &file.path, check);
        mode(&format!("{key}.mode"), file.mode, check);
        owner(&key, file.user.as_ref(), file.group.as_ref(), check);
        let source = file.contents.as_ref().and_then(|c| c.source.as_ref());
        if file.overwrite == Some(true) && source.is_none() {
            let message = "overwrite must be false when there is no contents.source";
            check.error(&format!("{key}.overwrite"), message);
        }
        if let Some(contents) = &file.contents {
            resource::resource(&format!("{key}.contents"), contents, check);
        }
        for (number, fragment) in list(file.append.as_ref()).iter().enumerate() {
            let key = format!("{key}.append.{number}");
            if fragment.source.is_none() {
                check.error(&format!("{key}.source"), "a source is required");
            }
            resource::resource(&key, fragment, check);
        }
    }
}

fn directories(config: &Config, check: &mut Check<'_>) {
    let storage = config.storage.as_ref();
    let directories = list(storage.and_then(|s| s.directories.as_ref()));
    for (number, directory) in directories.iter().enumerate() {
        let key = format!("storage.directories.{number}");
        path(&format!("{key}.path"), &directory.path, check);
        mode(&format!("{key}.mode"), directory.mode, check);
        owner(
            &key,
            directory.user.as_ref(),
            directory.group.as_ref(),
            check,
        );
    }
}

fn links(config: &Config, check: &mut Check<'_>) {
    let Some(storage) = &config.storage else {
        return;
    };
    for (number, link) in list(storage.links.as_ref()).iter().enumerate() {
        let key = format!("storage.links.{number}");
        path(&format!("{key}.path"), &link.path, check);
        owner(&key, link.user.as_ref(), link.group.as_ref(), check);
        let target_key = format!("{key}.target");
        let Some(target) = filled(link.target.as_ref()) else {
            check.error(&target_key, "a link needs a target");
            continue;
        };
        if link.hard != Some(true) {
            continue;
        }
        let mut directories = list(storage.directories.as_ref()).iter();
        if directories.any(|d| d.path == target) {
            check.error(&target_key, "a hard link cannot lead to a directory");
        }
        let below = format!("{}/", link.path);
        if link.overwrite == Some(true) && format!("{}/", clean(target)).starts_with(&below) {
            let message = "overwrite removes what the hard link is to lead to";
            check.error(&target_key, format!("{:?}: {message}", link.path));
        }
        if link.user.is_some() || link.group.is_some() {
            check.warn(&key, "user and group have no effect on a hard link");
        }
    }
}

fn path(key: &str, path: &str, check: &mut Check<'_>) {
    if path == "/" {
        check.error(key, "the root directory itself cannot be an entry");
    } else {
        absolute(key, path, check);
    }
}

/// A device by its path; one is always needed.
pub(super) fn device(key: &str, path: &str, check: &mut Check<'_>) {
    if path.is_empty() {
        check.error(key, "give the path of a device, such as /dev/disk/by-id/…");
    } else {
        absolute(key, path, check);
    }
}

/// An absolute path in its shortest form.
pub(super) fn absolute(key: &str, path: &str, check: &mut Check<'_>) {
    if !path.starts_with('/') {
        check.error(key, format!("expected an absolute path, found {path:?}"));
    } else if path.contains('\0') {
        check.error(key, "the path has a NUL character");
    } else if clean(path) != path {
        let clean = clean(path);
        check.error(
            key,
            format!("{path:?} is not in its shortest form; write it as {clean:?}"),
        );
    }
}

/// The shortest absolute path that is lexically the same.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn mode(key: &str, mode: Option<i64>, check: &mut Check<'_>) {
    if mode.is_some_and(|mode| !(0..=0o7777).contains(&mode)) {
        let message = "expected a permission mode as a decimal number from 0 to 4095 \
                       (0644 is 420, 0755 is 493)";
        check.error(key, message);
    }
}

fn owner(key: &str, user: Option<&NodeUser>, group: Option<&NodeGroup>, check: &mut Check<'_>) {
    let user = user.map(|u| ("user", u.id, u.name.as_ref()));
    let group = group.map(|g| ("group", g.id, g.name.as_ref()));
    for (what, id, name) in user.into_iter().chain(group) {
        if id.is_some() && filled(name).is_some() {
            check.error(&format!("{key}.{what}"), "give either id or name, not both");
        }
        if id.is_some_and(|id| !(0..=MAX_ID).contains(&id)) {
            let message = format!("expected a number from 0 to {MAX_ID}");
            check.error(&format!("{key}.{what}.id"), message);
        }
    }
}

/// No entry may lie below a file or a link of the same config. What another config replaces is
/// not carried out; upstream refuses it still if it is below a link.
fn parents(config: &Config, nodes: &[Node<'_>], check: &mut Check<'_>) {
    let configs = config.ignition.config.as_ref();
    let other = configs.and_then(|configs| configs.replace.as_ref());
    let replaced = other.is_some_and(|other| filled(other.source.as_ref()).is_some());
    let leaves: BTreeMap<&str, &str> = nodes
        .iter()
        .filter(|node| match node.kind {
            Kind::Link => true,
            Kind::File => !replaced,
            Kind::Directory => false,
        })
        .map(|node| (node.path, node.key.as_str()))
        .collect();
    for node in nodes {
        let mut parent = node.path;
        while let Some((up, _)) = parent.rsplit_once('/') {
            parent = up;
            if let Some(leaf) = leaves.get(parent) {
                let message = format!("{:?} lies below {leaf}, which is no directory", node.path);
                check.error(&node.key, message);
                break;
            }
        }
    }
}

/// No entry may be a file that `systemd.units` or `storage.luks` writes.
fn unit_files(config: &Config, nodes: &[Node<'_>], check: &mut Check<'_>) {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let volumes = config.storage.as_ref().and_then(|s| s.luks.as_ref());
    for (number, volume) in list(volumes).iter().enumerate() {
        let path = format!("/etc/luks/{}", volume.name);
        written.insert(path, format!("storage.luks.{number}"));
    }
    let units = config.systemd.as_ref().and_then(|s| s.units.as_ref());
    for (number, unit) in list(units).iter().enumerate() {
        let path = format!("/etc/systemd/system/{}", unit.name);
        let key = format!("systemd.units.{number}");
        if filled(unit.contents.as_ref()).is_some() || unit.mask == Some(true) {
            written.insert(path.clone(), key.clone());
        }
        for (number, dropin) in list(unit.dropins.as_ref()).iter().enumerate() {
            if dropin.contents.is_some() {
                let path = format!("{path}.d/{}", dropin.name);
                written.insert(path, format!("{key}.dropins.{number}"));
            }
        }
    }
    for node in nodes {
        if let Some(unit) = written.get(node.path) {
            check.error(
                &node.key,
                format!("{:?} is written by {unit} too", node.path),
            );
        }
    }
}
