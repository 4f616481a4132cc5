//! The two slots: their bits, and what may be done to them.
//!
//! A slot's state lives in the attribute bits of its boot partition, as in ChromeOS,
//! CoreOS and Bottlerocket:
//!
//! | bits | meaning |
//! |---|---|
//! | 48–51 | priority: 15 is the highest, 0 means never |
//! | 52–55 | tries left |
//! | 56 | successful: this slot once came up healthy |
//!
//! All other attribute bits belong to someone else and are kept.

use crate::gpt::{EditError, Gpt, Guid, Partition, guid};
use core::fmt;

/// Partition type of Ballast's boot partitions.
pub const BOOT_PARTITION: Guid = guid!("7fd8243d-bc8e-44d6-a810-d6389e3d597b");

/// Highest priority, and highest number of tries.
pub const MAX: u8 = 15;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Slot `a`.
    A,
    /// Slot `b`.
    B,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The slot's name: `a` or `b`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Label of the slot's boot partition.
    pub fn boot_label(self) -> &'static str {
        match self {
            Self::A => "boot-a",
            Self::B => "boot-b",
        }
    }

    /// The slot that is not this one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotBits {
    /// 15 is the highest, 0 means never.
    pub priority: u8,
    /// How many more times the slot may be tried before it is given up, 0 to 15.
    pub tries: u8,
    /// The slot once came up healthy.
    pub successful: bool,
}

impl SlotBits {
    const SHIFT_PRIORITY: u32 = 48;
    const SHIFT_TRIES: u32 = 52;
    const SUCCESSFUL: u64 = 1 << 56;
    const MASK: u64 = 0x01ff << Self::SHIFT_PRIORITY;

    /// The bits in a boot partition's attributes.
    pub fn from_attributes(attributes: u64) -> Self {
        Self {
            priority: (attributes >> Self::SHIFT_PRIORITY) as u8 & MAX,
            tries: (attributes >> Self::SHIFT_TRIES) as u8 & MAX,
            successful: attributes & Self::SUCCESSFUL != 0,
        }
    }

    /// `attributes` with these bits in their place and all others kept. A priority
    /// or number of tries above 15 becomes 15.
    pub fn into_attributes(self, attributes: u64) -> u64 {
        let priority = u64::from(self.priority.min(MAX)) << Self::SHIFT_PRIORITY;
        let tries = u64::from(self.tries.min(MAX)) << Self::SHIFT_TRIES;
        let successful = if self.successful { Self::SUCCESSFUL } else { 0 };
        attributes & !Self::MASK | priority | tries | successful
    }

    /// The slot may be started: `priority > 0 && (successful || tries > 0)`.
    pub fn is_eligible(self) -> bool {
        self.priority > 0 && (self.successful || self.tries > 0)
    }
}

/// One slot's boot partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootPartition {
    /// Which slot it is.
    pub slot: Slot,
    /// Its state.
    pub bits: SlotBits,
    /// Number in the partition table, from 1.
    pub number: u32,
    /// The partition's unique GUID: the fingerprint of the kernel image in it
    /// ([`crate::uki::Uki::fingerprint`]).
    pub guid: Guid,
    /// First block.
    pub first_lba: u64,
    /// Blocks in it.
    pub block_count: u64,
}

/// The disk does not have the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// No such boot partition.
    #[error("no partition of Ballast's boot type is labelled {}", .slot.boot_label())]
    Missing {
        /// Slot that was looked for.
        slot: Slot,
    },
    /// Two partitions claim to be the same slot.
    #[error("partitions {first} and {second} are both labelled {}", .slot.boot_label())]
    Duplicate {
        /// Slot that they claim to be.
        slot: Slot,
        /// Number of the first one.
        first: u32,
        /// Number of the second one.
        second: u32,
    },
}

/// The state of both slots, in memory.
///
/// Changing it changes nothing on the disk: [`store`](Self::store) it in the
/// partition table and [`Gpt::commit`] that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTable {
    slots: [BootPartition; 2],
}

