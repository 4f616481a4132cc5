//! All that is on the disks after the stages, in lines that can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::identities::Identities;
use crate::differential::tree::Tree;

/// What is known, by what it is about.
pub type Lines = BTreeMap<String, String>;

/// What `look.sh` found out about one device.
pub struct Seen {
    lines: Lines,
    tree: Tree,
}

/// What blkid says of where the device is, which the table says too, or of the run.
const OF_THE_RUN: [&str; 4] = ["DEVNAME", "PART_ENTRY_", "DISKSEQ", "PTUUID"];

/// What a superblock says that is another one in every run: times, what was made up, what
/// depends on the moment of a write, and the sums over these.
const OF_THE_MOMENT: [&str; 33] = [
    // ext4
    "Filesystem UUID",
    "Last mounted on",
    "Filesystem created",
    "Last mount time",
    "Last write time",
    "Last checked",
    "Lifetime writes",
    "Directory Hash Seed",
    "Checksum:",
    "Checksum seed",
    // What the first commit writes, be it an access time.
    "Journal features",
    "Journal checksum",
    "Journal sequence",
    "Journal start",
    // xfs
    "uuid",
    "meta_uuid",
    "crc",
    "lsn",
    // vfat
    "serial number",
    // btrfs
    "superblock:",
    "csum\t",
    "fsid",
    "metadata_uuid",
    "generation",
    "root\t",
    "chunk_root",
    "log_root",
    "cache_generation",
    "uuid_tree_generation",
    "bytes_used",
    "dev_item.uuid",
    "dev_item.fsid",
    "dev_item.bytes_used",
];

impl Seen {
    /// Reads what is in `directory`.
    pub fn read(directory: &Path, identities: &mut Identities) -> Result<Self> {
        let mut lines = Lines::new();
        for name in ["blkid", "start", "end", "superblock", "names", "refusal"] {
            let path = directory.join(name);
            if !path.exists() {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes);
            for (number, line) in text.lines().enumerate() {
                let (key, value) = match (name, line.split_once('=')) {
                    ("blkid", Some((key, value))) => (key.to_owned(), value.to_owned()),
                    _ => (format!("{number:03}"), line.to_owned()),
                };
                if let Some(value) = normal(name, &key, value, identities) {
                    lines.insert(format!("{name} {key}"), value);
                }
            }
        }
        // The bytes of what is known by its structure differ with its identity and time.
        if lines.contains_key("blkid TYPE") || lines.contains_key("blkid PTTYPE") {
            lines.remove("start 000");
            lines.remove("end 000");
        }
        let tree = match directory.join("tree") {
            tree if tree.exists() => Tree::read(&tree)?,
            _ => Tree::default(),
        };
        Ok(Self { lines, tree })
    }

    /// How `ours` differs from this; each line begins with `device`.
    pub fn differences(&self, ours: &Self, device: &str) -> Vec<String> {
        let mut found = differences(&self.lines, &ours.lines);
        found.extend(self.tree.differences(&ours.tree));
        found
            .into_iter()
            .map(|line| format!("{device}: {line}"))
            .collect()
    }
}

/// The line of the file `name` as it is compared, or nothing.
fn normal(name: &str, key: &str, value: String, identities: &mut Identities) -> Option<String> {
    let starts = |list: &[&str], text: &str| list.iter().any(|start| text.starts_with(start));
    match name {
        "blkid" if starts(&OF_THE_RUN, key) => None,
        "blkid" if key.starts_with("UUID") => Some(identities.name(&value)),
        "superblock" if value.is_empty() => None,
        "superblock" if starts(&OF_THE_MOMENT, value.trim_start()) => None,
        // Where something is mounted, or attached.
        "refusal" => Some("cannot be mounted".to_owned()),
        _ => Some(value),
    }
}

/// How `ours` differs from `theirs`.
pub fn differences(theirs: &Lines, ours: &Lines) -> Vec<String> {
    let mut found = Vec::new();
    for (key, text) in theirs {
        match ours.get(key) {
            None => found.push(format!("{key}: only theirs: {text}")),
            Some(other) if other != text => {
                found.push(format!("{key}:\n  theirs: {text}\n  ours:   {other}"));
            }
            Some(_) => {}
        }
    }
    for (key, text) in ours {
        if !theirs.contains_key(key) {
            found.push(format!("{key}: only ours: {text}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(fill: impl FnOnce(&Path)) -> Seen {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write(
            "blkid",
            "DEVNAME=/dev/loop1\nUUID=1-2\nLABEL=a\nTYPE=ext4\n",
        );
        write("start", "sum of bytes with a time in them\n");
        write("superblock", "Features: a b\nLast write time: now\n");
        fs::create_dir_all(directory.path().join("tree/root")).unwrap();
        fill(directory.path());
        Seen::read(directory.path(), &mut Identities::default()).unwrap()
    }

    #[test]
    fn what_a_config_can_ask_for_is_compared_and_what_chance_made_is_not() {
        let write = |name: &'static str, text: &'static str| {
            seen(|directory| fs::write(directory.join(name), text).unwrap())
        };
        let before = seen(|_| {});
        let changes = [
            ("blkid", "UUID=1-2\nLABEL=b\nTYPE=ext4\n", 1),
            ("blkid", "UUID=1-2\nLABEL=a\nTYPE=xfs\n", 1),
            ("blkid", "UUID=3-4\nLABEL=a\nTYPE=ext4\n", 0),
            ("start", "another sum", 0),
            ("superblock", "Features: a b c\nLast write time: now\n", 1),
            ("superblock", "Features: a b\nLast write time: then\n", 0),
            ("tree/root/file", "", 1),
            ("refusal", "cannot", 1),
        ];
        for (name, text, count) in changes {
            let lines = before.differences(&write(name, text), "1p1");
            assert_eq!(lines.len(), count, "{name}: {lines:?}");
        }
    }

    #[test]
    fn bytes_of_no_kind_are_compared() {
        let bytes = |sum: &'static str| {
            seen(|directory| {
                fs::write(directory.join("blkid"), "STATUS=2\n").unwrap();
                fs::write(directory.join("start"), sum).unwrap();
            })
        };
        assert_eq!(bytes("a").differences(&bytes("b"), "1").len(), 1);
        assert!(bytes("a").differences(&bytes("a"), "1").is_empty());
    }
}
