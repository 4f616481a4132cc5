//! What this stage would do to a disk, for people who ask before it happens.
//!
//! The code that decides is the one that acts; nothing is written.

use std::collections::BTreeMap;
use std::path::Path;

use bootloader::block::{BlockIo as _, FileDisk};
use bootloader::gpt::{Gpt, Partition};

use crate::config::{Disk, list};
use crate::state::State;

use super::kernel::Kernel;
use super::plan::Operation;
use super::table::{self, Change};
use super::{Context, DisksError, Purpose};

/// The key of the only disk that is looked at.
const FIRST: &str = "storage.disks.0";

/// What becomes of a partition. Sizes are in blocks of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays as it is.
    Kept(Partition),
    /// It is removed, with what is on it.
    Lost(Partition),
    /// It is made.
    Made(Partition),
    /// It is kept, with another end.
    Resized {
        /// As it is.
        from: Partition,
        /// Its last block then.
        last_lba: u64,
    },
}

/// What becomes of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foretold {
    /// Bytes in a block.
    pub block_size: u32,
    /// Whether a new partition table is made.
    pub new_table: bool,
    /// All partitions before and after, by what becomes of them.
    pub partitions: Vec<Fate>,
}

/// What would become of `disk`, the config's `index`th, if it were the one at `image`, a file or a block
/// device that can be read; or what is in the way.
pub(crate) fn foretell(index: usize, disk: &Disk, image: &Path) -> Result<Foretold, DisksError> {
    let state = written_at(index, disk);
    let context = Context {
        kernel: Kernel::default(),
        state: &state,
        purpose: Purpose::Foretell,
    };
    let disk = Disk {
        device: image.display().to_string(),
        ..disk.clone()
    };
    let at = context.subject(FIRST.to_owned(), &disk.device);
    let block_size = context.device(&at)?.block_size();
    let block_size = block_size.map_err(|source| at.device("asking for the size of", source))?;
    let mut io = FileDisk::open_read_only(image, block_size)
        .map_err(|source| at.device("opening", source))?;
    let before: Vec<Partition> = match Gpt::read(&mut io) {
        Ok(gpt) => gpt.partitions().collect(),
        // What is there instead is said by what decides.
        Err(_) => Vec::new(),
    };
    let block_size = io.block_size();
    let decided = table::decide(&context, std::slice::from_ref(&disk))?;
    let mut foretold = Foretold {
        block_size,
        new_table: false,
        partitions: Vec::new(),
    };
    for disk in &decided {
        let operations = match &disk.change {
            Change::Nothing => continue,
            Change::Edit { operations, .. } => operations,
            Change::Make { operations, .. } => {
                foretold.new_table = true;
                operations
            }
        };
        foretold.partitions = fates(&before, operations, foretold.new_table);
    }
    Ok(foretold)
}

/// Messages about the only disk that is looked at, in words about the `index`th.
fn written_at(index: usize, disk: &Disk) -> State {
    let mut state = State::default();
    let key = format!("storage.disks.{index}");
    for partition in 0..list(disk.partitions.as_ref()).len() {
        let below = format!("{FIRST}.partitions.{partition}");
        let place = format!("key {key}.partitions.{partition}");
        state.origins.insert(below, place);
    }
    state.origins.insert(FIRST.to_owned(), format!("key {key}"));
    state
}

/// What `operations` make of the partitions `before`, which a new table loses.
fn fates(before: &[Partition], operations: &[Operation], new_table: bool) -> Vec<Fate> {
    let mut changed = BTreeMap::new();
    let mut made = Vec::new();
    for operation in operations {
        match operation {
            Operation::Create { partition, .. } => made.push(Fate::Made(partition.clone())),
            other => {
                changed.insert(other.number(), other);
            }
        }
    }
    let fate = |partition: &Partition| match changed.get(&partition.number) {
        _ if new_table => Fate::Lost(partition.clone()),
        Some(Operation::Resize { last_lba, .. }) => Fate::Resized {
            from: partition.clone(),
            last_lba: *last_lba,
        },
        Some(_) => Fate::Lost(partition.clone()),
        None => Fate::Kept(partition.clone()),
    };
    before.iter().map(fate).chain(made).collect()
}
