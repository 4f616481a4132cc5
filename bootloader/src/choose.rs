//! Which slot is started: the pure choice over both slots' bits.
//!
//! A slot is *eligible* if `priority > 0 && (successful || tries > 0)`. Eligible slots
//! come first, in this order: higher priority; then successful; then `a` before `b`.
//! After them come the slots that are not eligible, as the last resort: successful
//! first, then higher priority, then `a` before `b`.
//!
//! # Reasons
//!
//! - **normal**: the slot is eligible, and no other one has a better claim.
//! - **fallback**: the slot is eligible, but another one was passed over: it is not
//!   eligible although its priority is above 0 and at least as high (a trial that
//!   used up its tries, until the update engine disarms it), or it was before this
//!   one in the order and could not be started now.
//! - **last-resort**: the slot is not eligible. It is started only because no
//!   eligible one could be.
//!
//! A slot of priority 0 was never meant to be started, so passing over it is normal.

use crate::slot::{Slot, SlotBits, SlotTable};
use core::fmt;

/// Why a slot is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the best one.
    Normal,
    /// A better one was passed over.
    Fallback,
    /// None is eligible.
    LastResort,
}

impl Reason {
    /// The word for it: `normal`, `fallback` or `last-resort`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fallback => "fallback",
            Self::LastResort => "last-resort",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A slot to start, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The slot.
    pub slot: Slot,
    /// Why, if everything before it could not be started.
    pub reason: Reason,
}

/// All slots in the order in which they are to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slot to start.
    pub first: Candidate,
    /// The slot to start if the first one cannot be.
    pub next: Candidate,
}

/// Decides which slot is started. Pure: the same table gives the same choice.
pub fn choose(table: &SlotTable) -> Choice {
    let (a, b) = (table.bits(Slot::A), table.bits(Slot::B));
    let first = if rank(b) > rank(a) { Slot::B } else { Slot::A };
    let next = first.other();
    let (first_bits, next_bits) = (table.bits(first), table.bits(next));
    let passed_over = next_bits.priority > 0
        && next_bits.priority >= first_bits.priority
        && !next_bits.is_eligible();
    Choice {
        first: Candidate {
            slot: first,
            reason: match (first_bits.is_eligible(), passed_over) {
                (false, _) => Reason::LastResort,
                (true, true) => Reason::Fallback,
                (true, false) => Reason::Normal,
            },
        },
        next: Candidate {
            slot: next,
            reason: if next_bits.is_eligible() {
                Reason::Fallback
            } else {
                Reason::LastResort
            },
        },
    }
}

/// Orders slots: the greater one is tried first, and of equal ones `a`.
fn rank(bits: SlotBits) -> (bool, u8, u8) {
    let (priority, successful) = (bits.priority, u8::from(bits.successful));
    if bits.is_eligible() {
        (true, priority, successful)
    } else {
        (false, successful, priority)
    }
}
