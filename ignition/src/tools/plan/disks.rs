//! What becomes of disks: as the config says it, or, of a disk that was given,
//! partition by partition.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use ignition_config::v3_6::{Partition, Storage};

use crate::config::{Disk, filled, list};
use crate::stage::disks::{Fate, Foretold, Holding, NewTable, StandIn, foretell};

use super::holding::extent;
use super::{Plan, PlanError};

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
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20)];
    units.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number
            .checked_mul(*bytes)
            .filter(|size| (1..1 << 60).contains(size))
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

    /// What becomes of the disks that were given.
    pub(super) fn foretell(&self, storage: &Storage) -> Result<Foretold, PlanError> {
        if self.0.is_empty() {
            return Ok(Foretold::default());
        }
        let names = self.names(storage).map_err(PlanError::Which)?;
        let (mut stand_ins, mut files) = (Vec::new(), Vec::new());
        for (index, (given, device)) in self.0.iter().zip(names).enumerate() {
            let image = match &given.disk {
                Kind::Image(path) => path.clone(),
                Kind::Empty(size) => {
                    let file = Empty::new(index, *size).map_err(PlanError::Empty)?;
                    let path = file.0.clone();
                    files.push(file);
                    path
                }
            };
            let empty = matches!(given.disk, Kind::Empty(_));
            stand_ins.push(StandIn {
                device,
                image,
                empty,
            });
        }
        Ok(foretell(storage, &stand_ins)?)
    }

    /// What the config calls each of them; or why it calls them nothing.
    fn names(&self, storage: &Storage) -> Result<Vec<String>, String> {
        let disks = list(storage.disks.as_ref()).iter();
        let disks: Vec<&str> = disks.map(|disk| disk.device.as_str()).collect();
        let known = match disks.as_slice() {
            [] => "the config has no storage.disks".to_owned(),
            disks => format!("the config has {}", disks.join(", ")),
        };
        let mut names = Vec::new();
        for given in &self.0 {
            let name = match (&given.device, disks.as_slice()) {
                (Some(device), _) if named(storage, device) => device,
                (Some(device), _) => {
                    return Err(format!("{device} is not a disk of the config; {known}"));
                }
                (None, [only]) if self.0.len() == 1 => *only,
                (None, _) => return Err(format!("write DEVICE=IMAGE; {known}")),
            };
            if names.iter().any(|taken| taken == name) {
                return Err(format!(
                    "{name} is given twice; one image stands for one disk"
                ));
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }
}

/// Whether the config may be about the disk `device`.
fn named(storage: &Storage, device: &str) -> bool {
    let disks = list(storage.disks.as_ref())
        .iter()
        .map(|d| d.device.as_str());
    let members = list(storage.raid.as_ref()).iter();
    let members = members.flat_map(|raid| list(raid.devices.as_ref()).iter().map(String::as_str));
    let luks = list(storage.luks.as_ref()).iter();
    let luks = luks.filter_map(|luks| luks.device.as_deref());
    let filesystems = list(storage.filesystems.as_ref()).iter();
    let filesystems = filesystems.map(|filesystem| filesystem.device.as_str());
    let mut on_it = members.chain(luks).chain(filesystems);
    // Links to partitions and file systems may lead to any disk.
    let links = ["partlabel", "partuuid", "label", "uuid"];
    let links = links.map(|kind| format!("/dev/disk/by-{kind}/"));
    let may_be = |name: &str| {
        name.starts_with(device) || links.iter().any(|link| name.starts_with(link.as_str()))
    };
    disks.into_iter().any(|name| name == device) || on_it.any(may_be)
}

impl Plan {
    /// Partition tables: of disks that were given what becomes of them, of others what
    /// the spec says.
    pub(super) fn tables(&mut self, storage: &Storage, foretold: &Foretold) {
        for (index, disk) in list(storage.disks.as_ref()).iter().enumerate() {
            let mut holdings = foretold.holdings.iter();
            let holding = holdings.find(|holding| holding.stand_in.device == disk.device);
            match (foretold.tables.get(&index), holding) {
                (Some(table), Some(holding)) => self.table(holding, table),
                _ => self.disk(disk),
            }
        }
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

    fn table(&mut self, holding: &Holding, table: &NewTable) {
        let device = &holding.stand_in.device;
        let fates = match table {
            NewTable::None => {
                self.step("disks", "keep disk", device)
                    .says("it gets no partition table");
                return;
            }
            NewTable::Edited(fates) => fates,
            NewTable::Made { wiped, fates } => {
                let makes = fates.iter().any(|fate| matches!(fate, Fate::Made(_)));
                let verb = if makes { "make" } else { "wipe" };
                let lost = holding.whole.describe().filter(|_| *wiped);
                let step = self.step("disks", &format!("{verb} partition table"), device);
                step.destroys = lost.is_some();
                if let Some(lost) = lost {
                    step.says(format!("what is there is lost: {lost}"));
                }
                fates
            }
        };
        for fate in fates {
            self.partition(holding, fate);
        }
    }

    fn partition(&mut self, holding: &Holding, fate: &Fate) {
        let (action, entry) = match fate {
            Fate::Kept(entry) => ("keep", entry),
            Fate::Lost(entry) => ("remove", entry),
            Fate::Made(entry) => ("make", entry),
            Fate::Resized { from, .. } => ("resize", from),
        };
        let bytes = |blocks: u64| blocks.saturating_mul(u64::from(holding.block_size));
        let place = |last: u64| {
            let blocks = last.saturating_add(1).saturating_sub(entry.first_lba);
            extent(bytes(entry.first_lba), bytes(blocks))
        };
        let mut held = holding.partitions.iter();
        let held = held.find(|(partition, _)| partition.number == entry.number);
        let held = held.and_then(|(_, found)| found.describe());
        let target = format!("{} of {}", entry.number, holding.stand_in.device);
        let step = self.step("disks", &format!("{action} partition"), &target);
        step.says_if(!entry.name.is_empty(), &format!("label {:?}", entry.name));
        step.says(place(entry.last_lba));
        match fate {
            Fate::Lost(_) => {
                step.destroys = true;
                let held = held.as_deref().unwrap_or("nothing that is known");
                step.says(format!("what it holds is lost: {held}"));
            }
            Fate::Resized { last_lba, .. } => {
                step.says(format!("then {}", place(*last_lba)));
                step.destroys = *last_lba < entry.last_lba;
                step.says_if(step.destroys, "what lies behind its new end is lost");
            }
            Fate::Kept(_) | Fate::Made(_) => {}
        }
    }
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
        assert_eq!(parse("0GiB").disk, Kind::Image("0GiB".into()));
        assert!("/dev/vdb=".parse::<Given>().is_err());
    }
}
