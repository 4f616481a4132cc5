//! What the disks that were given hold.

use std::fmt;

use serde::Serialize;

use crate::stage::disks::{Holding, Probe};

/// Bytes that the config counts in.
const MIB: u64 = 1 << 20;

/// A disk as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What the config calls it.
    pub device: String,
    /// What was looked at; None for an empty disk.
    pub image: Option<String>,
    /// Its bytes.
    pub bytes: u64,
    /// What it holds as a whole; None if that is nothing known.
    pub holds: Option<Contents>,
    /// Its partitions, if it has a GPT.
    pub partitions: Vec<Partition>,
}

/// A partition as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Its label.
    pub label: String,
    /// What it is for.
    pub type_guid: String,
    /// Its identity.
    pub guid: String,
    /// Where it starts, in bytes.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
    /// What it holds; None if that is nothing known.
    pub holds: Option<Contents>,
}

/// What something holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// All of it in words.
    pub text: String,
    /// The file system, or what else it is, as blkid calls it.
    pub format: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Its identity.
    pub uuid: Option<String>,
}

impl From<&Holding> for Disk {
    fn from(holding: &Holding) -> Self {
        let stand_in = &holding.stand_in;
        let bytes = |blocks: u64| blocks.saturating_mul(u64::from(holding.block_size));
        let partitions = holding
            .partitions
            .iter()
            .map(|(partition, found)| Partition {
                number: partition.number,
                label: partition.name.clone(),
                type_guid: partition.type_guid.to_string(),
                guid: partition.guid.to_string(),
                start: bytes(partition.first_lba),
                bytes: bytes(partition.block_count()),
                holds: contents(found),
            });
        Self {
            device: stand_in.device.clone(),
            image: (!stand_in.empty).then(|| stand_in.image.display().to_string()),
            bytes: holding.size,
            holds: contents(&holding.whole),
            partitions: partitions.collect(),
        }
    }
}

fn contents(found: &Probe) -> Option<Contents> {
    Some(Contents {
        text: found.describe()?,
        format: found.kind.clone(),
        label: found.label.clone(),
        uuid: found.uuid.clone(),
    })
}

/// A line for the disk, one for each of its partitions.
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, bytes, .. } = self;
        let size = mib(*bytes);
        match &self.image {
            None => return writeln!(f, "{device} is an empty disk of {size} MiB"),
            Some(image) => write!(f, "{device} is {image}, {size} MiB, ")?,
        }
        if self.partitions.is_empty() {
            return writeln!(f, "holds {}", words(self.holds.as_ref()));
        }
        writeln!(f, "has partitions")?;
        self.partitions.iter().try_for_each(|one| {
            let place = extent(one.start, one.bytes);
            let holds = words(one.holds.as_ref());
            let Partition { number, label, .. } = one;
            writeln!(f, "{number:4}: label {label:?}, {place}, holds {holds}")
        })
    }
}

/// What something holds, for people.
pub(super) fn words(contents: Option<&Contents>) -> &str {
    contents.map_or("nothing that is known", |contents| &contents.text)
}

/// A place in the config's units.
pub(super) fn extent(start: u64, size: u64) -> String {
    format!("{} MiB from {} MiB on", mib(size), mib(start))
}

fn mib(bytes: u64) -> String {
    match bytes % MIB {
        0 => (bytes / MIB).to_string(),
        _ => format!("{:.2}", bytes as f64 / MIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_in_the_units_of_the_config() {
        assert_eq!(extent(MIB, MIB), "1 MiB from 1 MiB on");
        assert_eq!(extent(MIB, 4096), "0.00 MiB from 1 MiB on");
        assert_eq!(extent(34 * 512, 2014 * 512), "0.98 MiB from 0.02 MiB on");
    }
}
