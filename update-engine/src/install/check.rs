//! The last look at a slot: read back from the device, whole.

use bootloader::uki;
use sha2::{Digest as _, Sha256};

use super::image::{Image, in_parts};
use super::{InstallError, Watch};
use crate::release::{BLOCK, Descriptor, Digest};
use crate::slots::{Disarmed, Disk, Part};

/// Compares the tree on the disk with the one that was verified.
pub(super) fn tree<D: Disk>(
    slots: &mut Disarmed<'_, D>,
    tree: &[u8],
    watch: &Watch,
) -> Result<(), InstallError> {
    let label = Part::Tree.label(slots.passive());
    in_parts(tree.len() / BLOCK, watch, |first, buffer| {
        slots.reread(Part::Tree, first, buffer)?;
        let expected = &tree[first * BLOCK..first * BLOCK + buffer.len()];
        let mut blocks = buffer.chunks(BLOCK).zip(expected.chunks(BLOCK));
        match blocks.position(|(found, expected)| found != expected) {
            None => Ok(()),
            Some(at) => Err(InstallError::NotKept {
                label,
                block: first + at,
            }),
        }
    })
}

/// Checks the kernel image on the disk as the selector will: its own headers say how
/// long it is, and its SHA-256 is what the partition will be named after.
pub(super) fn boot<D: Disk>(
    slots: &mut Disarmed<'_, D>,
    image: &Image<'_>,
    descriptor: &Descriptor,
    watch: &Watch,
) -> Result<(), InstallError> {
    let boot = &descriptor.boot;
    let mut head = Vec::new();
    let mut whole = Sha256::new();
    let mut rest = boot.size as usize;
    in_parts(image.block_count(), watch, |first, buffer| {
        slots.reread(Part::Boot, first, buffer)?;
        if first == 0 {
            head.extend_from_slice(&buffer[..buffer.len().min(uki::HEADER_BYTES)]);
        }
        let used = buffer.len().min(rest);
        whole.update(&buffer[..used]);
        rest -= used;
        Ok(())
    })?;
    let found = Digest(whole.finalize().into());
    if found != boot.sha256 {
        // Either the disk did not keep it, or the list of blocks is of another image.
        image.check(slots, watch)?;
        let what = format!("its kernel image has the SHA-256 {found}");
        return Err(contradiction(descriptor, what));
    }
    match uki::total_size(&head, boot.size) {
        Ok(size) if size == boot.size => Ok(()),
        Ok(size) => Err(contradiction(
            descriptor,
            format!("its kernel image ends after {size} of {} bytes", boot.size),
        )),
        Err(why) => Err(contradiction(
            descriptor,
            format!("its kernel image: {why}"),
        )),
    }
}

fn contradiction(descriptor: &Descriptor, what: String) -> InstallError {
    let version = descriptor.version.to_string();
    InstallError::Descriptor { version, what }
}
