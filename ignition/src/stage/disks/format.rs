//! File systems: looking, deciding, wiping, making.

use std::fs::File;
use std::path::Path;

use bootloader::block::FileDisk;
use bootloader::gpt::{Gpt, GptError, Partition};

use crate::config::{Filesystem, filled};
use crate::log;
use crate::module;
use crate::program;
use crate::root::Root;

use super::journal::{Journal, Step};
use super::kernel::Device;
use super::mkfs;
use super::probe::{self, Probe};
use super::protected::protected;
use super::reuse::{self, Action};
use super::{Claims, Context, DisksError, Subject, settle, table};

/// One file system, decided.
struct Decided<'a> {
    at: Subject<'a>,
    device: Device,
    wanted: &'a Filesystem,
    format: &'a str,
    /// What the journal knows the device by.
    identity: String,
    action: Action,
}

/// Says what is in the way of `filesystems`, as far as that shows before `tables`
/// are written and other things are made. Writes nothing.
pub fn foresee(
    context: &Context<'_>,
    root: &Root,
    filesystems: &[Filesystem],
    tables: &[table::Decided<'_>],
) -> Result<(), DisksError> {
    let journal = Journal::open(root)?;
    for (at, wanted, format) in entries(context, filesystems) {
        if let Some(device) = context.lasting(&at, tables)? {
            decide(context, &journal, at, device, wanted, format)?;
        }
    }
    Ok(())
}

/// Makes `filesystems`, but those that are there. Entries without a format ask for
/// nothing. Waits for devices that are not there yet.
pub fn format(
    context: &Context<'_>,
    root: &Root,
    filesystems: &[Filesystem],
    claims: &mut Claims,
) -> Result<(), DisksError> {
    let mut journal = Journal::open(root)?;
    let mut all: Vec<Decided<'_>> = Vec::new();
    for (at, wanted, format) in entries(context, filesystems) {
        let device = context.find(&at)?;
        claims.claim(&at, device.place())?;
        all.push(decide(context, &journal, at, device, wanted, format)?);
    }
    for one in &all {
        carry_out(root, &mut journal, one)?;
    }
    let made = |one: &&Decided<'_>| {
        one.action == Action::Make && matches!(one.device, Device::Block { .. })
    };
    match all.iter().rfind(made) {
        // Links such as those of /dev/disk/by-label come and go with mkfs.
        Some(last) => settle().map_err(|source| last.at.program(source)),
        None => Ok(()),
    }
}

/// The entries that ask for something.
pub(super) fn entries<'a>(
    context: &Context<'_>,
    filesystems: &'a [Filesystem],
) -> impl Iterator<Item = (Subject<'a>, &'a Filesystem, &'a str)> {
    let all = filesystems.iter().enumerate();
    all.filter_map(|(index, wanted)| {
        let format = filled(wanted.format.as_ref())?;
        let key = format!("storage.filesystems.{index}");
        Some((context.subject(key, &wanted.device), wanted, format))
    })
}

fn decide<'a>(
    context: &Context<'_>,
    journal: &Journal,
    at: Subject<'a>,
    device: Device,
    wanted: &'a Filesystem,
    format: &'a str,
) -> Result<Decided<'a>, DisksError> {
    let found = probe::probe(device.path()).map_err(|source| at.program(source))?;
    let identity = identity(&at, &device, &found)?;
    let step = journal.step(&identity);
    let action = judge(&at, wanted, &found, step, || user(context, &at, &device))?;
    Ok(Decided {
        at,
        device,
        wanted,
        format,
        identity,
        action,
    })
}

/// What to do about `wanted` where `found` is; or what is in the way. `user` says what needs
/// that, if something does.
pub(super) fn judge(
    at: &Subject<'_>,
    wanted: &Filesystem,
    found: &Probe,
    step: Option<Step>,
    user: impl FnOnce() -> Result<Option<String>, DisksError>,
) -> Result<Action, DisksError> {
    let action = reuse::decide(wanted, found, step);
    let action = action.map_err(|message| at.conflict(message))?;
    if action == Action::Make
        && let Some(why) = user()?
    {
        return Err(at.conflict(format!("is not formatted: {why}")));
    }
    Ok(action)
}

