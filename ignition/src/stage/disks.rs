//! `disks`: partitions, then arrays, then encrypted volumes, then file systems, as
//! `storage.disks`, `raid`, `luks` and `filesystems` want them.
//!
//! All disks are decided from what is on them ([`plan`]) before the first one is
//! written, and all things of one kind before the first of them is made. What is there and is
//! not wanted is only destroyed where the config allows it by name. Nothing in use is
//! changed. The stage may be cut off at any instant and run again: what is as wanted
//! stays as it is.

mod error;
#[cfg(feature = "tools")]
mod foretell;
mod format;
mod journal;
mod kernel;
mod luks;
mod mismatch;
mod mkfs;
mod plan;
mod probe;
mod protected;
mod raid;
mod refusal;
mod reuse;
mod space;
mod table;
mod wanted;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bootloader::block::BlockError;
use bootloader::gpt::{EditError, GptError, Guid};

use crate::config::{Config, list};
use crate::fetch::{Fetcher, Network};
use crate::log;
use crate::program::{self, ProgramError};
use crate::root::Root;
use crate::state::State;

use super::{Settings, files};
pub use error::DisksError;
#[cfg(feature = "tools")]
pub(crate) use foretell::{Fate, Foretold, Holding, NewTable, Phase, StandIn, Verdict, foretell};
use kernel::Device;
pub(super) use kernel::{Kernel, Mounted};
#[cfg(feature = "tools")]
pub(crate) use probe::Probe;

/// How long a device is waited for, in seconds.
const WAIT: u32 = 60;

/// How long udev may take to have seen what changed.
const SETTLE: &str = "--timeout=60";

/// What all steps share.
struct Context<'a> {
    kernel: Kernel,
    state: &'a State,
    purpose: Purpose,
}

/// Why disks are looked at.
enum Purpose {
    /// To change them.
    Write,
    /// To say what would change, on these instead.
    #[cfg(feature = "tools")]
    Foretell(foretell::StandIns),
}

/// A device, and where the config names it.
struct Subject<'a> {
    place: String,
    key: String,
    name: &'a str,
}

/// Whether `config` has something for this stage to do.
pub fn asked(config: &Config) -> bool {
    config.storage.as_ref().is_some_and(|storage| {
        !list(storage.disks.as_ref()).is_empty()
            || !list(storage.raid.as_ref()).is_empty()
            || !list(storage.luks.as_ref()).is_empty()
            || !list(storage.filesystems.as_ref()).is_empty()
    })
}

/// Makes the disks what `config` says, unless `root` has the record of a host that
/// is provisioned. A journal is kept below `root` while things are made on them.
/// Returns the UUIDs of encrypted volumes, by name.
pub fn run(
    settings: &Settings,
    config: &Config,
    state: &State,
) -> Result<BTreeMap<String, String>, DisksError> {
    if !asked(config) {
        log::info("the config asks for no disks");
        return Ok(BTreeMap::new());
    }
    let root = Root::open(&settings.root).map_err(|source| DisksError::Root {
        path: settings.root.clone(),
        source,
    })?;
    if files::provisioned(&root)? {
        return Ok(BTreeMap::new());
    }
    let context = Context {
        kernel: Kernel::default(),
        state,
        purpose: Purpose::Write,
    };
    let storage = config.storage.as_ref();
    let disks = list(storage.and_then(|s| s.disks.as_ref()));
    let arrays = list(storage.and_then(|s| s.raid.as_ref()));
    let volumes = list(storage.and_then(|s| s.luks.as_ref()));
    let filesystems = list(storage.and_then(|s| s.filesystems.as_ref()));
    let fetcher = fetcher(settings, config)?;
    luks::ask(&context, &fetcher, config, volumes)?;
    let keys = luks::keys(&context, &root, &fetcher, volumes)?;
    let tables = table::decide(&context, disks)?;
    raid::foresee(&context, &root, arrays, disks, &tables)?;
    luks::foresee(&context, &root, volumes, &keys, &tables)?;
    format::foresee(&context, &root, filesystems, &tables)?;
    // Nothing was written so far.
    let written = tables.into_iter().map(table::Decided::write);
    let written = written.collect::<Result<Vec<_>, _>>()?;
    for table in written.iter().flatten() {
        table.tell_kernel()?;
    }
    let mut claims = Claims::new();
    raid::make(&context, &root, arrays, disks, &mut claims)?;
    let clevis = luks::Clevis {
        memory: settings.config_cache.parent().unwrap_or(Path::new("/run")),
        authorities: fetcher.own_authorities(),
    };
    let uuids = luks::make(&context, &root, &clevis, volumes, &keys, &mut claims)?;
    format::format(&context, &root, filesystems, &mut claims)?;
    Ok(uuids)
}

