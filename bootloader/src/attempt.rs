//! The walk along the chosen order, with every write that it owes the disk.
//!
//! The rules that keep a host from looping over a release that does not start:
//!
//! - a slot on trial loses a try, durably, *before* anything of it is loaded;
//! - where that write fails, the slot is not started: it might be tried for ever;
//! - a slot that cannot be loaded or started loses all its tries, and the next one
//!   is taken at once.
//!
//! What touches the machine is behind [`Machine`], so that all this runs in tests.

use crate::choose::{Candidate, Reason, choose};
use crate::slot::{BootPartition, Slot, SlotTable};
use core::fmt;

/// What the walk needs of the machine it runs on.
pub trait Machine {
    /// A loaded kernel image.
    type Image;
    /// What goes wrong.
    type Error;

    /// Makes `table` the one on the disk, durably.
    fn save(&mut self, table: &SlotTable) -> Result<(), Self::Error>;

    /// Reads and loads the image in `boot`.
    fn load(&mut self, boot: &BootPartition) -> Result<Self::Image, Self::Error>;

    /// Starts `image`. Returns only if that failed, or if the image gave up.
    fn start(&mut self, image: Self::Image, start: Start) -> Self::Error;

    /// Tells people about a problem that the walk goes around.
    fn report(&mut self, problem: Problem<Self::Error>);
}

/// What is being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The slot, and why this one.
    pub candidate: Candidate,
    /// Tries that it has left after this one.
    pub tries_left: u8,
}

/// Something that went wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<E> {
    /// The taken try could not be written: the slot is passed over.
    TryNotSaved(Slot, E),
    /// The slot's image could not be read or loaded.
    NotLoaded(Slot, E),
    /// The slot's image could not be started, or returned.
    NotStarted(Slot, E),
    /// The slot's lost tries could not be written. It is passed over now, and may be
    /// tried again on the next boot.
    FailureNotSaved(Slot, E),
    /// No eligible slot could be started: the others are tried as the last resort.
    NoneEligible,
}

impl<E: fmt::Display> fmt::Display for Problem<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryNotSaved(slot, why) => {
                write!(
                    f,
                    "slot {slot} passed over, its try cannot be recorded: {why}"
                )
            }
            Self::NotLoaded(slot, why) => write!(f, "slot {slot} cannot be loaded: {why}"),
            Self::NotStarted(slot, why) => write!(f, "slot {slot} did not start: {why}"),
            Self::FailureNotSaved(slot, why) => {
                write!(f, "slot {slot} failed, and that cannot be recorded: {why}")
            }
            Self::NoneEligible => f.write_str("no eligible slot starts, trying any that loads"),
        }
    }
}

/// Starts the best slot of `table` that can be started.
///
/// Returns only if none can. `table` then holds what was last written, as far as
/// writing worked.
pub fn run<M: Machine>(machine: &mut M, table: &mut SlotTable) {
    let choice = choose(table);
    let mut told = false;
    for candidate in [choice.first, choice.next] {
        if candidate.reason == Reason::LastResort && !told {
            machine.report(Problem::NoneEligible);
            told = true;
        }
        if let Some(problem) = attempt(machine, table, candidate) {
            machine.report(problem);
        }
    }
}

/// Tries one slot; returns what stopped it, unless that was already reported.
fn attempt<M: Machine>(
    machine: &mut M,
    table: &mut SlotTable,
    candidate: Candidate,
) -> Option<Problem<M::Error>> {
    let slot = candidate.slot;
    let before = *table;
    // The last resort is no trial: nothing is taken from a slot that has no claim.
    if candidate.reason != Reason::LastResort
        && table.take_try(slot)
        && let Err(why) = machine.save(table)
    {
        *table = before;
        return Some(Problem::TryNotSaved(slot, why));
    }
    let boot = *table.get(slot);
    let problem = match machine.load(&boot) {
        Err(why) => Problem::NotLoaded(slot, why),
        Ok(image) => {
            let tries_left = boot.bits.tries;
            let start = Start {
                candidate,
                tries_left,
            };
            Problem::NotStarted(slot, machine.start(image, start))
        }
    };
    machine.report(problem);
    if !table.fail(slot) {
        return None;
    }
    let why = machine.save(table).err()?;
    Some(Problem::FailureNotSaved(slot, why))
}
