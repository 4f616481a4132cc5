//! What becomes of disks: as the config says it, or, of a disk that was given,
//! partition by partition.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use ignition_config::v3_6::{Partition, Storage};

use crate::config::{Disk, filled, list};
use crate::stage::disks::{Fate, Foretold, foretell};

use super::{Plan, PlanError};

const MIB: u64 = 1 << 20;

/// A disk to plan for: `[DEVICE=]IMAGE`, or `[DEVICE=]SIZE` of an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The config's name of it; not needed if the config has one disk only.
    device: Option<String>,
    disk: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// What is there is in this file, or on this device.
    Image(PathBuf),
    /// Nothing is there; bytes.
    Empty(u64),
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (device, disk) = match text.split_once('=') {
            Some((device, disk)) => (Some(device.to_owned()), disk),
            None => (None, text),
        };
        if disk.is_empty() {
            return Err("expected an image, a device, or a size such as 20GiB".to_owned());
        }
        let disk = size(disk).map_or_else(|| Kind::Image(disk.into()), Kind::Empty);
        Ok(Self { device, disk })
    }
}

/// `20GiB`, `512MiB`.
fn size(text: &str) -> Option<u64> {
    let units = [("GiB", 1 << 30), ("MiB", MIB)];
    units.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*bytes).filter(|size| *size < 1 << 60)
    })
}

/// All disks that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disks(Vec<Given>);

impl Disks {
    /// These disks.
    pub fn new(given: Vec<Given>) -> Self {
        Self(given)
    }

    /// The one that stands for `disk`.
    fn of(&self, disk: &Disk) -> Option<&Kind> {
        let named = |given: &&Given| given.device.as_ref().is_none_or(|d| *d == disk.device);
        self.0.iter().find(named).map(|given| &given.disk)
    }

    /// Whether every disk that was given is one of `disks`, and which.
    fn check(&self, disks: &[Disk]) -> Result<(), String> {
        let names: Vec<_> = disks.iter().map(|disk| disk.device.as_str()).collect();
        let known = match names.as_slice() {
            [] => "the config has no storage.disks".to_owned(),
            names => format!("the config has {}", names.join(", ")),
        };
        for given in &self.0 {
            match &given.device {
                Some(device) if !names.contains(&device.as_str()) => {
                    return Err(format!("{device} is not a disk of the config; {known}"));
                }
                None if names.len() != 1 || self.0.len() != 1 => {
                    return Err(format!("write DEVICE=IMAGE; {known}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Disks as the spec has them, whether or not this version of the host
    /// refuses them.
    pub(super) fn disks(&mut self, storage: &Storage, given: &Disks) -> Result<(), PlanError> {
        let disks = list(storage.disks.as_ref());
        given.check(disks).map_err(PlanError::Which)?;
        for (index, disk) in disks.iter().enumerate() {
            match given.of(disk) {
                None => self.disk(disk),
                Some(Kind::Image(path)) => self.foretold(disk, &foretell(index, disk, path)?),
                Some(Kind::Empty(size)) => {
                    let image = Empty::new(index, *size).map_err(PlanError::Empty)?;
                    self.foretold(disk, &foretell(index, disk, &image.0)?);
                }
            }
        }
        Ok(())
    }

    fn disk(&mut self, disk: &Disk) {
        let wipes = disk.wipe_table == Some(true);
        let step = self.step("disks", "partition", &disk.device);
        step.destroys = wipes;
        step.says_if(
            wipes,
            "the partition table and all that is on the disk are lost",
        );
        for partition in list(disk.partitions.as_ref()) {
            let wiped = partition.wipe_partition_entry == Some(true);
            step.destroys |= wiped;
            step.says(partition_words(partition));
            step.says_if(wiped, "one that differs is removed first");
        }
    }

    fn foretold(&mut self, disk: &Disk, foretold: &Foretold) {
        let device = &disk.device;
        let lost = |fate: &Fate| matches!(fate, Fate::Lost(_));
        if foretold.new_table {
            let loses = foretold.partitions.iter().any(lost);
            let step = self.step("disks", "make partition table", device);
            step.destroys = loses;
            step.says_if(
                loses,
                "the table that is there, and all of its partitions, are lost",
            );
        }
        for fate in &foretold.partitions {
            let (action, entry, destroys) = match fate {
                Fate::Kept(entry) => ("keep partition", entry, false),
                Fate::Lost(entry) => ("remove partition", entry, true),
                Fate::Made(entry) => ("make partition", entry, false),
                Fate::Resized { from, .. } => ("resize partition", from, false),
            };
            let target = format!("{device}, number {}", entry.number);
            let step = self.step("disks", action, &target);
            step.destroys = destroys;
            step.says_if(!entry.name.is_empty(), &format!("label {:?}", entry.name));
            step.says(extent(entry.first_lba, entry.last_lba, foretold.block_size));
            if let Fate::Resized { from, last_lba } = fate {
                let then = extent(from.first_lba, *last_lba, foretold.block_size);
                step.says(format!("then {then}"));
            }
        }
        if !foretold.new_table && foretold.partitions.is_empty() {
            self.step("disks", "keep disk", device)
                .says("it gets no partition table");
        }
    }
}

/// Where a partition is, in the config's units.
fn extent(first: u64, last: u64, block_size: u32) -> String {
    let bytes = u64::from(block_size);
    let size = (last + 1).saturating_sub(first).saturating_mul(bytes);
    let start = first.saturating_mul(bytes);
    let mib = |bytes: u64| match bytes % MIB {
        0 => (bytes / MIB).to_string(),
        _ => format!("{:.2}", bytes as f64 / MIB as f64),
    };
    let (start, size) = (mib(start), mib(size));
    format!("{size} MiB from {start} MiB on")
}

/// A file without contents, removed with this.
struct Empty(PathBuf);

impl Empty {
    /// One that is `size` long and takes no room.
    fn new(index: usize, size: u64) -> std::io::Result<Self> {
        let name = format!("ignition-plan-{}-{index}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let empty = Self(path);
        file.set_len(size)?;
        Ok(empty)
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // What is left of it is an empty file in the directory for such.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn partition_words(partition: &Partition) -> String {
    let name = match filled(partition.label.as_ref()) {
        Some(label) => label.to_owned(),
        None => partition.number.unwrap_or_default().to_string(),
    };
    match (partition.should_exist, partition.size_mib) {
        (Some(false), _) => format!("no partition {name}"),
        (_, Some(size)) if size > 0 => format!("partition {name}, {size} MiB"),
        _ => format!("partition {name}, all space that is left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_an_image_or_a_size() {
        let parse = |text: &str| text.parse::<Given>().unwrap();
        let image = parse("/dev/vdb=disk.img");
        assert_eq!(image.device.as_deref(), Some("/dev/vdb"));
        assert_eq!(image.disk, Kind::Image("disk.img".into()));
        assert_eq!(parse("20GiB").disk, Kind::Empty(20 << 30));
        assert_eq!(parse("a=512MiB").disk, Kind::Empty(512 << 20));
        assert_eq!(parse("GiB").disk, Kind::Image("GiB".into()));
        assert!("/dev/vdb=".parse::<Given>().is_err());
    }

    #[test]
    fn extents_are_in_the_units_of_the_config() {
        assert_eq!(extent(2048, 4095, 512), "1 MiB from 1 MiB on");
        assert_eq!(extent(256, 256, 4096), "0.00 MiB from 1 MiB on");
        assert_eq!(extent(34, 2047, 512), "0.98 MiB from 0.02 MiB on");
    }
}
