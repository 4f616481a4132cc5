//! Configs about disks from a seed: the same seed and number always give the same config.
//!
//! Most are about what is there already, and there is room for most of what is new; so most
//! are carried out, and the programs must agree on refusing the rest. What the programs do
//! differently on purpose is left out: configs that are written by hand have it.

use serde_json::{Map, Value, json};

use super::cases::Case;
use crate::differential::random::Random;

const STATES: [&str; 8] = [
    "empty",
    "parted",
    "bare",
    "gaps",
    "large-table",
    "main-damaged",
    "backup-damaged",
    "parted-4k",
];
const LABELS: [&str; 6] = ["one", "two", "THREE", "new", "a b", ""];
const TYPES: [&str; 3] = [
    "0fc63daf-8483-4772-8e79-3d69d8477de4",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "",
];
const FORMATS: [&str; 6] = ["ext4", "ext4", "btrfs", "vfat", "swap", "xfs"];
const PATHS: [&str; 4] = [
    "/var/data",
    "/var/data/below",
    "/srv/a",
    "/present/directory",
];

/// The config number `number` of `seed`.
pub fn case(seed: u64, number: u64) -> Case {
    // Another seed than that of configs without disks.
    let mut random = Random::new(!seed, number);
    let state = random.pick(&STATES);
    let mut storage = Map::new();
    let mut numbers = match state {
        "empty" => Vec::new(),
        "gaps" => vec![1, 2, 3, 4],
        "large-table" => vec![1, 200],
        _ => vec![1, 2, 3, 5, 6, 7],
    };
    let damaged = state.ends_with("-damaged");
    if numbers.is_empty() || damaged || random.chance(70) {
        let mut disk = random.disk(&mut numbers, state != "large-table");
        // Ours repairs a table also if nothing else changes.
        if damaged && let Some(partitions) = disk["partitions"].as_array_mut() {
            partitions.insert(0, json!({"number": 20, "sizeMiB": 4}));
        }
        storage.insert("disks".to_owned(), json!([disk]));
    }
    if random.chance(60) {
        let filesystems = random.filesystems(&numbers);
        let mounted = filesystems.iter().any(|one| one.get("path").is_some());
        storage.insert("filesystems".to_owned(), filesystems.into());
        if mounted && random.chance(70) {
            let file = json!({"path": "/var/data/below/f", "contents": {"source": "data:,text"}});
            storage.insert("files".to_owned(), json!([file]));
        }
    }
    let name = format!("disks/generated/{seed}-{number}");
    // What mkfs refuses shows late.
    Case {
        late: true,
        ..Case::new(&name, &[state], storage.into())
    }
}

impl Random {
    /// A disk on which there are `numbers`; those that will be there are left in it.
    fn disk(&mut self, numbers: &mut Vec<u32>, may_wipe: bool) -> Value {
        let wipe = may_wipe && self.chance(15);
        if wipe {
            numbers.clear();
        }
        let new: Vec<u32> = (1..=12).filter(|n| !numbers.contains(n)).collect();
        let mut partitions = Vec::new();
        for number in self.some(&new, 3) {
            partitions.push(self.new_partition(number));
            numbers.push(number);
        }
        let there: Vec<u32> = numbers.clone();
        for number in self.some(&there, 2) {
            let named = |partition: &Value| partition["number"] == json!(number);
            if !partitions.iter().any(named) {
                partitions.push(self.old_partition(number, numbers));
            }
        }
        // For a second one that takes all there may be less than a mebibyte.
        let takes_all =
            |partition: &&mut Value| matches!(partition["sizeMiB"].as_u64(), None | Some(0));
        for partition in partitions.iter_mut().filter(takes_all).skip(1) {
            partition["sizeMiB"] = json!(6);
        }
        json!({"device": "{a}", "wipeTable": wipe, "partitions": partitions})
    }

    fn new_partition(&mut self, number: u32) -> Value {
        let mut partition = json!({"number": number, "label": format!("new{number}")});
        if self.chance(70) {
            partition["sizeMiB"] = json!(self.pick(&[0, 4, 20, 33, 120]));
        }
        if self.chance(20) {
            partition["startMiB"] = json!(self.pick(&[0, 1, 60, 222, 1000, 1900]));
        }
        if self.chance(40) {
            partition["typeGuid"] = json!(self.pick(&TYPES));
        }
        if self.chance(30) {
            let guid = format!("abcdef00-0000-4000-8000-{:012x}", self.below(1 << 20));
            partition["guid"] = json!(guid);
        }
        partition
    }

    fn old_partition(&mut self, number: u32, numbers: &mut Vec<u32>) -> Value {
        let mut partition = json!({"number": number});
        if self.chance(15) {
            partition["shouldExist"] = json!(false);
            numbers.retain(|other| *other != number);
        } else {
            let choices = [
                ("label", 30, json!(self.pick(&LABELS[..5]))),
                ("sizeMiB", 40, json!(self.pick(&[0, 3, 6, 304, 340]))),
                ("startMiB", 10, json!(self.pick(&[0, 1, 305]))),
                ("typeGuid", 15, json!(self.pick(&TYPES))),
                ("resize", 60, json!(true)),
            ];
            for (key, percent, value) in choices {
                if self.chance(percent) {
                    partition[key] = value;
                }
            }
        }
        if self.chance(60) {
            partition["wipePartitionEntry"] = json!(true);
        }
        // It has attributes.
        if number == 2 {
            partition["resize"] = json!(false);
        }
        partition
    }

    fn filesystems(&mut self, numbers: &[u32]) -> Vec<Value> {
        let mut paths = PATHS.to_vec();
        let mut all = Vec::new();
        for number in self.some(numbers, 3) {
            let format = self.pick(&FORMATS);
            let mut one = json!({"device": format!("{{a}}p{number}"), "format": format});
            if self.chance(70) {
                one["wipeFilesystem"] = json!(true);
            }
            if self.chance(50) {
                one["label"] = json!(self.pick(&LABELS));
            }
            if format != "swap" && format != "vfat" && self.chance(50) {
                one["path"] = json!(paths.swap_remove(self.below(paths.len())));
            }
            all.push(one);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_always_gives_the_same_configs_and_they_are_many() {
        let of = |seed| (0..200).map(move |n| (case(seed, n).config, case(seed, n).starts[0].name));
        assert!(of(7).eq(of(7)));
        let different: BTreeSet<_> = of(7).chain(of(8)).collect();
        assert!(different.len() > 300, "{}", different.len());
    }
}
