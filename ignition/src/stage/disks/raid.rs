//! Arrays: looking at their members, deciding, making, assembling.
//!
//! Upstream makes every array anew over whatever its members hold. Here a member
//! that holds something is only overwritten where the config allows it for its disk
//! or partition (`wipeTable`, `wipePartitionEntry`), or where this first boot made
//! it; an array that is there as wanted is assembled and stays.

mod array;

use std::path::Path;

use crate::config::{Disk, Raid, list};
use crate::log;
use crate::program;
use crate::root::Root;

use super::format::{identity, user};
use super::journal::{Journal, Step};
use super::kernel::Device;
use super::probe;
use super::{Claims, Context, DisksError, Subject, settle, table};
pub(super) use array::{Action, Member};
#[cfg(feature = "tools")]
pub(super) use array::{SUPERBLOCK, superblock, superblock_at};

/// How blkid calls a member of such an array.
pub(super) const MEMBER: &str = "linux_raid_member";

/// One array, decided.
struct Decided<'a> {
    at: Subject<'a>,
    wanted: &'a Raid,
    /// Each with what the journal knows it by.
    members: Vec<(Device, String)>,
    action: Action,
    /// Whether its members are in use already, which only it can do.
    active: bool,
}

/// Says what is in the way of `arrays`, as far as that shows before `tables` are
/// written. Writes nothing.
pub fn foresee(
    context: &Context<'_>,
    root: &Root,
    arrays: &[Raid],
    disks: &[Disk],
    tables: &[table::Decided<'_>],
) -> Result<(), DisksError> {
    let journal = Journal::open(root)?;
    'arrays: for (index, wanted) in arrays.iter().enumerate() {
        for at in subjects(context, index, wanted) {
            if context.lasting(&at, tables)?.is_none() {
                continue 'arrays;
            }
        }
        decide(context, &journal, index, wanted, disks, &mut Claims::new())?;
    }
    Ok(())
}

/// Makes `arrays`, but those that are there: these are assembled. Waits for members
/// that are not there yet, and claims them.
pub fn make(
    context: &Context<'_>,
    root: &Root,
    arrays: &[Raid],
    disks: &[Disk],
    claims: &mut Claims,
) -> Result<(), DisksError> {
    let mut journal = Journal::open(root)?;
    let mut all = Vec::new();
    for (index, wanted) in arrays.iter().enumerate() {
        all.push(decide(context, &journal, index, wanted, disks, claims)?);
    }
    for one in &all {
        carry_out(root, &mut journal, one)?;
    }
    match all.last() {
        // The links in /dev/md, and /dev/disk/by-id.
        Some(last) => settle().map_err(|source| last.at.program(source)),
        None => Ok(()),
    }
}

/// The key of an entry in the config.
pub(super) fn place(index: usize) -> String {
    format!("storage.raid.{index}")
}

/// The members as the config names them. Origins are known of whole entries.
pub(super) fn subjects<'a>(
    context: &Context<'_>,
    index: usize,
    wanted: &'a Raid,
) -> Vec<Subject<'a>> {
    let devices = list(wanted.devices.as_ref()).iter();
    devices
        .map(|device| context.subject(place(index), device))
        .collect()
}

fn decide<'a>(
    context: &Context<'_>,
    journal: &Journal,
    index: usize,
    wanted: &'a Raid,
    disks: &[Disk],
    claims: &mut Claims,
) -> Result<Decided<'a>, DisksError> {
    let (mut parts, mut members) = (Vec::new(), Vec::new());
    for at in subjects(context, index, wanted) {
        let device = context.find(&at)?;
        claims.claim(&at, device.place())?;
        let found = probe::probe(device.path()).map_err(|source| at.program(source))?;
        let identity = identity(&at, &device, &found)?;
        let array = match found.kind.as_deref() {
            Some(MEMBER) => examine(&at, &device)?,
            _ => None,
        };
        let member = Member {
            array,
            step: journal.step(&identity),
            expendable: expendable(context, &at, &device, disks)?,
            found,
        };
        let user = user(context, &at, &device)?;
        parts.push(Part { at, member, user });
        members.push((device, identity));
    }
    let action = judge(context, index, wanted, parts.iter())?;
    Ok(Decided {
        at: context.subject(place(index), &wanted.name),
        wanted,
        members,
        action,
        active: parts.iter().any(|part| part.user.is_some()),
    })
}