/// What fetches keys, by the rules of `config`.
fn fetcher(settings: &Settings, config: &Config) -> Result<Fetcher, DisksError> {
    let fetcher = Fetcher::new(Network::Present, settings.fetch_timeout);
    let mut fetcher = fetcher.on_platform(&settings.platform);
    let configured = fetcher.configure(config);
    configured.map_err(|source| DisksError::Fetch {
        place: "key ignition.security".to_owned(),
        source,
    })?;
    Ok(fetcher)
}

/// The devices that entries of the config have taken, by whatever name.
struct Claims(Vec<(PathBuf, String)>);

impl Claims {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes what all names of a device have in common.
    fn claim(&mut self, at: &Subject<'_>, place: &Path) -> Result<(), DisksError> {
        let taken = self.0.iter().find(|(taken, _)| taken == place);
        if let Some((_, key)) = taken {
            let message = format!("is the device of {key} too; give one entry only");
            return Err(at.conflict(message));
        }
        self.0.push((place.to_owned(), at.key.clone()));
        Ok(())
    }
}

impl Context<'_> {
    fn subject<'s>(&self, key: String, device: &'s str) -> Subject<'s> {
        let place = self.state.place(&key);
        let name = device;
        Subject { place, key, name }
    }

    /// The device, once it is there.
    fn find(&self, at: &Subject<'_>) -> Result<Device, DisksError> {
        if !self.path(at.name).exists() {
            wait(at)?;
        }
        self.device(at)
    }

    /// The device, if it is there and will still be what it is once `tables` are written.
    fn lasting(
        &self,
        at: &Subject<'_>,
        tables: &[table::Decided<'_>],
    ) -> Result<Option<Device>, DisksError> {
        // It may be a partition or an array that is still to be made.
        if !Path::new(at.name).exists() {
            return Ok(None);
        }
        let device = self.device(at)?;
        for table in tables {
            if table.changes(&self.kernel, &device)? {
                return Ok(None);
            }
        }
        Ok(Some(device))
    }

    /// The device, which is there.
    fn device(&self, at: &Subject<'_>) -> Result<Device, DisksError> {
        let device = self.kernel.device(&self.path(at.name));
        device.map_err(|source| at.device("looking at", source))
    }

    /// Where the device that the config calls `name` is.
    fn path(&self, name: &str) -> PathBuf {
        match &self.purpose {
            Purpose::Write => name.into(),
            #[cfg(feature = "tools")]
            Purpose::Foretell(stand_ins) => stand_ins.path(name),
        }
    }

    /// The partitions of `device` that are in use, and by what.
    fn users(&self, device: &Device) -> std::io::Result<BTreeMap<u32, String>> {
        match &self.purpose {
            Purpose::Write => self.kernel.users(device),
            #[cfg(feature = "tools")]
            Purpose::Foretell(stand_ins) => stand_ins.users(&self.kernel, device),
        }
    }
}

/// Waits until udev has seen what changed.
fn settle() -> Result<(), ProgramError> {
    program::run("udevadm", &["settle".to_owned(), SETTLE.to_owned()])
}

fn wait(at: &Subject<'_>) -> Result<(), DisksError> {
    let absent = |seconds| DisksError::Absent {
        place: at.place.clone(),
        device: at.name.into(),
        seconds,
    };
    if !at.name.starts_with("/dev/") {
        return Err(absent(0));
    }
    let timeout = format!("--timeout={WAIT}");
    let arguments = ["wait", &timeout, "--settle", at.name].map(str::to_owned);
    program::run("udevadm", &arguments).map_err(|source| match source {
        ProgramError::Failed { .. } => absent(WAIT),
        source => at.program(source),
    })
}

impl Subject<'_> {
    fn path(&self) -> PathBuf {
        self.name.into()
    }

    /// A random identity for something on it.
    fn guid(&self) -> Result<Guid, DisksError> {
        let mut bytes = [0; 16];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(|source| self.device("making a GUID for", source))?;
        Ok(Guid::from_random_bytes(bytes))
    }

    fn conflict(&self, message: impl ToString) -> DisksError {
        DisksError::Conflict {
            place: self.place.clone(),
            device: self.path(),
            message: message.to_string(),
        }
    }

    fn device(&self, operation: &'static str, source: std::io::Error) -> DisksError {
        DisksError::Device {
            place: self.place.clone(),
            operation,
            device: self.path(),
            source,
        }
    }

    fn table(&self, source: GptError) -> DisksError {
        DisksError::Table {
            place: self.place.clone(),
            device: self.path(),
            source: Box::new(source),
        }
    }

    fn block(&self, source: BlockError) -> DisksError {
        DisksError::Block {
            place: self.place.clone(),
            device: self.path(),
            source,
        }
    }

    fn edit(&self, source: EditError) -> DisksError {
        DisksError::Edit {
            place: self.place.clone(),
            device: self.path(),
            source,
        }
    }

    fn program(&self, source: ProgramError) -> DisksError {
        DisksError::Program {
            place: self.place.clone(),
            source,
        }
    }

    fn kernel(&self, what: String) -> DisksError {
        DisksError::Kernel {
            place: self.place.clone(),
            device: self.path(),
            what,
        }
    }
}
