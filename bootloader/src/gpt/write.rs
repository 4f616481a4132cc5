//! Writing the table, so that power may fail at any instant.

use super::{Gpt, GptError, Health, Layout, Which, header};
use crate::block::{BlockError, BlockIo};
use alloc::vec;
use core::ops::Range;
use gpt_disk_types::MasterBootRecord;

impl Gpt {
    /// Makes the table of the disk the one in memory: both copies, durable.
    ///
    /// Power loss at any instant leaves the old or the new table (see the [module
    /// documentation](super)). On a disk that was grown the backup moves to the new
    /// end and the new blocks become usable. Fails with
    /// [`NeedsRepair`](GptError::NeedsRepair), before any write, if the primary on
    /// the disk is wrong. After any other error the disk holds the old or the new
    /// table, and [`Gpt::read`] tells which.
    pub fn commit<D: BlockIo + ?Sized>(&mut self, disk: &mut D) -> Result<(), GptError> {
        if self.health.primary.is_some() {
            return Err(GptError::NeedsRepair);
        }
        let layout = self.layout_at_end()?;
        self.write_copy(disk, Which::Backup, &layout)?;
        self.write_copy(disk, Which::Primary, &layout)?;
        self.named_backup = layout.backup;
        self.layout = layout;
        self.health = Health::default();
        Ok(())
    }

    /// Rewrites the copy that is wrong from the one that was read, and names it.
    ///
    /// Call it before changing the table: it writes what is in memory. The right
    /// copy is not touched, so power loss leaves it. Where both copies are valid and
    /// differ, the primary counts. Where the primary names a wrong place for the backup
    /// (a grown disk), both copies are written, as [`commit`](Self::commit) does.
    pub fn repair<D: BlockIo + ?Sized>(&mut self, disk: &mut D) -> Result<Option<Which>, GptError> {
        if self.health.is_good() {
            return Ok(None);
        }
        let repaired = if self.health.primary.is_some() {
            self.repair_primary(disk)?;
            Which::Primary
        } else {
            self.repair_backup(disk)?;
            Which::Backup
        };
        self.health = Health::default();
        Ok(Some(repaired))
    }

    /// Makes all blocks of a disk that was grown usable. Memory only;
    /// [`commit`](Self::commit) does the same, and makes it durable.
    pub fn grow(&mut self) -> Result<(), GptError> {
        self.layout = self.layout_at_end()?;
        Ok(())
    }

    /// Writes both copies of a new table to a disk that has none.
    ///
    /// Not safe against power loss: there is no old table to keep. Writes no
    /// protective MBR.
    pub fn format<D: BlockIo + ?Sized>(&self, disk: &mut D) -> Result<(), GptError> {
        self.write_copy(disk, Which::Backup, &self.layout)?;
        self.write_copy(disk, Which::Primary, &self.layout)
    }

    fn repair_primary<D: BlockIo + ?Sized>(&mut self, disk: &mut D) -> Result<(), GptError> {
        let blocks = self.array_blocks();
        if self.layout.primary_entries + blocks > self.first_usable {
            return Err(GptError::NoRoom { blocks });
        }
        self.write_copy(disk, Which::Primary, &self.layout)?;
        self.source = Which::Primary;
        Ok(())
    }

    fn repair_backup<D: BlockIo + ?Sized>(&mut self, disk: &mut D) -> Result<(), GptError> {
        let layout = self.layout_at_end()?;
        self.write_copy(disk, Which::Backup, &layout)?;
        if layout.backup != self.named_backup {
            self.write_copy(disk, Which::Primary, &layout)?;
        }
        self.named_backup = layout.backup;
        self.layout = layout;
        Ok(())
    }

    /// The layout with the backup in the last block, where readers look for it when
    /// the primary is gone.
    fn layout_at_end(&self) -> Result<Layout, GptError> {
        let (end, blocks) = (self.geometry.block_count - 1, self.array_blocks());
        let mut layout = self.layout;
        if layout.backup != end {
            layout.backup = end;
            layout.backup_entries = end.saturating_sub(blocks);
        }
        let fits = layout.backup_entries > self.layout.last_usable
            && layout.backup_entries + blocks <= end;
        if !fits {
            return Err(GptError::NoRoom { blocks });
        }
        if layout.backup != self.layout.backup {
            layout.last_usable = layout.backup_entries - 1;
        }
        Ok(layout)
    }

