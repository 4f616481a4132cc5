//! Encrypted volumes: keys, deciding, making, opening.
//!
//! Keys are there before anything is written: fetched, or kept by an earlier attempt
//! of this first boot, or made up. They go to programs through standard input, never
//! through arguments. The host opens a volume on later boots with the key in
//! `/etc/luks/NAME`, by the line that the files stage adds to crypttab(5).

mod clevis;
mod key;
mod servers;
mod volume;

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Luks;
use crate::log;
use crate::program::{self, ProgramError};
use crate::root::Root;

use super::format::{identity, user};
use super::journal::{Journal, Step};
use super::kernel::Device;
use super::probe::{self, Probe};
use super::reuse::Action;
use super::{Claims, Context, DisksError, Subject, settle, table};
use clevis::{Binding, PassingFile};
pub use key::{Key, keys};
pub use servers::ask;

/// What clevis(1) is run with.
pub struct Clevis<'a> {
    /// A directory that is not on a disk, for what it wants in files.
    pub memory: &'a Path,
    /// What https servers are checked against (PEM), if that is more than the system has.
    pub authorities: Option<Vec<u8>>,
}

/// One volume, decided.
struct Decided<'a> {
    at: Subject<'a>,
    device: Device,
    wanted: &'a Luks,
    key: &'a Key,
    binding: Option<Binding>,
    /// What the journal knows the device by.
    identity: String,
    action: Action,
}

/// Says what is in the way of `volumes`, as far as that shows before `tables` are
/// written. Writes nothing.
pub fn foresee(
    context: &Context<'_>,
    root: &Root,
    volumes: &[Luks],
    keys: &[Key],
    tables: &[table::Decided<'_>],
) -> Result<(), DisksError> {
    let journal = Journal::open(root)?;
    for (at, wanted, key) in entries(context, volumes, keys) {
        if let Some(device) = context.lasting(&at, tables)? {
            decide(context, &journal, at, device, wanted, key)?;
        }
    }
    Ok(())
}

/// Makes `volumes`, but those that are there, and opens all. Waits for devices that
/// are not there yet, and claims them. Returns the UUID of each name.
pub fn make(
    context: &Context<'_>,
    root: &Root,
    clevis: &Clevis<'_>,
    volumes: &[Luks],
    keys: &[Key],
    claims: &mut Claims,
) -> Result<BTreeMap<String, String>, DisksError> {
    let mut journal = Journal::open(root)?;
    let mut all = Vec::new();
    for (at, wanted, key) in entries(context, volumes, keys) {
        let device = context.find(&at)?;
        claims.claim(&at, device.place())?;
        all.push(decide(context, &journal, at, device, wanted, key)?);
    }
    let mut uuids = BTreeMap::new();
    for one in &all {
        carry_out(context, root, clevis, &mut journal, one)?;
        let found = probe::probe(one.device.path()).map_err(|source| one.at.program(source))?;
        uuids.insert(one.wanted.name.clone(), found.uuid.unwrap_or_default());
    }
    if let Some(last) = all.last() {
        // The links of what was made and opened.
        settle().map_err(|source| last.at.program(source))?;
    }
    Ok(uuids)
}

fn entries<'a>(
    context: &Context<'_>,
    volumes: &'a [Luks],
    keys: &'a [Key],
) -> impl Iterator<Item = (Subject<'a>, &'a Luks, &'a Key)> {
    let all = volumes.iter().zip(keys).enumerate();
    all.map(|(index, (wanted, key))| {
        let device = wanted.device.as_deref().unwrap_or_default();
        (context.subject(place(index), device), wanted, key)
    })
}

/// The key of an entry in the config.
pub(super) fn place(index: usize) -> String {
    format!("storage.luks.{index}")
}

fn decide<'a>(
    context: &Context<'_>,
    journal: &Journal,
    at: Subject<'a>,
    device: Device,
    wanted: &'a Luks,
    key: &'a Key,
) -> Result<Decided<'a>, DisksError> {
    let found = probe::probe(device.path()).map_err(|source| at.program(source))?;
    let identity = identity(&at, &device, &found)?;
    let step = journal.step(&identity);
    let action = judge(&at, wanted, &found, step, || user(context, &at, &device))?;
    let name = &wanted.name;
    if !context.kernel.maps(&device, name) && context.kernel.dev.join("mapper").join(name).exists()
    {
        let message = format!(
            "cannot be opened as {name:?}: there is another device of this name; give another one"
        );
        return Err(at.conflict(message));
    }
    if action == Action::Keep && step.is_none() {
        same_discards(&at, &device, wanted)?;
    }
    Ok(Decided {
        at,
        device,
        wanted,
        key,
        binding: clevis::binding(wanted),
        identity,
        action,
    })
}

/// What to do about `wanted` where `found` is; or what is in the way. `user` says what needs
/// that, if something does.
pub(super) fn judge(
    at: &Subject<'_>,
    wanted: &Luks,
    found: &Probe,
    step: Option<Step>,
    user: impl FnOnce() -> Result<Option<String>, DisksError>,
) -> Result<Action, DisksError> {
    let action = volume::decide(wanted, found, step);
    let action = action.map_err(|message| at.conflict(message))?;
    if action == Action::Make
        && let Some(why) = user()?
    {
        return Err(at.conflict(format!("is not encrypted: {why}")));
    }
    Ok(action)
}

