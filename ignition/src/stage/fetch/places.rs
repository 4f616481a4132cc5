//! Where a merged config was written.

use std::collections::BTreeMap;

use crate::config::{Config, Locate as _, Origins, Passwd, Storage, list};
use crate::stage::kargs;

/// Where every entry of the merged config was written, for later stages.
pub(super) fn places(config: &Config, origins: &Origins) -> BTreeMap<String, String> {
    let storage = config.storage.as_ref();
    let passwd = config.passwd.as_ref();
    let units = config.systemd.as_ref().and_then(|s| s.units.as_ref());
    let of_storage = |length: fn(&Storage) -> usize| storage.map_or(0, length);
    let of_passwd = |length: fn(&Passwd) -> usize| passwd.map_or(0, length);
    let lists = [
        (
            "storage.disks",
            of_storage(|s| list(s.disks.as_ref()).len()),
        ),
        ("storage.raid", of_storage(|s| list(s.raid.as_ref()).len())),
        ("storage.luks", of_storage(|s| list(s.luks.as_ref()).len())),
        (
            "storage.filesystems",
            of_storage(|s| list(s.filesystems.as_ref()).len()),
        ),
        (
            "storage.files",
            of_storage(|s| list(s.files.as_ref()).len()),
        ),
        (
            "storage.directories",
            of_storage(|s| list(s.directories.as_ref()).len()),
        ),
        (
            "storage.links",
            of_storage(|s| list(s.links.as_ref()).len()),
        ),
        ("passwd.users", of_passwd(|p| list(p.users.as_ref()).len())),
        (
            "passwd.groups",
            of_passwd(|p| list(p.groups.as_ref()).len()),
        ),
        ("systemd.units", units.map_or(0, Vec::len)),
    ];
    let keys = lists
        .into_iter()
        .flat_map(|(list, length)| (0..length).map(move |number| format!("{list}.{number}")));
    let disks = list(storage.and_then(|s| s.disks.as_ref())).iter();
    let partitions = disks.enumerate().flat_map(|(disk, entry)| {
        let count = list(entry.partitions.as_ref()).len();
        (0..count).map(move |number| format!("storage.disks.{disk}.partitions.{number}"))
    });
    let arguments = kargs::asked(config).then(|| "kernelArguments".to_owned());
    keys.chain(partitions)
        .chain(arguments)
        .map(|key| {
            let place = origins.place(&key).to_string();
            (key, place)
        })
        .collect()
}
