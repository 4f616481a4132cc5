//! A disk that remembers, forgets and dies.

use std::collections::BTreeMap;

use bootloader::block::{MemoryDisk, Operation};
use bootloader::gpt::Partition;
use bootloader::{BlockError, BlockIo, Slot};

use super::{Built, SECTOR, find, gpt};
use crate::slots::{Disk, Part};

/// One thing that a disk was made to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write(u64, Vec<u8>),
    Flush,
    /// Read past every cache: so many sectors from the first one on.
    Reread(u64, u64),
}

/// Says that the engine is killed before its next write.
type Killed = Box<dyn Fn() -> bool>;

/// A disk that remembers what it was made to do, and may stop writing.
pub struct Recorder {
    /// What whoever reads through the cache sees.
    pub disk: MemoryDisk,
    pub steps: Vec<Step>,
    /// Writes until it refuses them.
    pub writes_left: usize,
    /// Refuses writes from the moment on that this says so.
    pub killed: Option<Killed>,
    /// The device says that it writes to this sector, and does not.
    pub forgets: Option<u64>,
    /// What the device holds where that is not what was written.
    stale: BTreeMap<u64, Vec<u8>>,
}

impl Recorder {
    pub fn new(disk: MemoryDisk) -> Self {
        Self {
            disk,
            steps: Vec::new(),
            writes_left: usize::MAX,
            killed: None,
            forgets: None,
            stale: BTreeMap::new(),
        }
    }

    fn may_write(&mut self) -> bool {
        if self.killed.as_ref().is_some_and(|killed| killed()) {
            self.writes_left = 0;
        }
        let left = self.writes_left.checked_sub(1);
        self.writes_left = left.unwrap_or_default();
        left.is_some()
    }
}

impl BlockIo for Recorder {
    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.disk.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        if !self.may_write() {
            let why = "no more writes";
            return Err(BlockError::new(Operation::Write, lba, data.len(), why));
        }
        self.steps.push(Step::Write(lba, data.to_vec()));
        let sectors = lba..lba + (data.len() / SECTOR) as u64;
        if let Some(sector) = self.forgets.filter(|sector| sectors.contains(sector)) {
            let mut held = vec![0; SECTOR];
            self.disk.read(sector, &mut held)?;
            self.stale.entry(sector).or_insert(held);
        }
        self.disk.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.steps.push(Step::Flush);
        self.disk.flush()
    }
}

impl Disk for Recorder {
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let mut before = self.steps.iter().rev();
        let last = before.find(|step| !matches!(step, Step::Reread(..)));
        assert_eq!(last, Some(&Step::Flush), "read back what may be in a cache");
        let count = (buffer.len() / SECTOR) as u64;
        self.steps.push(Step::Reread(lba, count));
        self.disk.reread(lba, buffer)?;
        for (sector, held) in self.stale.range(lba..lba + count) {
            let at = (sector - lba) as usize * SECTOR;
            buffer[at..at + SECTOR].copy_from_slice(held);
        }
        Ok(())
    }
}

/// Every write to the partitions of slot `b` is what `new` has in that place, and to
/// those of slot `a` there is none.
pub fn assert_only_signed_writes(recorder: &Recorder, new: &Built) {
    let gpt = gpt(&recorder.disk);
    for step in &recorder.steps {
        let Step::Write(lba, data) = step else {
            continue;
        };
        let inside = |p: &Partition| (p.first_lba..=p.last_lba).contains(lba);
        for part in Part::ALL {
            assert!(!inside(&find(&gpt, Slot::A, part)), "wrote to slot a");
            let partition = find(&gpt, Slot::B, part);
            if inside(&partition) {
                let at = (lba - partition.first_lba) as usize * SECTOR;
                let mut expected = new.content(part)[at..].to_vec();
                expected.resize(expected.len().max(data.len()), 0);
                assert!(expected.starts_with(data), "{}: {at}", part.label(Slot::B));
            }
        }
    }
}
