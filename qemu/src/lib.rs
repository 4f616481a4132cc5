//! Virtual machines: what `cargo vm` and the end-to-end scenarios run on.
//!
//! [`Machine`] describes a virtual machine, [`Machine::args`] turns it into
//! QEMU's arguments without touching anything. [`Setup`] says what to boot,
//! [`Setup::boot`] starts it from the firmware and [`Setup::warm`] from a
//! snapshot of a booted system. Both give a [`Vm`], which dies with its handle.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tools = Arc::new(image::tools::Tools::ensure()?);
//! let setup = qemu::Setup::new("disk.img").ignition("single-host.ign");
//! let mut vm = setup.boot(tools)?;
//! vm.wait_boot_complete(Duration::from_secs(120))?;
//! assert_eq!(vm.exec_ok("systemctl is-system-running --wait")?, "running\n");
//! vm.cut_power()?;
//! vm.power_on()?;
//! # Ok(()) }
//! ```
//!
//! Every duration given to this library is what an idle two-core machine
//! without KVM needs at most; [`deadline::scaled`] stretches it for slower ones.

pub mod accel;
pub mod console;
pub mod deadline;
pub mod disk;
mod error;
pub mod launcher;
pub mod machine;
pub mod qmp;
mod setup;
mod snapshot;
pub mod ssh;
pub mod stages;
mod vm;

pub use accel::Accel;
pub use error::{Error, Result};
pub use launcher::Launcher;
pub use machine::{Forward, Machine};
pub use setup::{Setup, Storage};
pub use ssh::Output;
pub use vm::{BootComplete, Vm};
