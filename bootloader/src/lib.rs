//! Ballast's boot slots: the one definition of what a slot is, shared by the
//! UEFI selector, the update engine and the tools that edit disk images.
//!
//! The library is `no_std` with `alloc` and decides purely; whoever uses it
//! brings a [`BlockIo`]. From the disk upwards:
//!
//! - [`block`]: reading and writing whole blocks of a disk;
//! - [`gpt`]: the partition table, both copies, repair and power-safe writing;
//! - [`slot`]: the two boot partitions with their priority, tries and successful
//!   bits;
//! - [`mod@choose`]: which slot is tried, in which order and why;
//! - [`attempt`]: the walk along that order, with every write it owes the disk;
//! - [`kargs`]: what a host changes of a release's kernel command line;
//! - [`uki`]: how long the kernel image in a slot is and which release it holds.
//!
//! The program `selector` (feature `efi`) only reads, calls and boots.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod attempt;
pub mod block;
pub mod choose;
pub mod gpt;
pub mod kargs;
pub mod slot;
pub mod uki;

pub use block::{BlockError, BlockIo};
pub use choose::{Candidate, Choice, Reason, choose};
pub use gpt::{Gpt, GptError};
pub use kargs::Kargs;
pub use slot::{Slot, SlotBits, SlotError, SlotTable};
