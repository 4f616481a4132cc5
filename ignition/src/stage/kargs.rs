//! `kargs`: kernel arguments, as `kernelArguments` wants them.
//!
//! The arguments of a host lie in a file of the ESP, from which the selector merges
//! them into the command line of every release ([`bootloader::kargs`]). The stage
//! writes that file, before anything else of the host is changed, and reboots once;
//! the first boot that runs with the arguments confirms them and goes on. Whatever is
//! not so after that reboot is an error and never another reboot.
//!
//! The file is as the config says and nothing else: one that an earlier attempt wrote
//! for another config is replaced or removed.

mod decide;
mod error;
mod esp;
mod firmware;

use std::fs;
use std::time::Duration;

use bootloader::Kargs;
use bootloader::kargs::{Outcome, Problem, confirmed};
use bootloader::slot::SlotBits;

use crate::config::{Config, list};
use crate::failure;
use crate::log;
use crate::program;
use crate::root::Root;
use crate::state::State;

use super::disks::Kernel;
use super::{Settings, files};
use decide::{Decision, Facts, Then, Write, decide};
use esp::Esp;
use firmware::Firmware;

pub use decide::Refusal;
pub use error::KargsError;

/// The key of the config.
const KEY: &str = "kernelArguments";

/// How long the system may take to reboot.
const REBOOT: Duration = Duration::from_secs(120);

/// Where the arguments of a host are kept: the ESP, or what stands for it in tests.
trait Store {
    /// The file, and at most one byte more than it may have.
    fn read(&self) -> Result<Option<Vec<u8>>, KargsError>;

    /// How the trial of the arguments stands.
    fn trial(&self) -> Result<SlotBits, KargsError>;

    /// Makes the trial stand at `trial`, durably.
    fn set_trial(&mut self, trial: SlotBits) -> Result<(), KargsError>;

    /// Makes the file contain `text`, durably; a cut leaves the old file or the new.
    fn write(&mut self, text: &str) -> Result<(), KargsError>;

    /// Removes the file, durably.
    fn remove(&mut self) -> Result<(), KargsError>;
}

/// Whether `config` has something for this stage to do.
pub fn asked(config: &Config) -> bool {
    config.kernel_arguments.as_ref().is_some_and(|arguments| {
        let lists = [&arguments.should_exist, &arguments.should_not_exist];
        lists.into_iter().any(|all| !list(all.as_ref()).is_empty())
    })
}

/// Sees to it that the machine runs with the kernel arguments of `config`, unless its
/// root has the record of a host that is provisioned. Does not return if that takes a
/// reboot.
pub fn run(settings: &Settings, config: &Config, state: &State) -> Result<(), KargsError> {
    let place = place(state);
    let wanted = wanted(config).map_err(|problem| KargsError::Config {
        place: place.clone(),
        problem,
    })?;
    let path = &settings.root;
    let root = Root::open(path).map_err(|source| error::io("opening", path, source))?;
    if files::provisioned(&root)? {
        return Ok(());
    }
    let path = &settings.cmdline;
    let line = fs::read_to_string(path).map_err(|source| error::io("reading", path, source))?;
    let firmware = Firmware::default();
    // Other machines are not rebooted, nor are their disks changed.
    let uuid = match failure::in_initrd() {
        true => firmware.esp()?,
        false => None,
    };
    let Some(uuid) = uuid else {
        return match wanted.unmet(&line).next() {
            None => Ok(()),
            Some(_) => Err(refuse(place, Refusal::NoSelector)),
        };
    };
    let boot = Boot {
        line: &line,
        outcome: firmware.outcome()?,
        secure: firmware.secure_boot()?,
    };
    let settled = {
        let mut esp = Esp::open(&Kernel::default(), &uuid)?;
        settle(&mut esp, &wanted, &boot)
    };
    match settled {
        Ok(Then::GoOn) => Ok(()),
        Ok(Then::Reboot) => reboot(),
        Err(Stopped::Refused(refusal)) => Err(refuse(place, refusal)),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn refuse(place: String, refusal: Refusal) -> KargsError {
    KargsError::Refused { place, refusal }
}

fn place(state: &State) -> String {
    let origin = state.origin(KEY).map(str::to_owned);
    origin.unwrap_or_else(|| format!("key {KEY}"))
}

/// What `config` asks for.
fn wanted(config: &Config) -> Result<Kargs, Problem> {
    let arguments = config.kernel_arguments.as_ref();
    let exist = list(arguments.and_then(|a| a.should_exist.as_ref()));
    let not_exist = list(arguments.and_then(|a| a.should_not_exist.as_ref()));
    Kargs::new(
        exist.iter().map(String::as_str),
        not_exist.iter().map(String::as_str),
    )
}

/// How this boot came about.
struct Boot<'a> {
    /// The kernel's command line.
    line: &'a str,
    /// What the selector did with the file; None if it saw none.
    outcome: Option<Outcome>,
    /// Whether Secure Boot is on.
    secure: bool,
}

/// Why arguments are not as wanted.
enum Stopped {
    Refused(Refusal),
    Failed(KargsError),
}

impl From<KargsError> for Stopped {
    fn from(error: KargsError) -> Self {
        Self::Failed(error)
    }
}

/// Brings `store` to what `wanted` says.
fn settle(store: &mut impl Store, wanted: &Kargs, boot: &Boot<'_>) -> Result<Then, Stopped> {
    let file = store.read()?;
    let facts = Facts {
        wanted,
        line: boot.line,
        file: file.as_deref(),
        outcome: boot.outcome,
        secure: boot.secure,
        trial: store.trial()?,
    };
    let Decision { trial, write, then } = decide(&facts).map_err(Stopped::Refused)?;
    // First: a new file must never meet the state of an old one.
    if let Some(trial) = trial {
        store.set_trial(trial)?;
        if trial == confirmed() {
            log::info(&format!("kernel arguments confirmed {wanted}"));
        }
    }
    match write {
        Write::Nothing => {}
        Write::Wanted => {
            store.write(&wanted.render())?;
            log::info(&format!("kernel arguments written {wanted}"));
        }
        Write::Removal => {
            store.remove()?;
            log::info("kernel arguments of an earlier config removed");
        }
    }
    Ok(then)
}

/// Reboots the machine, which is an initrd.
fn reboot() -> Result<(), KargsError> {
    log::info("rebooting once, into the new kernel arguments");
    let arguments = ["reboot", "--force"].map(str::to_owned);
    program::run("systemctl", &arguments)?;
    // What comes after this stage must not start any more.
    std::thread::sleep(REBOOT);
    Err(KargsError::Reboot {
        seconds: REBOOT.as_secs(),
    })
}

#[cfg(test)]
mod tests;
