//! The slots on the disk: the only module that touches it.
//!
//! All access goes through the whole disk, the partition table and what is in the
//! partitions alike. [`Slots`] reads; [`Disarmed`] can also write, and only to the
//! passive slot, after the table that says that it must not be started is durable.

mod error;
mod host;
mod part;

use bootloader::block::MemoryDisk;
use bootloader::gpt::{Gpt, Guid, Partition};
use bootloader::slot::{Slot, SlotBits, SlotTable};
use bootloader::{BlockError, BlockIo};
use sha2::{Digest as _, Sha256};

use crate::release::{BLOCK, Digest};

pub use error::SlotsError;
pub use host::HostDisk;
pub use part::{Names, Part, TREE_PARTITION, USR_PARTITION};

use part::halves;

/// A disk that can be read past every cache.
pub trait Disk: BlockIo {
    /// Like [`BlockIo::read`], but from the device itself: what it answers survives a
    /// power cut, if everything was flushed before.
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError>;
}

impl Disk for MemoryDisk {
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.read(lba, buffer)
    }
}

/// What the host runs, as the kernel command line and the selector's variables say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: Slot,
    /// Root hash of its `/usr` (`usrhash=`).
    pub root: Digest,
}

/// A disk that was found to be ours, with its slots.
#[derive(Debug)]
pub struct Slots<'d, D: Disk> {
    disk: &'d mut D,
    gpt: Gpt,
    table: SlotTable,
    running: Slot,
    /// Of slot `a` and of slot `b`, in the order of [`Part::ALL`].
    partitions: [[Partition; 3]; 2],
}

impl<'d, D: Disk> Slots<'d, D> {
    /// Looks for the slots on `disk`, and for the release that `running` says runs.
    /// Writes nothing.
    ///
    /// Fails where the disk cannot be the one that this host was started from.
    pub fn open(disk: &'d mut D, running: Running) -> Result<Self, SlotsError> {
        let gpt = Gpt::read(disk).map_err(SlotsError::Table)?;
        let block_size = disk.block_size();
        if !(BLOCK as u32).is_multiple_of(block_size) {
            return Err(SlotsError::BlockSize { block_size });
        }
        let table = SlotTable::from_gpt(&gpt)?;
        let partitions = [find_slot(&gpt, Slot::A)?, find_slot(&gpt, Slot::B)?];
        let slots = Self {
            disk,
            gpt,
            table,
            running: running.slot,
            partitions,
        };
        let [usr, tree] = halves(running.root);
        for (part, expected) in [(Part::Usr, usr), (Part::Tree, tree)] {
            slots.check_name(running.slot, part, expected)?;
        }
        Ok(slots)
    }

    fn check_name(&self, slot: Slot, part: Part, expected: Guid) -> Result<(), SlotsError> {
        let found = self.partition(slot, part).guid;
        if found == expected {
            return Ok(());
        }
        Err(SlotsError::NotRunning {
            slot,
            label: part.label(slot),
            found,
            expected,
        })
    }

    /// The slot that runs.
    pub fn running(&self) -> Slot {
        self.running
    }

    /// The slot that does not run.
    pub fn passive(&self) -> Slot {
        self.running.other()
    }

    /// The state of `slot`.
    pub fn bits(&self, slot: Slot) -> SlotBits {
        self.table.bits(slot)
    }

    /// What `slot`'s partitions are named.
    pub fn names(&self, slot: Slot) -> Names {
        let guid = |part| self.partition(slot, part).guid;
        Names {
            boot: guid(Part::Boot),
            tree: guid(Part::Tree),
            usr: guid(Part::Usr),
        }
    }

    /// Bytes in a partition.
    pub fn room(&self, slot: Slot, part: Part) -> u64 {
        let blocks = self.partition(slot, part).block_count();
        blocks.saturating_mul(u64::from(self.disk.block_size()))
    }

    /// Fails unless `size` bytes have room in partition `part` of the passive slot.
    pub fn check_room(&self, part: Part, size: u64) -> Result<(), SlotsError> {
        let (slot, needed) = (self.passive(), size.next_multiple_of(BLOCK as u64));
        let present = self.room(slot, part);
        if needed <= present {
            return Ok(());
        }
        let label = part.label(slot);
        Err(SlotsError::TooSmall {
            label,
            needed,
            present,
        })
    }

    /// Fails unless the running slot is blessed: as long as it is on trial, the passive
    /// one is what the host goes back to.
    pub fn check_blessed(&self) -> Result<(), SlotsError> {
        let slot = self.running;
        if self.bits(slot).successful {
            Ok(())
        } else {
            Err(SlotsError::NotBlessed { slot })
        }
    }

    /// Fills `buffer` from 4096-byte block `block` of a partition on.
    pub fn read(
        &mut self,
        slot: Slot,
        part: Part,
        block: usize,
        buffer: &mut [u8],
    ) -> Result<(), SlotsError> {
        let lba = self.place(slot, part, block, buffer.len())?;
        let label = part.label(slot);
        let failed = |source| SlotsError::Block { label, source };
        self.disk.read(lba, buffer).map_err(failed)
    }

