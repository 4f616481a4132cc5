//! One disk: as it is, and as it is once its table is written.

use std::collections::BTreeMap;

use bootloader::gpt::Partition;

use super::super::format::partitions;
use super::super::kernel::{Device, Kernel};
use super::super::plan::Operation;
use super::super::probe::{self, Probe};
use super::super::protected;
use super::super::table::Change;
use super::super::{Context, DisksError};
use super::names::Spot;
use super::{Contents, Fate, Holding, NewTable, StandIn, given};

/// Why it is not known what a disk without a table holds once that place is wiped.
const WIPED: &str = "what is left of it shows once the place of a table is wiped";

/// Looks at what stands for a disk.
pub(super) fn look(kernel: &Kernel, stand_in: &StandIn) -> Result<(Device, Holding), DisksError> {
    let at = given(&stand_in.image);
    let fail = |source| at.device("looking at", source);
    let device = kernel.device(&stand_in.image).map_err(fail)?;
    let block_size = device.block_size().map_err(fail)?;
    let size = device.size().map_err(fail)?;
    if size == 0 {
        return Err(at.conflict("is an empty file; give the image of a whole disk"));
    }
    let whole = probe::probe(device.path()).map_err(|source| at.program(source))?;
    let mut holding = Holding {
        stand_in: stand_in.clone(),
        size,
        block_size,
        whole,
        partitions: Vec::new(),
    };
    for partition in partitions(&at, &device)? {
        let found = holding.probe(&device, &partition)?;
        holding.partitions.push((partition, found));
    }
    Ok((device, holding))
}

/// The partitions that a machine runs from if it boots from this disk. A disk that is to
/// be booted and never was gets its root first, on all that is free.
pub(super) fn running(holding: &Holding) -> Result<BTreeMap<u32, String>, DisksError> {
    let partitions = holding.partitions.iter().map(|(p, _)| p.clone());
    let partitions: Vec<Partition> = partitions.collect();
    if protected::lacks_root(&partitions) {
        let message = "is an image of this system that was never booted: on its first boot, root \
                       is made of all free space before the config is looked at; give a copy that \
                       was booted once";
        return Err(given(&holding.stand_in.image).conflict(message));
    }
    Ok(protected::running_from(&partitions))
}

impl Holding {
    /// What lies in the blocks of `partition`.
    fn probe(&self, device: &Device, partition: &Partition) -> Result<Probe, DisksError> {
        let (offset, size) = extent(partition, self.block_size);
        let at = given(&self.stand_in.image);
        let found = probe::probe_part(device.path(), offset, size);
        found.map_err(|source| at.program(source))
    }
}

/// Offset and size in bytes.
fn extent(partition: &Partition, block_size: u32) -> (u64, u64) {
    let bytes = |blocks: u64| blocks.saturating_mul(u64::from(block_size));
    (bytes(partition.first_lba), bytes(partition.block_count()))
}

/// What `change` makes of the table of a disk.
pub(super) fn new_table(holding: &Holding, change: &Change) -> NewTable {
    let before = holding.partitions.iter().map(|(partition, _)| partition);
    match change {
        Change::Nothing => NewTable::None,
        Change::Edit { operations, .. } => NewTable::Edited(fates(before, operations)),
        Change::Make {
            operations, wiped, ..
        } => {
            let lost = before.cloned().map(Fate::Lost);
            NewTable::Made {
                wiped: wiped.is_some(),
                fates: lost.chain(fates([].iter(), operations)).collect(),
            }
        }
    }
}

/// What `operations` make of the partitions `before`.
fn fates<'a>(before: impl Iterator<Item = &'a Partition>, operations: &[Operation]) -> Vec<Fate> {
    let mut changed = BTreeMap::new();
    let mut made = Vec::new();
    for operation in operations {
        match operation {
            Operation::Create { partition, .. } => made.push(Fate::Made(partition.clone())),
            other => {
                changed.insert(other.number(), other);
            }
        }
    }
    let fate = |partition: &Partition| match changed.get(&partition.number) {
        Some(Operation::Resize { last_lba, .. }) => Fate::Resized {
            from: partition.clone(),
            last_lba: *last_lba,
        },
        Some(_) => Fate::Lost(partition.clone()),
        None => Fate::Kept(partition.clone()),
    };
    before.map(fate).chain(made).collect()
}