impl SlotTable {
    /// A table of two boot partitions.
    ///
    /// Their `slot` fields are set to `a` and `b`.
    pub fn new(a: BootPartition, b: BootPartition) -> Self {
        Self {
            slots: [
                BootPartition { slot: Slot::A, ..a },
                BootPartition { slot: Slot::B, ..b },
            ],
        }
    }

    /// Finds the slots in a partition table by type and label.
    ///
    /// Fails if one is missing or there twice: then the disk is not what a release
    /// was installed on, and guessing could start the wrong one.
    pub fn from_gpt(gpt: &Gpt) -> Result<Self, SlotError> {
        Ok(Self::new(find(gpt, Slot::A)?, find(gpt, Slot::B)?))
    }

    /// Puts the state of both slots into `gpt`. Memory only.
    pub fn store(&self, gpt: &mut Gpt) -> Result<(), EditError> {
        for boot in &self.slots {
            let attributes = gpt
                .partition(boot.number)
                .map_or(0, |partition| partition.attributes);
            gpt.set_attributes(boot.number, boot.bits.into_attributes(attributes))?;
        }
        Ok(())
    }

    /// The boot partition of `slot`.
    pub fn get(&self, slot: Slot) -> &BootPartition {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// The state of `slot`.
    pub fn bits(&self, slot: Slot) -> SlotBits {
        self.get(slot).bits
    }

    /// Takes one of `slot`'s tries, because it is about to be started on trial.
    ///
    /// A successful slot is not on trial: nothing changes. Tells whether something
    /// did, that is, whether the table has to be written before the slot is started.
    pub fn take_try(&mut self, slot: Slot) -> bool {
        let bits = self.bits_mut(slot);
        if bits.successful || bits.tries == 0 {
            return false;
        }
        bits.tries -= 1;
        true
    }

    /// Takes all of `slot`'s tries, because it could not be loaded or started. Tells
    /// whether something changed.
    pub fn fail(&mut self, slot: Slot) -> bool {
        core::mem::take(&mut self.bits_mut(slot).tries) != 0
    }

    /// Makes `slot` the next one tried, `tries` times (1 to 15; others are clamped).
    ///
    /// Its priority becomes the other slot's plus one. Where the other one already
    /// has the highest, that goes down to make room: one write of the table, so one
    /// never is without the other. An other slot that may never start stays so.
    pub fn arm(&mut self, slot: Slot, tries: u8) {
        let below = self.bits_mut(slot.other());
        below.priority = below.priority.min(MAX - 1);
        let priority = below.priority + 1;
        *self.bits_mut(slot) = SlotBits {
            priority,
            tries: tries.clamp(1, MAX),
            successful: false,
        };
    }

    /// Makes sure that `slot` is not started: before it is overwritten, or because a
    /// release was given up.
    pub fn disarm(&mut self, slot: Slot) {
        *self.bits_mut(slot) = SlotBits::default();
    }

    /// Records that `slot` came up healthy: it needs no more tries.
    ///
    /// A slot of priority 0 (it was started as the last resort) gets priority 1.
    pub fn bless(&mut self, slot: Slot) {
        let bits = self.bits_mut(slot);
        bits.successful = true;
        bits.tries = 0;
        bits.priority = bits.priority.max(1);
    }

    fn bits_mut(&mut self, slot: Slot) -> &mut SlotBits {
        let [a, b] = &mut self.slots;
        match slot {
            Slot::A => &mut a.bits,
            Slot::B => &mut b.bits,
        }
    }
}

fn find(gpt: &Gpt, slot: Slot) -> Result<BootPartition, SlotError> {
    let is_slot = |p: &Partition| p.type_guid == BOOT_PARTITION && p.name == slot.boot_label();
    let mut matching = gpt.partitions().filter(is_slot);
    let partition = matching.next().ok_or(SlotError::Missing { slot })?;
    if let Some(second) = matching.next() {
        let (first, second) = (partition.number, second.number);
        return Err(SlotError::Duplicate {
            slot,
            first,
            second,
        });
    }
    Ok(BootPartition {
        slot,
        bits: SlotBits::from_attributes(partition.attributes),
        number: partition.number,
        guid: partition.guid,
        first_lba: partition.first_lba,
        block_count: partition.block_count(),
    })
}
