//! Disks and their partitions.

use std::collections::BTreeMap;

use crate::config::{Disk, Partition, filled, list};

use super::{Check, storage};

/// Characters of a label (UEFI Specification 2.10, table 5.6).
const LABEL: usize = 36;

/// Checks all disks.
pub fn disks(disks: &[Disk], check: &mut Check<'_>) {
    let named = disks.iter().enumerate();
    check.unique(named.map(|(n, d)| (format!("storage.disks.{n}.device"), d.device.as_str())));
    for (number, disk) in disks.iter().enumerate() {
        let key = format!("storage.disks.{number}");
        storage::device(&format!("{key}.device"), &disk.device, check);
        let partitions = list(disk.partitions.as_ref());
        for (number, one) in partitions.iter().enumerate() {
            partition(&format!("{key}.partitions.{number}"), one, check);
        }
        numbers(&key, partitions, check);
        labels(&key, partitions, check);
        overlaps(&key, partitions, check);
    }
}

fn partition(key: &str, partition: &Partition, check: &mut Check<'_>) {
    // One without either would be made again by the attempt after a cut.
    if partition.number.unwrap_or(0) == 0 && filled(partition.label.as_ref()).is_none() {
        check.error(key, "give a number from 1 on, or a label");
    }
    for (name, value) in [
        ("number", partition.number),
        ("startMiB", partition.start_mib),
        ("sizeMiB", partition.size_mib),
    ] {
        if value.is_some_and(|value| value < 0) {
            let message = "expected a number, 0 or more";
            check.error(&format!("{key}.{name}"), message);
        }
    }
    let attributes = partition.label.is_some()
        || filled(partition.type_guid.as_ref()).is_some()
        || filled(partition.guid.as_ref()).is_some()
        || partition.start_mib.is_some()
        || partition.size_mib.is_some();
    if partition.should_exist == Some(false) && attributes {
        let message = "a partition that shall not exist has a number, and nothing else";
        check.error(&format!("{key}.shouldExist"), message);
    }
    if let Some(text) = &partition.label {
        label(&format!("{key}.label"), text, check);
    }
    for (name, text) in [
        ("guid", &partition.guid),
        ("typeGuid", &partition.type_guid),
    ] {
        if let Some(text) = filled(text.as_ref()) {
            guid(&format!("{key}.{name}"), text, check);
        }
    }
}

fn label(key: &str, label: &str, check: &mut Check<'_>) {
    let units = label.encode_utf16().count();
    if units > LABEL {
        let message = format!("a label has at most {LABEL} characters, this one has {units}");
        check.error(key, message);
    } else if units != label.chars().count() || label.contains('\0') {
        check.error(key, "a partition's label cannot have these characters");
    } else if label.contains(':') {
        // Upstream's tools end the label there; a config must mean one thing.
        check.error(key, "a partition's label cannot have a colon");
    }
}

fn guid(key: &str, text: &str, check: &mut Check<'_>) {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hexadecimal = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(hexadecimal) {
        let message = format!(
            "expected a GUID of the form 01234567-89AB-CDEF-EDCB-A98765432101, found {text:?}"
        );
        check.error(key, message);
    } else if text.bytes().all(|byte| byte == b'0' || byte == b'-') {
        check.error(key, "this GUID stands for no partition");
    }
}

fn numbers(key: &str, partitions: &[Partition], check: &mut Check<'_>) {
    let mut first: BTreeMap<i64, usize> = BTreeMap::new();
    let numbered = partitions.iter().enumerate();
    let numbered = numbered.map(|(index, p)| (index, p.number.unwrap_or(0)));
    for (index, number) in numbered.clone().filter(|(_, number)| *number > 0) {
        let earlier = *first.entry(number).or_insert(index);
        if earlier != index {
            let message =
                format!("number {number} is a duplicate, already at {key}.partitions.{earlier}");
            check.error(&format!("{key}.partitions.{index}.number"), message);
        }
    }
    let absent = partitions
        .iter()
        .position(|p| p.should_exist == Some(false));
    if let Some(absent) = absent
        && let Some((index, _)) = numbered.clone().find(|(_, number)| *number == 0)
    {
        let message = format!(
            "give it a number: {key}.partitions.{absent} shall not exist, \
             and the next free number would depend on that"
        );
        check.error(&format!("{key}.partitions.{index}"), message);
    }
}

fn labels(key: &str, partitions: &[Partition], check: &mut Check<'_>) {
    let labelled = partitions.iter().enumerate();
    let labelled = labelled.filter_map(|(index, p)| {
        let label = p.label.as_deref()?;
        Some((format!("{key}.partitions.{index}.label"), label))
    });
    check.unique(labelled);
}

/// No two partitions whose places are given may share a MiB.
fn overlaps(key: &str, partitions: &[Partition], check: &mut Check<'_>) {
    let mut placed: Vec<(i64, i64, usize)> = Vec::new();
    for (index, partition) in partitions.iter().enumerate() {
        let (Some(start), Some(size)) = (partition.start_mib, partition.size_mib) else {
            continue;
        };
        if start <= 0 || size < 0 {
            continue;
        }
        // A size of 0 takes at least the first one.
        let last = start.saturating_add((size - 1).max(0));
        let clash = |other: &&(i64, i64, usize)| other.0 <= last && start <= other.1;
        if let Some((.., other)) = placed.iter().find(clash) {
            let message = format!("it overlaps {key}.partitions.{other}");
            check.error(&format!("{key}.partitions.{index}"), message);
        }
        placed.push((start, last, index));
    }
}
