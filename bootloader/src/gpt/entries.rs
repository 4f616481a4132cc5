//! The array of entries: size, content and labels.

use super::{CopyError, EditError, MAX_ENTRY_BYTES, Partition};
use alloc::vec::Vec;
use core::mem::size_of;
use gpt_disk_types::{GptPartitionEntry, GptPartitionName};

/// Largest entry: 128 times a power of two, and no larger than the smallest page.
const MAX_ENTRY_SIZE: u32 = 4096;

/// Bytes of an array of `count` entries of `size` bytes, if that is a sane shape.
pub(super) fn array_bytes(count: u32, size: u32) -> Result<u32, CopyError> {
    if !size.is_power_of_two() || !(128..=MAX_ENTRY_SIZE).contains(&size) {
        return Err(CopyError::EntrySize { found: size });
    }
    match count.checked_mul(size) {
        Some(bytes) if count > 0 && bytes <= MAX_ENTRY_BYTES => Ok(bytes),
        _ => Err(CopyError::EntryCount { count, size }),
    }
}

/// Entry `number` (from 1) of the array in `bytes`.
pub(super) fn get(bytes: &[u8], size: u32, count: u32, number: u32) -> Option<GptPartitionEntry> {
    if number == 0 || number > count {
        return None;
    }
    let start = (number as usize - 1).checked_mul(size as usize)?;
    bytes
        .get(start..start.checked_add(size_of::<GptPartitionEntry>())?)
        .map(bytemuck::pod_read_unaligned)
}

/// What users of the library see of an entry.
pub(super) fn view(number: u32, entry: &GptPartitionEntry) -> Partition {
    Partition {
        number,
        type_guid: { entry.partition_type_guid }.0,
        guid: entry.unique_partition_guid,
        first_lba: entry.starting_lba.to_u64(),
        last_lba: entry.ending_lba.to_u64(),
        attributes: entry.attributes.0.to_u64(),
        name: { entry.name }.chars().collect(),
    }
}

/// `name` as it is kept on the disk.
pub(super) fn name(number: u32, name: &str) -> Result<GptPartitionName, EditError> {
    let mut encoded = GptPartitionName([0; 72]);
    for (index, character) in name.chars().enumerate() {
        // The 36th character may be the last byte of the field: no NUL is needed.
        let unit = u16::try_from(u32::from(character))
            .ok()
            .filter(|unit| *unit != 0)
            .ok_or(EditError::Name { number })?;
        encoded
            .0
            .get_mut(2 * index..2 * index + 2)
            .ok_or(EditError::Name { number })?
            .copy_from_slice(&unit.to_le_bytes());
    }
    Ok(encoded)
}

/// Every used entry lies in the usable blocks, and no two share one.
pub(super) fn check(
    bytes: &[u8],
    size: u32,
    count: u32,
    usable: (u64, u64),
) -> Result<(), CopyError> {
    let mut places: Vec<(u64, u64, u32)> = Vec::new();
    for number in 1..=count {
        let Some(entry) = get(bytes, size, count, number).filter(GptPartitionEntry::is_used) else {
            continue;
        };
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        if first > last || first < usable.0 || last > usable.1 {
            return Err(CopyError::PartitionPlace {
                number,
                first,
                last,
            });
        }
        places.push((first, last, number));
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        if let [(_, last, first_number), (first, _, second_number)] = *pair
            && first <= last
        {
            return Err(CopyError::Overlap {
                first: first_number,
                second: second_number,
            });
        }
    }
    Ok(())
}