    /// Writes entries and header of one copy, flushes, and reads them back.
    fn write_copy<D: BlockIo + ?Sized>(
        &self,
        disk: &mut D,
        which: Which,
        layout: &Layout,
    ) -> Result<(), GptError> {
        let (lba, array) = match which {
            Which::Primary => (1, layout.primary_entries),
            Which::Backup => (layout.backup, layout.backup_entries),
        };
        let header = header::encode(self, which, layout);
        let kept = write_parts(disk, &[(array, &self.entries), (lba, &header)])
            .map_err(|source| GptError::Write { which, source })?;
        if kept {
            Ok(())
        } else {
            Err(GptError::NotKept { which })
        }
    }
}

/// Makes block 0 a protective MBR, which keeps programs that know no GPT from taking
/// the disk for an empty one. Boot code that was there is gone.
pub fn protect<D: BlockIo + ?Sized>(disk: &mut D) -> Result<(), BlockError> {
    let mut block = vec![0; disk.block_size() as usize];
    let record = MasterBootRecord::protective_mbr(disk.block_count());
    let bytes = bytemuck::bytes_of(&record);
    block[..bytes.len()].copy_from_slice(bytes);
    disk.write(0, &block)?;
    disk.flush()
}

/// Makes the partition of the protective MBR as long as a disk that was grown. Leaves boot
/// code alone, and an MBR that has other partitions too.
pub fn protect_all<D: BlockIo + ?Sized>(disk: &mut D) -> Result<(), BlockError> {
    const FIRST: Range<usize> = 446..462;
    const OTHERS: Range<usize> = 462..510;
    const KIND: usize = 450;
    const PROTECTIVE: u8 = 0xee;
    let mut block = vec![0; disk.block_size() as usize];
    disk.read(0, &mut block)?;
    let record = MasterBootRecord::protective_mbr(disk.block_count());
    let wanted = &bytemuck::bytes_of(&record)[FIRST];
    let alone = block[KIND] == PROTECTIVE && block[OTHERS].iter().all(|byte| *byte == 0);
    if !alone || block[FIRST] == *wanted {
        return Ok(());
    }
    block[FIRST].copy_from_slice(wanted);
    disk.write(0, &block)?;
    disk.flush()
}

/// Overwrites block 0 and both copies with zeros: the disk has no table any more. The
/// copies are those of `old`, or else where a new table would have them. What partitions
/// contain stays. Not safe against power loss, which may leave one copy valid.
pub fn erase<D: BlockIo + ?Sized>(disk: &mut D, old: Option<&Gpt>) -> Result<(), BlockError> {
    let (size, end) = (disk.block_size(), disk.block_count().saturating_sub(1));
    let (arrays, blocks) = match old {
        Some(old) => {
            let Layout {
                primary_entries,
                backup_entries,
                ..
            } = old.layout;
            ([primary_entries, backup_entries], old.array_blocks())
        }
        None => {
            let blocks = u64::from(USUAL_ARRAY.div_ceil(size));
            ([2, end.saturating_sub(blocks)], blocks)
        }
    };
    let block = vec![0; size as usize];
    let arrays = arrays.into_iter().flat_map(|first| first..first + blocks);
    for lba in [0, 1, end].into_iter().chain(arrays) {
        if lba <= end {
            disk.write(lba, &block)?;
        }
    }
    disk.flush()
}

/// Bytes of the array of 128 entries that every tool makes.
const USUAL_ARRAY: u32 = 128 * 128;

/// Writes `parts` in order, flushes once, and tells whether they read back the same:
/// some firmware takes writes that it does not keep.
fn write_parts<D: BlockIo + ?Sized>(
    disk: &mut D,
    parts: &[(u64, &[u8])],
) -> Result<bool, BlockError> {
    for (lba, data) in parts {
        disk.write(*lba, data)?;
    }
    disk.flush()?;
    let mut kept = true;
    for (lba, data) in parts {
        let mut found = vec![0; data.len()];
        disk.read(*lba, &mut found)?;
        kept &= found == *data;
    }
    Ok(kept)
}