/// A member that was looked at.
pub(super) struct Part<'a> {
    pub at: Subject<'a>,
    pub member: Member,
    /// What needs it, if something does.
    pub user: Option<String>,
}

/// What to do about `wanted`, whose devices are `parts`; or which of them is in the way.
pub(super) fn judge<'a>(
    context: &Context<'_>,
    index: usize,
    wanted: &Raid,
    parts: impl Iterator<Item = &'a Part<'a>>,
) -> Result<Action, DisksError> {
    let parts: Vec<&Part<'_>> = parts.collect();
    let members: Vec<Member> = parts.iter().map(|part| part.member.clone()).collect();
    let action = array::decide(wanted, &members).map_err(|refusal| {
        let at = context.subject(place(index), &wanted.name);
        let part = parts.get(refusal.index).map(|part| &part.at);
        part.unwrap_or(&at).conflict(&refusal)
    })?;
    let used = parts.iter().find_map(|p| Some((&p.at, p.user.as_ref()?)));
    match (action, used) {
        (Action::Make, Some((at, why))) => {
            Err(at.conflict(format!("does not become part of an array: {why}")))
        }
        _ => Ok(action),
    }
}

fn examine(at: &Subject<'_>, device: &Device) -> Result<Option<array::Array>, DisksError> {
    let path = device.path().display().to_string();
    let arguments = ["--examine", "--export", &path].map(str::to_owned);
    let answer = program::ask("mdadm", &arguments, &[]);
    let answer = answer.map_err(|source| at.program(source))?;
    Ok(array::parse(&answer.text))
}

/// Whether the config allows to destroy what `device` holds: with the table of its
/// disk, or with its partition.
fn expendable(
    context: &Context<'_>,
    at: &Subject<'_>,
    device: &Device,
    disks: &[Disk],
) -> Result<bool, DisksError> {
    let partition = context.kernel.disk_of(device);
    let partition = partition.map_err(|source| at.device("looking for the disk of", source))?;
    let (disk, number) = match &partition {
        Some((disk, number)) => (disk, Some(*number)),
        None => (device, None),
    };
    for wanted in disks {
        let Ok(other) = context.kernel.device(Path::new(&wanted.device)) else {
            continue;
        };
        if other.place() != disk.place() {
            continue;
        }
        return Ok(allows(wanted, number, device.partition_label().as_deref()));
    }
    Ok(false)
}

/// Whether `disk` allows to destroy what is on it, or on its partition `number`, which has
/// this label.
pub(super) fn allows(disk: &Disk, number: Option<u32>, label: Option<&str>) -> bool {
    let wiped = list(disk.partitions.as_ref()).iter().any(|p| {
        let same = match p.number.unwrap_or(0) {
            0 => p.label.is_some() && p.label.as_deref() == label,
            given => number.map(i64::from) == Some(given),
        };
        same && number.is_some() && p.wipe_partition_entry == Some(true)
    });
    disk.wipe_table == Some(true) || wiped
}

fn carry_out(root: &Root, journal: &mut Journal, one: &Decided<'_>) -> Result<(), DisksError> {
    let name = &one.wanted.name;
    let devices = one.members.iter().map(|(device, _)| device.path());
    let devices: Vec<String> = devices.map(|path| path.display().to_string()).collect();
    let run = |arguments: &[String]| {
        program::run("mdadm", arguments).map_err(|source| one.at.program(source))
    };
    if one.action == Action::Keep {
        if !one.active {
            run(&array::assembly(name, &devices))?;
        }
        log::info(&format!("kept the array that is there name={name}"));
        return Ok(());
    }
    for (_, identity) in &one.members {
        journal.note(root, identity, Step::Begun)?;
    }
    for device in &devices {
        // mdadm leaves the traces of what was there before.
        let wipe = ["--all".to_owned(), device.clone()];
        program::run("wipefs", &wipe).map_err(|source| one.at.program(source))?;
    }
    run(&array::creation(one.wanted, &devices))?;
    for (_, identity) in &one.members {
        journal.note(root, identity, Step::Made)?;
    }
    let level = one.wanted.level.as_deref().unwrap_or_default();
    let devices = devices.join(",");
    log::info(&format!(
        "made array name={name} level={level} devices={devices}"
    ));
    Ok(())
}
