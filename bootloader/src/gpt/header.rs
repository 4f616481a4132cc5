//! The header of one copy: decoding with every check that needs no other block.

use super::{CopyError, Geometry, Gpt, Which, entries};
use alloc::{vec, vec::Vec};
use core::mem::size_of;
use gpt_disk_types::{
    Crc32, GptHeader, GptHeaderRevision, GptHeaderSignature, Guid, LbaLe, U32Le, crc::Crc,
};

const CRC: Crc<u32> = Crc::<u32>::new(&Crc32::ALGORITHM);

/// Bytes of the header that the specification defines.
const FIXED: usize = size_of::<GptHeader>();

/// Where the header keeps its own CRC, which counts as zero in it.
const CRC_FIELD: core::ops::Range<usize> = 16..20;

/// CRC-32 as the specification wants it.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// A header whose own bytes are sound. What it points at is not checked yet.
#[derive(Debug)]
pub(super) struct Header {
    pub lba: u64,
    pub alternate: u64,
    pub first_usable: u64,
    pub last_usable: u64,
    pub disk_guid: Guid,
    pub entries_lba: u64,
    pub entry_count: u32,
    pub entry_size: u32,
    pub entries_crc: u32,
    pub tail: Vec<u8>,
}

impl Header {
    /// Blocks of the array of entries.
    pub fn array_blocks(&self, geometry: Geometry) -> u64 {
        // `decode` bounded the product.
        u64::from((self.entry_count * self.entry_size).div_ceil(geometry.block_size))
    }
}

/// Decodes and checks the header of copy `which` in `block`, which was read from
/// `lba`.
pub(super) fn decode(
    block: &[u8],
    which: Which,
    lba: u64,
    geometry: Geometry,
) -> Result<Header, CopyError> {
    let raw: GptHeader = block
        .get(..FIXED)
        .map(bytemuck::pod_read_unaligned)
        .ok_or(CopyError::Signature { lba })?;
    if !raw.is_signature_valid() {
        return Err(CopyError::Signature { lba });
    }
    let bytes = sealed_bytes(block, &raw)?;
    let header = Header {
        lba,
        alternate: raw.alternate_lba.to_u64(),
        first_usable: raw.first_usable_lba.to_u64(),
        last_usable: raw.last_usable_lba.to_u64(),
        disk_guid: raw.disk_guid,
        entries_lba: raw.partition_entry_lba.to_u64(),
        entry_count: raw.number_of_partition_entries.to_u32(),
        entry_size: raw.size_of_partition_entry.to_u32(),
        entries_crc: raw.partition_entry_array_crc32.0.to_u32(),
        tail: bytes[FIXED..].to_vec(),
    };
    let found = raw.my_lba.to_u64();
    if found != lba {
        return Err(CopyError::MyLba { lba, found });
    }
    check_places(&header, which, geometry)?;
    Ok(header)
}

/// The bytes that the header's CRC covers, once it is right.
fn sealed_bytes<'a>(block: &'a [u8], raw: &GptHeader) -> Result<&'a [u8], CopyError> {
    let found = raw.header_size.to_u32();
    let bytes = block
        .get(..found as usize)
        .filter(|bytes| bytes.len() >= FIXED)
        .ok_or(CopyError::HeaderSize { found })?;
    let mut zeroed = bytes.to_vec();
    zeroed[CRC_FIELD].fill(0);
    let (stored, computed) = (raw.header_crc32.0.to_u32(), crc(&zeroed));
    if stored != computed {
        return Err(CopyError::HeaderCrc { stored, computed });
    }
    if raw.revision != GptHeaderRevision::VERSION_1_0 {
        let found = raw.revision.0.to_u32();
        return Err(CopyError::Revision { found });
    }
    Ok(bytes)
}

/// Headers, arrays and usable blocks lie on the disk, in order, without overlap.
fn check_places(header: &Header, which: Which, geometry: Geometry) -> Result<(), CopyError> {
    entries::array_bytes(header.entry_count, header.entry_size)?;
    let (first, last) = (header.first_usable, header.last_usable);
    // The last block is the backup header's, whatever the alternate says.
    if first > last || first < 2 || last >= geometry.block_count.saturating_sub(1) {
        return Err(CopyError::Usable { first, last });
    }
    let array = header.entries_lba;
    let array_end =
        array
            .checked_add(header.array_blocks(geometry))
            .ok_or(CopyError::EntriesPlace {
                first: array,
                last: u64::MAX,
            })?;
    let found = header.alternate;
    let (in_place, alternate_fits) = match which {
        Which::Primary => (array >= 2 && array_end <= first, found > last),
        Which::Backup => (
            array > last && array_end <= header.lba,
            found == 1 && header.lba > last,
        ),
    };
    if !alternate_fits {
        return Err(CopyError::Alternate { found });
    }
    if !in_place {
        return Err(CopyError::EntriesPlace {
            first: array,
            last: array_end - 1,
        });
    }
    Ok(())
}

/// One block with the header of copy `which` of `gpt`.
pub(super) fn encode(gpt: &Gpt, which: Which, layout: &super::Layout) -> Vec<u8> {
    let (lba, alternate, array) = match which {
        Which::Primary => (1, layout.backup, layout.primary_entries),
        Which::Backup => (layout.backup, 1, layout.backup_entries),
    };
    let size = FIXED + gpt.header_tail.len();
    let raw = GptHeader {
        signature: GptHeaderSignature::EFI_COMPATIBLE_PARTITION_TABLE_HEADER,
        revision: GptHeaderRevision::VERSION_1_0,
        header_size: U32Le::from_u32(size as u32),
        header_crc32: Crc32(U32Le::from_u32(0)),
        reserved: U32Le::from_u32(0),
        my_lba: LbaLe::from_u64(lba),
        alternate_lba: LbaLe::from_u64(alternate),
        first_usable_lba: LbaLe::from_u64(gpt.first_usable),
        last_usable_lba: LbaLe::from_u64(layout.last_usable),
        disk_guid: gpt.disk_guid,
        partition_entry_lba: LbaLe::from_u64(array),
        number_of_partition_entries: U32Le::from_u32(gpt.entry_count),
        size_of_partition_entry: U32Le::from_u32(gpt.entry_size),
        partition_entry_array_crc32: Crc32(U32Le::from_u32(crc(gpt.array()))),
    };
    let mut block = vec![0; gpt.geometry.block_size as usize];
    block[..FIXED].copy_from_slice(bytemuck::bytes_of(&raw));
    block[FIXED..size].copy_from_slice(&gpt.header_tail);
    let sum = crc(&block[..size]);
    block[CRC_FIELD].copy_from_slice(&sum.to_le_bytes());
    block
}
