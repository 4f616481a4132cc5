//! The slots' bits on the disk: reading them, and the few changes that need no release.

use std::io;
use std::path::{Path, PathBuf};

use bootloader::block::FileDisk;
use bootloader::gpt::{EditError, Gpt, GptError};
use bootloader::slot::{Slot, SlotError, SlotTable};

use crate::slots::HostDisk;

/// Bytes of a logical sector. Disks of a host have 512: of others neither the selector
/// nor the firmware could have read what started it.
const SECTOR: u32 = 512;

/// The slots' bits could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The disk could not be opened or locked.
    #[error("opening {}", .disk.display())]
    Open {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The partition table could not be read or written.
    #[error("the partition table of {}", .disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: GptError,
    },
    /// The slots are not on it.
    #[error("the slots of {}", .disk.display())]
    Slots {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: SlotError,
    },
    /// The bits do not fit the table.
    #[error("the slots' bits in the partition table of {}", .disk.display())]
    Edit {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: EditError,
    },
}

/// The partition table of `disk`.
pub fn table(disk: &Path) -> Result<Gpt, MarksError> {
    let mut device = FileDisk::open_read_only(disk, SECTOR).map_err(open(disk))?;
    Gpt::read(&mut device).map_err(gpt(disk))
}

/// The slots' bits.
pub fn read(disk: &Path) -> Result<SlotTable, MarksError> {
    SlotTable::from_gpt(&table(disk)?).map_err(slots(disk))
}

/// Changes the slots' bits in one durable write; tells whether there was anything to
/// change. The disk is locked meanwhile ([`HostDisk`]).
pub fn change(disk: &Path, edit: impl FnOnce(&mut SlotTable)) -> Result<bool, MarksError> {
    let mut device = HostDisk::open(disk).map_err(open(disk))?;
    let mut gpt = Gpt::read(&mut device).map_err(self::gpt(disk))?;
    let before = SlotTable::from_gpt(&gpt).map_err(slots(disk))?;
    let mut after = before;
    edit(&mut after);
    if after == before {
        return Ok(false);
    }
    gpt.repair(&mut device).map_err(self::gpt(disk))?;
    after.store(&mut gpt).map_err(|source| MarksError::Edit {
        disk: disk.to_path_buf(),
        source,
    })?;
    gpt.commit(&mut device).map_err(self::gpt(disk))?;
    Ok(true)
}

/// Records that `slot` came up healthy.
pub fn bless(disk: &Path, slot: Slot) -> Result<bool, MarksError> {
    change(disk, |table| table.bless(slot))
}

/// Makes sure that `slot` is not started.
pub fn disarm(disk: &Path, slot: Slot) -> Result<bool, MarksError> {
    change(disk, |table| table.disarm(slot))
}

/// Makes `slot`, which once came up healthy, the first choice; the other one stays what
/// it is, below it.
pub fn prefer(disk: &Path, slot: Slot) -> Result<bool, MarksError> {
    change(disk, |table| {
        let (this, other) = (table.bits(slot), table.bits(slot.other()));
        if this.priority <= other.priority {
            table.arm(slot, 1);
            table.bless(slot);
        }
    })
}

fn open(disk: &Path) -> impl FnOnce(io::Error) -> MarksError {
    let disk = disk.to_path_buf();
    move |source| MarksError::Open { disk, source }
}

fn gpt(disk: &Path) -> impl FnOnce(GptError) -> MarksError {
    let disk = disk.to_path_buf();
    move |source| MarksError::Table { disk, source }
}

fn slots(disk: &Path) -> impl FnOnce(SlotError) -> MarksError {
    let disk = disk.to_path_buf();
    move |source| MarksError::Slots { disk, source }
}
