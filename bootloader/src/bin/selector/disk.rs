//! The whole disk that the selector was loaded from, through the firmware.

#![allow(unsafe_code)]

use crate::{pages::Pages, trouble::Trouble};
use alloc::{boxed::Box, string::ToString, vec::Vec};
use bootloader::block::{BlockError, BlockIo, Operation, transfer};
use core::error::Error;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::{
    ProtocolPointer,
    device_path::{
        DevicePath, DeviceSubType, DeviceType,
        build::DevicePathBuilder,
        media::{HardDrive, PartitionSignature},
    },
    loaded_image::LoadedImage,
    media::block::BlockIO,
};
use uefi::{Guid, Handle};

/// A whole disk.
pub struct Disk {
    protocol: ScopedProtocol<BlockIO>,
}

/// The partition that this program was loaded from.
pub fn own_partition() -> Result<Handle, Trouble> {
    let image = open::<LoadedImage>(boot::image_handle(), "finding this program")?;
    image.device().ok_or(Trouble::NoDisk)
}

/// The disk that this program was loaded from, and the identity of the partition on
/// it that it was loaded from.
pub fn own_disk() -> Result<(Disk, Guid), Trouble> {
    let partition = own_partition()?;
    let path = open::<DevicePath>(partition, "finding this program's partition")?;

    let is_partition = |kind| kind == (DeviceType::MEDIA, DeviceSubType::MEDIA_HARD_DRIVE);
    let node = path
        .node_iter()
        .find(|node| is_partition(node.full_type()))
        .ok_or(Trouble::NoDisk)?;
    let node: &HardDrive = node.try_into().map_err(|_| Trouble::NoDisk)?;
    let PartitionSignature::Guid(esp) = node.partition_signature() else {
        return Err(Trouble::NoDisk);
    };

    let mut bytes = Vec::new();
    let mut parent = DevicePathBuilder::with_vec(&mut bytes);
    for node in path
        .node_iter()
        .take_while(|node| !is_partition(node.full_type()))
    {
        parent = parent.push(&node).map_err(|_| Trouble::NoDisk)?;
    }
    let parent = parent.finalize().map_err(|_| Trouble::NoDisk)?;
    Ok((Disk::at(parent)?, esp))
}

impl Disk {
    fn at(mut path: &DevicePath) -> Result<Self, Trouble> {
        const WHAT: &str = "finding this program's disk";
        let handle =
            boot::locate_device_path::<BlockIO>(&mut path).map_err(Trouble::firmware(WHAT))?;
        // The firmware answers with the longest path that has a disk: it must be all.
        let is_whole_path = path.node_iter().next().is_none();
        let protocol = open::<BlockIO>(handle, WHAT)?;
        if !is_whole_path || protocol.media().is_logical_partition() {
            return Err(Trouble::NoDisk);
        }
        Ok(Self { protocol })
    }

    /// Can the firmware use `buffer` as it is?
    fn is_aligned(&self, buffer: &[u8]) -> bool {
        let align = self.protocol.media().io_align().max(1) as usize;
        (buffer.as_ptr() as usize).is_multiple_of(align)
    }

    fn check(&self, operation: Operation, lba: u64, bytes: usize) -> Result<u32, BlockError> {
        transfer(operation, lba, bytes, self.block_size(), self.block_count())?;
        Ok(self.protocol.media().media_id())
    }
}

impl BlockIo for Disk {
    fn block_size(&self) -> u32 {
        self.protocol.media().block_size()
    }

    fn block_count(&self) -> u64 {
        self.protocol.media().last_block().saturating_add(1)
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let media = self.check(Operation::Read, lba, buffer.len())?;
        let fail = |cause| BlockError::new(Operation::Read, lba, buffer.len(), cause);
        if self.is_aligned(buffer) {
            let read = self.protocol.read_blocks(media, lba, buffer);
            return read.map_err(|why| failed(Operation::Read, lba, buffer.len(), &why));
        }
        let mut pages = Pages::new(buffer.len() as u64).map_err(|why| fail(boxed(why)))?;
        self.read(lba, &mut pages)?;
        buffer.copy_from_slice(&pages);
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let media = self.check(Operation::Write, lba, data.len())?;
        let fail = |cause| BlockError::new(Operation::Write, lba, data.len(), cause);
        if self.is_aligned(data) {
            let written = self.protocol.write_blocks(media, lba, data);
            return written.map_err(|why| failed(Operation::Write, lba, data.len(), &why));
        }
        let mut pages = Pages::new(data.len() as u64).map_err(|why| fail(boxed(why)))?;
        pages.copy_from_slice(data);
        self.write(lba, &pages)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let flushed = self.protocol.flush_blocks();
        flushed.map_err(|why| failed(Operation::Flush, 0, 0, &why))
    }
}

fn boxed(why: Trouble) -> Box<dyn Error + Send + Sync> {
    why.to_string().into()
}

fn failed(operation: Operation, lba: u64, bytes: usize, why: &uefi::Error) -> BlockError {
    BlockError::new(operation, lba, bytes, why.status().to_string())
}

/// Opens a protocol that others go on using: the file system that this program came
/// from sits on the same disk.
pub fn open<P: ProtocolPointer + ?Sized>(
    handle: Handle,
    what: &'static str,
) -> Result<ScopedProtocol<P>, Trouble> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: neither this program's own image and the one it has loaded, nor the disk
    // it came from with its path and its file system go away while it runs: it removes
    // no driver, and the firmware starts nothing else meanwhile.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
        .map_err(Trouble::firmware(what))
}
