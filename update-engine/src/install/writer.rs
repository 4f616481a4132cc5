//! Writes to the passive slot, made durable again and again.

use super::{InstallError, Watch};
use crate::plan::Place;
use crate::release::BLOCK;
use crate::slots::{Disarmed, Disk, Part};

/// Writes blocks that were checked.
pub(super) struct Writer<'a, 'd, D: Disk> {
    slots: Disarmed<'d, D>,
    flush_every: u64,
    /// Bytes written since the last flush.
    unflushed: u64,
    watch: &'a Watch,
}

impl<'a, 'd, D: Disk> Writer<'a, 'd, D> {
    pub(super) fn new(slots: Disarmed<'d, D>, flush_every: u64, watch: &'a Watch) -> Self {
        Self {
            slots,
            flush_every,
            unflushed: 0,
            watch,
        }
    }

    /// Writes checked blocks of a partition.
    pub(super) fn put(
        &mut self,
        part: Part,
        block: usize,
        data: &[u8],
    ) -> Result<(), InstallError> {
        self.slots.write(part, block, data)?;
        self.watch.update(|p| p.written += data.len() as u64);
        self.unflushed += data.len() as u64;
        if self.unflushed >= self.flush_every {
            self.slots.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Writes what is not there yet of the verified tree.
    pub(super) fn put_tree(&mut self, tree: &[u8]) -> Result<(), InstallError> {
        let slot = self.slots.passive();
        for (index, part) in tree.chunks(super::image::PART).enumerate() {
            self.watch.check()?;
            let first = index * super::image::PART / BLOCK;
            let mut found = vec![0; part.len()];
            self.slots.read(slot, Part::Tree, first, &mut found)?;
            if found != part {
                self.put(Part::Tree, first, part)?;
            }
        }
        Ok(())
    }

    /// Fills `buffer` from the image in partition `part` at `place`.
    pub(super) fn read(
        &mut self,
        part: Part,
        place: Place,
        buffer: &mut [u8],
    ) -> Result<(), InstallError> {
        let (slot, block) = match place {
            Place::Active(block) => (self.slots.running(), block),
            Place::Passive(block) => (self.slots.passive(), block),
        };
        Ok(self.slots.read(slot, part, block, buffer)?)
    }

    /// Makes the last writes durable.
    pub(super) fn finish(mut self) -> Result<Disarmed<'d, D>, InstallError> {
        self.slots.flush()?;
        Ok(self.slots)
    }
}