    /// Makes it durable that the passive slot is not to be started, and takes its
    /// partitions' names away: from now on it holds no release.
    pub fn disarm(mut self) -> Result<Disarmed<'d, D>, SlotsError> {
        let slot = self.passive();
        self.gpt.repair(self.disk).map_err(SlotsError::Table)?;
        self.table.disarm(slot);
        let disk = self.gpt.disk_guid();
        let nothing = |part: Part| {
            let hash = Sha256::new()
                .chain_update(b"a slot without a release")
                .chain_update(disk.to_bytes())
                .chain_update(part.label(slot));
            halves(Digest(hash.finalize().into()))[0]
        };
        self.commit(Names {
            boot: nothing(Part::Boot),
            tree: nothing(Part::Tree),
            usr: nothing(Part::Usr),
        })?;
        Ok(Disarmed(self))
    }

    /// Makes the slots' state and the passive slot's `names` durable.
    fn commit(&mut self, names: Names) -> Result<(), SlotsError> {
        let slot = self.passive();
        self.table.store(&mut self.gpt)?;
        for part in Part::ALL {
            let number = self.partition(slot, part).number;
            self.gpt.set_guid(number, names.get(part))?;
        }
        self.gpt.commit(self.disk).map_err(SlotsError::Table)?;
        self.partitions = [
            find_slot(&self.gpt, Slot::A)?,
            find_slot(&self.gpt, Slot::B)?,
        ];
        Ok(())
    }

    fn partition(&self, slot: Slot, part: Part) -> &Partition {
        let [a, b] = &self.partitions;
        let [boot, tree, usr] = match slot {
            Slot::A => a,
            Slot::B => b,
        };
        match part {
            Part::Boot => boot,
            Part::Tree => tree,
            Part::Usr => usr,
        }
    }

    /// The disk's block where `block` of a partition is, if `bytes` from there on are
    /// all inside it.
    fn place(&self, slot: Slot, part: Part, block: usize, bytes: usize) -> Result<u64, SlotsError> {
        let start = block as u64 * BLOCK as u64;
        if start.saturating_add(bytes as u64) > self.room(slot, part) {
            let label = part.label(slot);
            return Err(SlotsError::Beyond { label, block });
        }
        let offset = start / u64::from(self.disk.block_size());
        Ok(self.partition(slot, part).first_lba + offset)
    }
}

/// Slots of which the passive one holds no release and may be written.
#[derive(Debug)]
pub struct Disarmed<'d, D: Disk>(Slots<'d, D>);

impl<'d, D: Disk> std::ops::Deref for Disarmed<'d, D> {
    type Target = Slots<'d, D>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<D: Disk> Disarmed<'_, D> {
    /// As [`Slots::read`].
    pub fn read(
        &mut self,
        slot: Slot,
        part: Part,
        block: usize,
        buffer: &mut [u8],
    ) -> Result<(), SlotsError> {
        self.0.read(slot, part, block, buffer)
    }

    /// Fills `buffer` from block `block` of a partition of the passive slot on, past
    /// every cache.
    pub fn reread(
        &mut self,
        part: Part,
        block: usize,
        buffer: &mut [u8],
    ) -> Result<(), SlotsError> {
        let slot = self.passive();
        let lba = self.place(slot, part, block, buffer.len())?;
        let label = part.label(slot);
        let failed = |source| SlotsError::Block { label, source };
        self.0.disk.reread(lba, buffer).map_err(failed)
    }

    /// Writes whole 4096-byte blocks to a partition of the passive slot. Durable after
    /// [`flush`](Self::flush).
    pub fn write(&mut self, part: Part, block: usize, data: &[u8]) -> Result<(), SlotsError> {
        let slot = self.passive();
        let lba = self.place(slot, part, block, data.len())?;
        let label = part.label(slot);
        let failed = |source| SlotsError::Block { label, source };
        self.0.disk.write(lba, data).map_err(failed)
    }

    /// Returns once everything written would survive a power cut.
    pub fn flush(&mut self) -> Result<(), SlotsError> {
        self.0.disk.flush().map_err(SlotsError::Flush)
    }

    /// Names the passive slot after the release in it and makes it the next one tried,
    /// in one write of the partition table: the one that decides.
    ///
    /// Whoever calls this has read the whole slot back and found it right.
    pub(crate) fn arm(mut self, names: Names, tries: u8) -> Result<(), SlotsError> {
        let slot = self.passive();
        self.0.table.arm(slot, tries);
        self.0.commit(names)
    }
}

fn find_slot(gpt: &Gpt, slot: Slot) -> Result<[Partition; 3], SlotsError> {
    Ok([
        find(gpt, slot, Part::Boot)?,
        find(gpt, slot, Part::Tree)?,
        find(gpt, slot, Part::Usr)?,
    ])
}

/// The only partition with `part`'s type and label.
fn find(gpt: &Gpt, slot: Slot, part: Part) -> Result<Partition, SlotsError> {
    let (label, type_guid) = (part.label(slot), part.type_guid());
    let mut matching = gpt
        .partitions()
        .filter(|p| p.type_guid == type_guid && p.name == label);
    let missing = SlotsError::Missing { label, type_guid };
    let partition = matching.next().ok_or(missing)?;
    match matching.next() {
        None => Ok(partition),
        Some(second) => Err(SlotsError::Twice {
            label,
            first: partition.number,
            second: second.number,
        }),
    }
}