/// What needs the contents of `device`, if something does.
pub(super) fn user(
    context: &Context<'_>,
    at: &Subject<'_>,
    device: &Device,
) -> Result<Option<String>, DisksError> {
    let fail = |source| at.device("looking for users of", source);
    if let Some(why) = context.kernel.user(device).map_err(fail)? {
        return Ok(Some(why));
    }
    if let Some((disk, number)) = context.kernel.disk_of(device).map_err(fail)? {
        let users = context.users(&disk).map_err(fail)?;
        let partitions = partitions(at, &disk)?;
        return Ok(protected(&partitions, users).remove(&number));
    }
    let users = context.users(device).map_err(fail)?;
    Ok(users.into_values().next())
}

/// The partitions of `disk`; none if its table is no GPT.
pub(super) fn partitions(at: &Subject<'_>, disk: &Device) -> Result<Vec<Partition>, DisksError> {
    let io = disk
        .block_size()
        .and_then(|size| FileDisk::open_read_only(disk.path(), size));
    let mut io = io.map_err(|source| at.device("opening the disk of", source))?;
    match Gpt::read(&mut io) {
        Ok(gpt) => Ok(gpt.partitions().collect()),
        Err(GptError::NoValidCopy { .. }) => Ok(Vec::new()),
        Err(source) => Err(at.table(source)),
    }
}

/// What makes a device the same one in the next boot.
pub(super) fn identity(
    at: &Subject<'_>,
    device: &Device,
    found: &Probe,
) -> Result<String, DisksError> {
    if let Some(uuid) = &found.partition {
        return Ok(format!("PARTUUID={uuid}"));
    }
    let size = device.size();
    let size = size.map_err(|source| at.device("asking for the size of", source))?;
    if device.is_made() {
        // Numbers of arrays and volumes move between boots, names do not.
        return Ok(format!("{} of {size} bytes", at.name));
    }
    Ok(format!("{} of {size} bytes", plug(device).display()))
}

/// Where it is plugged in: without its name, which may move, unless there is nothing
/// else that tells it from its neighbours.
fn plug(device: &Device) -> &Path {
    let place = device.place();
    match place.parent() {
        Some(parent) if parent.ends_with("block") && !parent.ends_with("virtual/block") => parent,
        _ => place,
    }
}

fn carry_out(root: &Root, journal: &mut Journal, one: &Decided<'_>) -> Result<(), DisksError> {
    let (device, format) = (one.at.name, one.format);
    match one.action {
        Action::Keep => {
            log::info(&format!(
                "kept what is there device={device} format={format}"
            ));
        }
        Action::Make => {
            journal.note(root, &one.identity, Step::Begun)?;
            make(&one.at, &one.device, one.wanted)?;
            journal.note(root, &one.identity, Step::Made)?;
            let label = one.wanted.label.as_deref().unwrap_or_default();
            log::info(&format!(
                "made file system device={device} format={format} label={label:?}"
            ));
        }
    }
    Ok(())
}

fn make(at: &Subject<'_>, device: &Device, wanted: &Filesystem) -> Result<(), DisksError> {
    let path = device.path().display().to_string();
    // Also before mkfs: not every mkfs removes the traces of every other one. Fails
    // if the device is in use.
    let wipe = ["--all".to_owned(), path.clone()];
    program::run("wipefs", &wipe).map_err(|source| at.program(source))?;
    have_kernel_part(device, wanted);
    if let Some(call) = mkfs::call(wanted, &path) {
        program::run(call.program, &call.arguments).map_err(|source| at.program(source))?;
    }
    let synced = File::options().write(true).open(device.path());
    let synced = synced.and_then(|file| file.sync_all());
    synced.map_err(|source| at.device("flushing", source))
}

/// Whether a btrfs is whole, udev asks the kernel's part of it once, when it is made. Where
/// that is not loaded, the answer is no, and mounts wait for a device that does not come.
fn have_kernel_part(device: &Device, wanted: &Filesystem) {
    let is_btrfs = wanted.format.as_deref() == Some("btrfs");
    let is_image = matches!(device, Device::Image { .. });
    if is_btrfs && !is_image && !Path::new("/dev/btrfs-control").exists() {
        module::load("btrfs");
    }
}

#[cfg(test)]
mod tests;
