//! What the disk holds before an installation, as hashes of blocks.

use bootloader::{Slot, uki};

use super::image::in_parts;
use super::{InstallError, Watch};
use crate::blocks::hash_blocks;
use crate::release::{BLOCK, Digest, Usr};
use crate::slots::{Disk, Names, Part, Running, Slots, SlotsError};
use crate::tree::{self, Tree};

/// The running release: what blocks can be copied from.
pub(super) struct Held {
    /// The tree of `/usr`, if it leads to the root that runs.
    pub(super) usr: Option<Tree>,
    /// Hashes of the kernel image's blocks.
    pub(super) boot: Vec<u8>,
}

impl Held {
    pub(super) fn look<D: Disk>(
        slots: &mut Slots<'_, D>,
        running: Running,
        watch: &Watch,
    ) -> Result<Self, InstallError> {
        let mut usr = None;
        if let Some((bytes, size, salt)) = read_tree(slots, running.slot)? {
            usr = Tree::lead_to(bytes, size, salt, running.root).ok();
        }
        let boot = hash_kernel(slots, watch)?;
        Ok(Self { usr, boot })
    }
}

/// The bytes of the tree in `slot`, of how many bytes of image and with which salt it
/// is; `None` where there is no tree. Nothing is checked.
fn read_tree<D: Disk>(
    slots: &mut Slots<'_, D>,
    slot: Slot,
) -> Result<Option<(Vec<u8>, u64, Digest)>, SlotsError> {
    let mut first = [0; BLOCK];
    slots.read(slot, Part::Tree, 0, &mut first)?;
    let claim = tree::claimed(&first).filter(|claim| claim.0 <= slots.room(slot, Part::Tree));
    let Some((length, size, salt)) = claim else {
        return Ok(None);
    };
    let mut bytes = vec![0; length as usize];
    slots.read(slot, Part::Tree, 0, &mut bytes)?;
    Ok(Some((bytes, size, salt)))
}

/// The tree of the release that the passive slot is named after. A slot in pieces has no
/// such name.
///
/// Only a hint where to look: a block that it names elsewhere is not read, one that it
/// names in place is compared like all others.
pub(super) fn claimed_tree<D: Disk>(slots: &mut Slots<'_, D>) -> Result<Option<Tree>, SlotsError> {
    let slot = slots.passive();
    let Some((bytes, size, salt)) = read_tree(slots, slot)? else {
        return Ok(None);
    };
    let names = slots.names(slot);
    let tree = Tree::claim(bytes, size, salt);
    Ok(tree.filter(|tree| {
        let named = Names::of(Digest([0; 32]), tree.root());
        (named.usr, named.tree) == (names.usr, names.tree)
    }))
}

/// The tree that the passive slot holds, if it is the one of `usr`.
pub(super) fn kept_tree<D: Disk>(
    slots: &mut Slots<'_, D>,
    usr: &Usr,
) -> Result<Option<Vec<u8>>, SlotsError> {
    let slot = slots.passive();
    let Some((bytes, _, _)) = read_tree(slots, slot)? else {
        return Ok(None);
    };
    Ok(Tree::verify(bytes, usr).ok().map(Tree::into_bytes))
}

/// Hashes of the running kernel image's blocks; none if there is no image that can be
/// measured.
fn hash_kernel<D: Disk>(slots: &mut Slots<'_, D>, watch: &Watch) -> Result<Vec<u8>, InstallError> {
    let slot = slots.running();
    let room = slots.room(slot, Part::Boot);
    let mut head = vec![0; room.min(uki::HEADER_BYTES as u64) as usize];
    slots.read(slot, Part::Boot, 0, &mut head)?;
    let Ok(size) = uki::total_size(&head, room) else {
        return Ok(Vec::new());
    };
    // Where the image ends inside a block, what lies behind it is part of the block.
    let blocks = (size.div_ceil(BLOCK as u64) as usize).min((room / BLOCK as u64) as usize);
    let mut hashes = Vec::new();
    in_parts(blocks, watch, |first, buffer| {
        slots.read(slot, Part::Boot, first, buffer)?;
        hashes.extend(hash_blocks(&[], buffer));
        Ok(())
    })?;
    Ok(hashes)
}
