//! What this stage would do, for people who ask before it happens.
//!
//! The code that decides is the one that acts; nothing is written. What a partition that
//! is still to be made will hold is what lies in its blocks now.

mod disk;
mod names;
mod work;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bootloader::gpt::Partition;
use ignition_config::v3_6::Storage;

use crate::config::{Disk, list};
use crate::state::State;

use super::kernel::{Device, Kernel};
use super::probe::Probe;
use super::table;
use super::{Context, DisksError, Purpose, Subject};
use disk::Target;
use work::Work;

/// A disk image, or a device, that stands for a disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StandIn {
    /// What the config calls the disk.
    pub device: String,
    /// The file, or the device's node.
    pub image: PathBuf,
    /// Whether it is known to have nothing but zeros.
    pub empty: bool,
}

/// A disk as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holding {
    /// What it stands for.
    pub stand_in: StandIn,
    /// Its bytes.
    pub size: u64,
    /// Bytes in one of its blocks.
    pub block_size: u32,
    /// What it holds as a whole.
    pub whole: Probe,
    /// Its partitions, and what they hold.
    pub partitions: Vec<(Partition, Probe)>,
}

/// What becomes of a partition.
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

/// What becomes of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NewTable {
    /// There is none, and none is made.
    None,
    /// It stays, with these partitions before and after.
    Edited(Vec<Fate>),
    /// A new one is made.
    Made {
        /// Whether what was there may go (`wipeTable`).
        wiped: bool,
        /// Partitions before and after.
        fates: Vec<Fate>,
    },
}

/// What something holds.
#[derive(Debug, Clone)]
enum Contents {
    Known(Probe),
    /// It does not show; why.
    Hidden(&'static str),
}

/// What becomes of an array, a volume or a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there as wanted and stays; what that is, in words.
    Kept(String),
    /// It is made; what is lost thereby, in words.
    Made(Option<String>),
    /// Only the machine can tell; why.
    Open(String),
}

/// When the stage stops because of what is in the way: before it makes these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before anything is written.
    Tables,
    /// Once partition tables are written.
    Arrays,
    /// Once arrays are made, too.
    Volumes,
    /// Once encrypted volumes are made, too.
    Filesystems,
}

/// What the stage would do; nothing is known of a default one.
#[derive(Debug, Default)]
pub(crate) struct Foretold {
    /// Disks as they are.
    pub holdings: Vec<Holding>,
    /// What becomes of the tables of disks that were given, by their places in the config's
    /// list.
    pub tables: BTreeMap<usize, NewTable>,
    /// What becomes of what is made on them, by its key in the config.
    pub verdicts: BTreeMap<String, Verdict>,
    /// What is in the way, and when the stage stops because of it.
    pub refusals: Vec<(Phase, DisksError)>,
}

impl Foretold {
    /// What is not done any more, with all that follows, because something is in the way.
    pub fn stop(&self) -> Option<Phase> {
        self.refusals.iter().map(|(phase, _)| *phase).min()
    }
}

/// What would become of `disks` by the config's `storage`.
pub(crate) fn foretell(storage: &Storage, disks: &[StandIn]) -> Result<Foretold, DisksError> {
    let kernel = Kernel::default();
    let (mut stand_ins, mut holdings, mut targets) = (StandIns::default(), Vec::new(), Vec::new());
    for stand_in in disks {
        let (device, holding) = disk::look(&kernel, stand_in)?;
        stand_ins.add(&device, &holding)?;
        targets.push(Target::new(device, &holding));
        holdings.push(holding);
    }
    let state = State::default();
    let context = Context {
        kernel,
        state: &state,
        purpose: Purpose::Foretell(stand_ins),
    };
    let given = |disk: &&Disk| disks.iter().any(|given| given.device == disk.device);
    let all = list(storage.disks.as_ref()).iter().enumerate();
    let wanted: Vec<(usize, &Disk)> = all.filter(|(_, disk)| given(disk)).collect();
    let mut foretold = Foretold {
        holdings,
        tables: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        refusals: Vec::new(),
    };
    foretold.tables(&context, &wanted, &mut targets)?;
    if foretold.refusals.is_empty() {
        let mut work = Work::new(&context, &targets, storage);
        work.all()?;
        (foretold.verdicts, foretold.refusals) = work.done();
    }
    Ok(foretold)
}

impl Foretold {
    /// Decides the tables of the disks that are `wanted`, and says in `targets` how the disks
    /// are then.
    fn tables(
        &mut self,
        context: &Context<'_>,
        wanted: &[(usize, &Disk)],
        targets: &mut [Target],
    ) -> Result<(), DisksError> {
        let found = match table::find(context, wanted.iter().copied()) {
            Ok(found) => found,
            Err(error) => return self.refuse(error),
        };
        for ((at, device), (index, disk)) in found.into_iter().zip(wanted) {
            let holding = self.holdings.iter();
            let found = holding
                .zip(targets.iter_mut())
                .find(|(holding, _)| holding.stand_in.device == disk.device);
            let Some((holding, target)) = found else {
                continue;
            };
            match table::decide_one(context, at, device, disk) {
                Ok(decided) => {
                    let table = disk::new_table(holding, &decided.change);
                    target.change(holding, &decided.change, &table)?;
                    self.tables.insert(*index, table);
                }
                Err(error) => self.refuse(error)?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, error: DisksError) -> Result<(), DisksError> {
        self.refusals.push((Phase::Tables, refusal(error)?));
        Ok(())
    }
}

/// The error, if it is the config that is in the way, and not this machine.
fn refusal(error: DisksError) -> Result<DisksError, DisksError> {
    match error {
        error @ DisksError::Program { .. } => Err(error),
        error if error.is_final() => Ok(error),
        error => Err(error),
    }
}

/// What stands for which device of the machine.
#[derive(Default)]
pub(super) struct StandIns {
    images: BTreeMap<String, PathBuf>,
    /// The partitions that a machine runs from if it boots from a disk, by what all names of
    /// the disk have in common.
    running: BTreeMap<PathBuf, BTreeMap<u32, String>>,
}

impl StandIns {
    fn add(&mut self, device: &Device, holding: &Holding) -> Result<(), DisksError> {
        let name = &holding.stand_in.device;
        self.images.insert(name.clone(), device.path().to_owned());
        let running = disk::running(holding)?;
        self.running.insert(device.place().to_owned(), running);
        Ok(())
    }

    /// What stands for `name`, or else that itself.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let image = self.images.get(name);
        image.map_or_else(|| name.into(), PathBuf::clone)
    }

    /// The partitions of `device` that are in use, or would be.
    pub(super) fn users(
        &self,
        kernel: &Kernel,
        device: &Device,
    ) -> io::Result<BTreeMap<u32, String>> {
        let mut users = kernel.users(device)?;
        if let Some(running) = self.running.get(device.place()) {
            users.extend(running.clone());
        }
        Ok(users)
    }
}

/// A disk that was given, for messages.
fn given(image: &Path) -> Subject<'_> {
    let name = image.to_str().unwrap_or("the disk");
    let place = "--disk".to_owned();
    let key = place.clone();
    Subject { place, key, name }
}

#[cfg(test)]
mod tests;