/// A disk as it is once its table is written.
pub(super) struct Target {
    pub name: String,
    device: Device,
    size: u64,
    block_size: u32,
    empty: bool,
    /// What it holds as a whole.
    whole: Contents,
    /// Whether that is something else than before.
    touched: bool,
    pub partitions: Vec<Entry>,
}

/// A partition then.
pub(super) struct Entry {
    pub partition: Partition,
    /// What lies in its blocks.
    pub found: Probe,
    /// Whether it is another one than before.
    touched: bool,
}

impl Target {
    /// One whose table stays as it is.
    pub fn new(device: Device, holding: &Holding) -> Self {
        let entry = |(partition, found): &(Partition, Probe)| Entry {
            partition: partition.clone(),
            found: found.clone(),
            touched: false,
        };
        Self {
            name: holding.stand_in.device.clone(),
            device,
            size: holding.size,
            block_size: holding.block_size,
            empty: holding.stand_in.empty,
            whole: Contents::Known(holding.whole.clone()),
            touched: false,
            partitions: holding.partitions.iter().map(entry).collect(),
        }
    }

    /// Takes over what `change` makes of it, which is `table`.
    pub fn change(
        &mut self,
        holding: &Holding,
        change: &Change,
        table: &NewTable,
    ) -> Result<(), DisksError> {
        let fates = match table {
            NewTable::None => return Ok(()),
            NewTable::Edited(fates) => fates,
            NewTable::Made { fates, .. } => {
                let made = fates.iter().any(|fate| matches!(fate, Fate::Made(_)));
                self.whole = match (made, &holding.whole.kind) {
                    (true, _) => Contents::Known(gpt()),
                    (false, None) => Contents::Known(Probe::default()),
                    (false, Some(_)) => Contents::Hidden(WIPED),
                };
                fates
            }
        };
        self.touched = change.touches(None);
        self.partitions.clear();
        for partition in fates.iter().filter_map(Fate::after) {
            let found = holding.probe(&self.device, &partition)?;
            let touched = change.touches(Some(partition.number));
            self.partitions.push(Entry {
                partition,
                found,
                touched,
            });
        }
        Ok(())
    }

    /// The disk as a whole.
    pub fn spot(&self, context: &Context<'_>) -> Result<Spot, DisksError> {
        let user = match context
            .kernel
            .user(&self.device)
            .map_err(|e| self.users(e))?
        {
            Some(user) => Some(user),
            None => self.used(context)?.into_values().next(),
        };
        Ok(Spot {
            place: self.device.place().to_owned(),
            contents: self.whole.clone(),
            touched: self.touched,
            user,
            image: self.device.path().to_owned(),
            offset: 0,
            size: self.size,
            empty: self.empty,
            disk: self.name.clone(),
            partition: None,
        })
    }

    /// One of its partitions.
    pub fn part(&self, context: &Context<'_>, entry: &Entry) -> Result<Spot, DisksError> {
        let partition = &entry.partition;
        let all = self.partitions.iter().map(|entry| entry.partition.clone());
        let used = self.used(context)?;
        let mut protected = protected::protected(&all.collect::<Vec<_>>(), used);
        let (offset, size) = extent(partition, self.block_size);
        Ok(Spot {
            place: self.device.place().join(partition.number.to_string()),
            contents: Contents::Known(entry.found.clone()),
            touched: entry.touched,
            user: protected.remove(&partition.number),
            image: self.device.path().to_owned(),
            offset,
            size,
            empty: self.empty,
            disk: self.name.clone(),
            partition: Some((partition.number, partition.name.clone())),
        })
    }

    fn used(&self, context: &Context<'_>) -> Result<BTreeMap<u32, String>, DisksError> {
        context.users(&self.device).map_err(|e| self.users(e))
    }

    fn users(&self, source: std::io::Error) -> DisksError {
        given(self.device.path()).device("looking for users of", source)
    }
}

impl Fate {
    /// The partition as it is then, if it is there.
    pub fn after(&self) -> Option<Partition> {
        match self {
            Self::Lost(_) => None,
            Self::Kept(partition) | Self::Made(partition) => Some(partition.clone()),
            Self::Resized { from, last_lba } => Some(Partition {
                last_lba: *last_lba,
                ..from.clone()
            }),
        }
    }
}

/// What a disk with a table holds.
fn gpt() -> Probe {
    Probe {
        table: Some("gpt".to_owned()),
        ..Probe::default()
    }
}
