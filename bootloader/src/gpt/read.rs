//! Reading the table: which copy to believe.

use super::header::{self, Header};
use super::{CopyError, Geometry, Gpt, GptError, Health, Layout, Which, entries};
use crate::block::BlockIo;
use alloc::vec::Vec;

/// One copy, completely checked.
struct Valid {
    header: Header,
    entries: Vec<u8>,
}

impl Valid {
    fn says_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.header, &other.header);
        self.entries == other.entries
            && ours.first_usable == theirs.first_usable
            && ours.last_usable == theirs.last_usable
            && (ours.entry_size, ours.entry_count) == (theirs.entry_size, theirs.entry_count)
    }
}

/// What a sound primary header tells, even when its entries turn out wrong.
#[derive(Clone, Copy)]
struct Hint {
    disk_guid: gpt_disk_types::Guid,
    alternate: u64,
    entries_lba: u64,
    shape: (u32, u32),
}

pub(super) fn read<D: BlockIo + ?Sized>(disk: &mut D) -> Result<Gpt, GptError> {
    let geometry = Geometry::of(disk)?;
    let primary = read_header(disk, geometry, Which::Primary, 1);
    let hint = primary.as_ref().ok().map(|header| Hint {
        disk_guid: header.disk_guid,
        alternate: header.alternate,
        entries_lba: header.entries_lba,
        shape: (header.entry_size, header.entry_count),
    });
    let primary = primary.and_then(|header| read_entries(disk, geometry, header));
    let backup = read_backup(disk, geometry, hint);
    match (primary, backup) {
        (Ok(primary), backup) => Ok(from_primary(geometry, primary, backup)),
        (Err(why), Ok(backup)) => Ok(from_backup(geometry, backup, hint, why)),
        (Err(primary), Err(backup)) => Err(GptError::NoValidCopy { primary, backup }),
    }
}

fn read_header<D: BlockIo + ?Sized>(
    disk: &mut D,
    geometry: Geometry,
    which: Which,
    lba: u64,
) -> Result<Header, CopyError> {
    let mut block = alloc::vec![0; geometry.block_size as usize];
    disk.read(lba, &mut block).map_err(CopyError::Read)?;
    header::decode(&block, which, lba, geometry)
}

fn read_entries<D: BlockIo + ?Sized>(
    disk: &mut D,
    geometry: Geometry,
    header: Header,
) -> Result<Valid, CopyError> {
    let (size, count) = (header.entry_size, header.entry_count);
    let bytes = entries::array_bytes(count, size)?;
    let padded = bytes.next_multiple_of(geometry.block_size) as usize;
    let mut array = Vec::new();
    array
        .try_reserve_exact(padded)
        .map_err(|_| CopyError::Memory { bytes })?;
    array.resize(padded, 0);
    disk.read(header.entries_lba, &mut array)
        .map_err(CopyError::Read)?;
    let (stored, computed) = (header.entries_crc, header::crc(&array[..bytes as usize]));
    if stored != computed {
        return Err(CopyError::EntriesCrc { stored, computed });
    }
    // No CRC covers the padding: it is not part of the table.
    array[bytes as usize..].fill(0);
    let usable = (header.first_usable, header.last_usable);
    entries::check(&array, size, count, usable)?;
    Ok(Valid {
        header,
        entries: array,
    })
}

/// The backup where the primary header says it is, or else at the end of the disk,
/// where it has to be.
fn read_backup<D: BlockIo + ?Sized>(
    disk: &mut D,
    geometry: Geometry,
    hint: Option<Hint>,
) -> Result<Valid, CopyError> {
    let end = geometry.block_count - 1;
    let named = hint.map_or(end, |hint| hint.alternate);
    let first = if named > end {
        Err(CopyError::BeyondDisk { lba: named })
    } else {
        read_backup_at(disk, geometry, hint, named)
    };
    match first {
        Err(why) if named != end => read_backup_at(disk, geometry, hint, end).map_err(|_| why),
        result => result,
    }
}

fn read_backup_at<D: BlockIo + ?Sized>(
    disk: &mut D,
    geometry: Geometry,
    hint: Option<Hint>,
    lba: u64,
) -> Result<Valid, CopyError> {
    let header = read_header(disk, geometry, Which::Backup, lba)?;
    if hint.is_some_and(|hint| hint.disk_guid != header.disk_guid) {
        return Err(CopyError::OtherDisk);
    }
    read_entries(disk, geometry, header)
}

fn from_primary(geometry: Geometry, primary: Valid, backup: Result<Valid, CopyError>) -> Gpt {
    let end = geometry.block_count - 1;
    let header = &primary.header;
    let (backup_lba, backup_entries) = match &backup {
        Ok(backup) => (backup.header.lba, backup.header.entries_lba),
        // Only a place to put it: `Layout::at_end` checks that it fits.
        Err(_) => {
            let lba = header.alternate.min(end);
            (lba, lba.saturating_sub(header.array_blocks(geometry)))
        }
    };
    let (differ, backup_error) = match backup {
        Ok(backup) => (
            !primary.says_the_same(&backup) || backup_lba != header.alternate,
            None,
        ),
        Err(why) => (false, Some(why)),
    };
    let layout = Layout {
        primary_entries: header.entries_lba,
        backup_entries,
        backup: backup_lba,
        last_usable: header.last_usable,
    };
    let health = Health {
        primary: None,
        backup: backup_error,
        differ,
    };
    let named_backup = header.alternate;
    Gpt {
        named_backup,
        ..assemble(geometry, layout, primary, Which::Primary, health)
    }
}

fn from_backup(geometry: Geometry, backup: Valid, hint: Option<Hint>, why: CopyError) -> Gpt {
    let header = &backup.header;
    let shape = (header.entry_size, header.entry_count);
    let layout = Layout {
        // A sound header keeps its array in place; else the place of every tool.
        primary_entries: hint
            .filter(|hint| hint.shape == shape)
            .map_or(2, |hint| hint.entries_lba),
        backup_entries: header.entries_lba,
        backup: header.lba,
        last_usable: header.last_usable,
    };
    let health = Health {
        primary: Some(why),
        ..Health::default()
    };
    assemble(geometry, layout, backup, Which::Backup, health)
}

fn assemble(geometry: Geometry, layout: Layout, copy: Valid, source: Which, health: Health) -> Gpt {
    Gpt {
        geometry,
        layout,
        named_backup: layout.backup,
        disk_guid: copy.header.disk_guid,
        first_usable: copy.header.first_usable,
        entry_size: copy.header.entry_size,
        entry_count: copy.header.entry_count,
        entries: copy.entries,
        header_tail: copy.header.tail,
        source,
        health,
    }
}
