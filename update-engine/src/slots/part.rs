//! The partitions of a slot, and what they are named.

use bootloader::gpt::{Guid, guid};
use bootloader::slot::{BOOT_PARTITION, Slot};

use crate::release::Digest;

/// Partition type of `/usr` on x86-64 (Discoverable Partitions Specification).
pub const USR_PARTITION: Guid = guid!("8484680c-9521-48c6-9c11-b0720656f69e");

/// Partition type of the verity tree of `/usr` on x86-64 (the same specification).
pub const TREE_PARTITION: Guid = guid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6");

/// One of a slot's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel image.
    Boot,
    /// The verity tree of `/usr`.
    Tree,
    /// `/usr`.
    Usr,
}

impl Part {
    /// All partitions of a slot.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Tree, Self::Usr];

    /// Label of the partition in `slot`.
    pub fn label(self, slot: Slot) -> &'static str {
        match (self, slot) {
            (Self::Boot, slot) => slot.boot_label(),
            (Self::Tree, Slot::A) => "usr-a-verity",
            (Self::Tree, Slot::B) => "usr-b-verity",
            (Self::Usr, Slot::A) => "usr-a",
            (Self::Usr, Slot::B) => "usr-b",
        }
    }

    pub(super) fn type_guid(self) -> Guid {
        match self {
            Self::Boot => BOOT_PARTITION,
            Self::Tree => TREE_PARTITION,
            Self::Usr => USR_PARTITION,
        }
    }
}

/// Unique GUIDs of a slot's partitions: what names the release in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// First half of the kernel image's SHA-256.
    pub boot: Guid,
    /// Second half of the verity root.
    pub tree: Guid,
    /// First half of the verity root.
    pub usr: Guid,
}

impl Names {
    /// The names of a slot that holds the kernel image with the SHA-256 `boot` and the
    /// `/usr` with the root hash `root`.
    pub fn of(boot: Digest, root: Digest) -> Self {
        let [usr, tree] = halves(root);
        let [boot, _] = halves(boot);
        Self { boot, tree, usr }
    }

    pub(super) fn get(&self, part: Part) -> Guid {
        match part {
            Part::Boot => self.boot,
            Part::Tree => self.tree,
            Part::Usr => self.usr,
        }
    }
}

/// Both halves of a hash as GUIDs whose text reads like the hash's.
pub(super) fn halves(digest: Digest) -> [Guid; 2] {
    let (halves, _) = digest.0.as_chunks::<16>();
    let guid = |index: usize| {
        let mut bytes = halves.get(index).copied().unwrap_or_default();
        // The first three fields of a GUID are little-endian on disk.
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Guid::from_bytes(bytes)
    };
    [guid(0), guid(1)]
}
