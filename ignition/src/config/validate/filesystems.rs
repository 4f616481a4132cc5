//! File systems.

use std::collections::BTreeMap;

use crate::config::{Disk, Filesystem, filled, list};

use super::{Check, storage};

/// Formats, and how long their labels may be, in bytes.
const FORMATS: [(&str, Option<usize>); 6] = [
    ("ext4", Some(16)),
    ("btrfs", Some(256)),
    ("xfs", Some(12)),
    ("swap", Some(15)),
    ("vfat", Some(11)),
    ("none", None),
];

/// Checks all file systems; `disks` may be the same devices.
pub fn filesystems(filesystems: &[Filesystem], disks: &[Disk], check: &mut Check<'_>) {
    let key = |number: usize| format!("storage.filesystems.{number}");
    let named = filesystems.iter().enumerate();
    check.unique(named.map(|(n, f)| (format!("{}.device", key(n)), f.device.as_str())));
    let mut mounted: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, one) in filesystems.iter().enumerate() {
        let key = key(number);
        storage::device(&format!("{key}.device"), &one.device, check);
        format(&key, one, check);
        same_device(&format!("{key}.device"), one, disks, check);
        let Some(path) = filled(one.path.as_ref()) else {
            continue;
        };
        storage::absolute(&format!("{key}.path"), path, check);
        let earlier = *mounted.entry(path).or_insert(number);
        if earlier != number {
            let message = format!(
                "{path:?} is the path of storage.filesystems.{earlier} too; \
                 that one is hidden below this one"
            );
            check.warn(&format!("{key}.path"), message);
        }
    }
}

fn format(key: &str, filesystem: &Filesystem, check: &mut Check<'_>) {
    let label = filled(filesystem.label.as_ref());
    let Some(format) = filled(filesystem.format.as_ref()) else {
        let others = filled(filesystem.path.as_ref()).is_some()
            || label.is_some()
            || filled(filesystem.uuid.as_ref()).is_some()
            || filesystem.wipe_filesystem == Some(true)
            || !list(filesystem.mount_options.as_ref()).is_empty()
            || !list(filesystem.options.as_ref()).is_empty();
        if others {
            let message =
                "path, label, uuid, wipeFilesystem, options and mountOptions need a format";
            check.error(&format!("{key}.format"), message);
        }
        return;
    };
    let Some((_, longest)) = FORMATS.iter().find(|(name, _)| *name == format) else {
        let message = format!("expected ext4, btrfs, xfs, vfat, swap or none, found {format:?}");
        check.error(&format!("{key}.format"), message);
        return;
    };
    if let (Some(label), Some(longest)) = (label, longest)
        && label.len() > *longest
    {
        let message = format!(
            "a label of {format} has at most {longest} bytes, {label:?} has {}",
            label.len()
        );
        check.error(&format!("{key}.label"), message);
    }
}

fn same_device(key: &str, filesystem: &Filesystem, disks: &[Disk], check: &mut Check<'_>) {
    let Some(disk) = disks.iter().find(|d| d.device == filesystem.device) else {
        return;
    };
    if !list(disk.partitions.as_ref()).is_empty() {
        check.warn(
            key,
            "the file system overwrites the partitions of this disk",
        );
    } else if disk.wipe_table == Some(true) && filesystem.wipe_filesystem != Some(true) {
        check.warn(
            key,
            "the file system is wiped with the table of this disk (wipeTable)",
        );
    }
}
