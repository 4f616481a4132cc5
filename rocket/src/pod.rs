//! Pods: one or more apps that share a network, and what is kept of them.
//!
//! A pod is a directory named by its UUID, below a directory named by its state; going on
//! from one state to the next is a rename. Whoever changes a pod holds the lock of its
//! directory, and the kernel lets go of it when that process ends, however it ends.

mod capabilities;
mod collect;
mod enter;
mod files;
mod lookup;
mod manifest;
mod prepare;
mod record;
mod run;
mod spec;
mod store;
mod variables;
mod view;

pub use capabilities::{CapabilityError, check as check_capability};
pub use collect::{Collected, Keep, collect, end, release, settle};
pub use enter::{begin, enter};
pub use files::files;
pub use lookup::{Group, Layers, LookupError, UserName};
pub use manifest::{App, Dns, ImageName, Limits, Manifest, Mount, User, Volume};
pub use prepare::{Caller, PrepareError, Process, Source, manifest};
pub(crate) use record::start_of;
pub use record::{AppProcess, Ended, Exit, Liveness, Record};
pub use run::{Wait, again, run};
pub(crate) use run::{attach, cgroup, give_up, root, servers, volumes, write_files};
pub use spec::SpecError;
pub(crate) use spec::{Joined, Place, spec};
pub use store::{Pod, Pods, State, StoreError};
pub use view::{AppView, Phase, View, phase, view};