/// What the volume says about discards counts on every boot, so it must be what the
/// config says.
fn same_discards(at: &Subject<'_>, device: &Device, wanted: &Luks) -> Result<(), DisksError> {
    let path = device.path().display().to_string();
    let arguments = ["luksDump", "--dump-json-metadata", &path].map(str::to_owned);
    let answer = program::ask("cryptsetup", &arguments, &[]);
    let answer = answer.map_err(|source| at.program(source))?;
    let (found, wanted) = (volume::discards(&answer.text), wanted.discard == Some(true));
    if found == Some(wanted) {
        return Ok(());
    }
    let words = |allowed| if allowed { "allows" } else { "does not allow" };
    Err(at.conflict(match found {
        Some(found) => format!(
            "holds a LUKS volume that {} discards, and the config {} them; change discard, or \
             set wipeVolume if it may be destroyed",
            words(found),
            words(wanted)
        ),
        None => "holds a LUKS volume with a header that is not understood; set wipeVolume if it \
                 may be destroyed"
            .to_owned(),
    }))
}

fn carry_out(
    context: &Context<'_>,
    root: &Root,
    clevis: &Clevis<'_>,
    journal: &mut Journal,
    one: &Decided<'_>,
) -> Result<(), DisksError> {
    let (name, device) = (&one.wanted.name, one.at.name);
    one.key.keep(root, name)?;
    match one.action {
        Action::Keep => {
            let opened = open(context, clevis, one);
            opened.map_err(|error| match one.key.is_passing() {
                true => error,
                false => refused_key(&one.at, error),
            })?;
            log::info(&format!(
                "kept the volume that is there device={device} name={name}"
            ));
        }
        Action::Make => {
            journal.note(root, &one.identity, Step::Begun)?;
            format(one)?;
            open(context, clevis, one)?;
            if let Some(binding) = &one.binding {
                bind(one, binding, clevis)?;
            }
            journal.note(root, &one.identity, Step::Made)?;
            log::info(&format!("made volume device={device} name={name}"));
        }
    }
    Ok(())
}

fn format(one: &Decided<'_>) -> Result<(), DisksError> {
    let path = one.device.path().display().to_string();
    let wipe = ["--all".to_owned(), path.clone()];
    program::run("wipefs", &wipe).map_err(|source| one.at.program(source))?;
    cryptsetup(one, &volume::creation(one.wanted, &path))
}

/// Opens the volume, unless it is open.
fn open(context: &Context<'_>, clevis: &Clevis<'_>, one: &Decided<'_>) -> Result<(), DisksError> {
    let name = &one.wanted.name;
    if context.kernel.maps(&one.device, name) {
        return Ok(());
    }
    let path = one.device.path().display().to_string();
    if one.action == Action::Keep && one.key.is_passing() {
        return run_clevis(clevis, one, &clevis::unlock(&path, name));
    }
    cryptsetup(one, &volume::opening(one.wanted, &path))
}

/// Binds the volume, which is open. If enough pins are there, the volume is opened by
/// them now, so that one that cannot be opened later is known before it has data.
fn bind(one: &Decided<'_>, binding: &Binding, clevis: &Clevis<'_>) -> Result<(), DisksError> {
    let name = &one.wanted.name;
    let path = one.device.path().display().to_string();
    let file = PassingFile::new(clevis.memory, "luks.key", one.key.bytes());
    let file = file.map_err(|source| one.at.device("keeping a key in memory for", source))?;
    let bound = run_clevis(clevis, one, &clevis::bind(binding, &path, file.path()));
    bound.map_err(|error| advised(error, binding.advice))?;
    drop(file);
    if binding.testable {
        let close = ["luksClose", name].map(str::to_owned);
        program::run("cryptsetup", &close).map_err(|source| one.at.program(source))?;
        run_clevis(clevis, one, &clevis::unlock(&path, name))?;
    }
    if one.key.is_passing() {
        cryptsetup(one, &clevis::removal(&path))?;
    }
    log::info(&format!("bound volume name={name}"));
    Ok(())
}

fn run_clevis(
    clevis: &Clevis<'_>,
    one: &Decided<'_>,
    arguments: &[String],
) -> Result<(), DisksError> {
    let result = match &clevis.authorities {
        None => program::run("clevis", arguments),
        Some(pem) => {
            let file = PassingFile::new(clevis.memory, "authorities.pem", pem);
            let failed = |source| one.at.device("keeping authorities in memory for", source);
            let file = file.map_err(failed)?;
            let variable = (clevis::AUTHORITIES, file.path());
            program::run_with_variable("clevis", arguments, variable)
        }
    };
    result.map_err(|source| one.at.program(source))
}

/// `error` with what may help.
fn advised(mut error: DisksError, advice: Option<&str>) -> DisksError {
    if let (
        Some(advice),
        DisksError::Program {
            source: ProgramError::Failed { output, .. },
            ..
        },
    ) = (advice, &mut error)
    {
        output.push_str("; ");
        output.push_str(advice);
    }
    error
}

fn cryptsetup(one: &Decided<'_>, arguments: &[String]) -> Result<(), DisksError> {
    let result = program::run_with("cryptsetup", arguments, one.key.bytes());
    result.map_err(|source| one.at.program(source))
}

fn refused_key(at: &Subject<'_>, error: DisksError) -> DisksError {
    match error {
        DisksError::Program {
            source: ProgramError::Failed { output, .. },
            ..
        } => at.conflict(format!(
            "holds a LUKS volume that the config's key does not open ({output}); give its key, or \
             set wipeVolume if it may be destroyed"
        )),
        error => error,
    }
}
