//! Turns an OCI runtime spec into a running process.
//!
//! The program is a direct child of this process and the first of its namespaces; there is
//! nothing between the two, and nothing that goes on running beside them. Making it has two
//! steps, so that a network can be set up in between:
//!
//! 1. [`create`] checks the spec ([`Container`]), takes hold of what is mounted from outside
//!    (`sources`), makes the process (`clone3`) and waits until it has built its tree of
//!    mounts (`init`);
//! 2. [`Created::start`] lets it become the program.
//!
//! Nothing is mounted in the host's namespace, and the new process ends if its parent does
//! before it was started: a parent that is killed leaves nothing but an empty cgroup.
//!
//! The child goes on with a copy of this process's memory, which is only safe if no other
//! thread was using it: [`create`] refuses to work in a process with several threads.

pub mod beneath;
pub mod caps;
pub mod cgroup;
pub mod container;
pub mod copy;
mod create;
pub mod defaults;
pub mod error;
pub mod exec;
pub mod hold;
pub mod hooks;
mod init;
pub mod mounts;
pub mod own_binary;
pub mod seccomp;
mod sources;
pub mod state;
pub mod sync;
mod sys;
mod users;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;

pub use container::Container;
pub use create::{Created, Running, create, started};
pub use defaults::{default_capabilities, default_spec, seccomp_for};
pub use error::{Error, Result};
pub use hold::{Holder, Namespaces};
pub use own_binary::protect_own_binary;
pub use sources::overlay;
pub use sys::process::{pidfd_open, pidfd_signal};
pub use sys::terminal;

/// Everything about a container that is to be made.
#[derive(Debug)]
pub struct Plan {
    /// What it is.
    pub spec: Spec,
    /// Its files.
    pub root: Root,
    /// What hooks are told.
    pub identity: state::Identity,
    /// Its standard streams, unless it has a terminal of its own.
    pub streams: Streams,
    /// Where the master of its own terminal is sent; it has one if this is given.
    pub console: Option<OwnedFd>,
    /// Its control group.
    pub cgroup: cgroup::How,
    /// Whether it has a session of its own. Without one it gets the signals of the
    /// caller's terminal and can read from it.
    pub session: Session,
    /// Whether it is killed when this process ends. Before the start it always is.
    pub dies_with_parent: bool,
    /// How its root becomes the root.
    pub pivot: Pivot,
    /// Whose session keyring it has.
    pub keyring: Keyring,
    /// Descriptors after the standard streams (3, 4, …) that it gets.
    pub preserved: u32,
    /// A listening socket (`SOCK_SEQPACKET`): who connects to it starts the program. Without
    /// one it is [`Created::start`].
    pub gate: Option<OwnedFd>,
}

impl Plan {
    /// A plan for a program that belongs to the caller like any other child: its streams and
    /// session; it ends when the caller does. It has a control group of its own if the spec
    /// has a path for it.
    pub fn new(spec: Spec) -> Self {
        let path = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.cgroups_path().clone());
        let root = spec.root().as_ref().map(|root| root.path().clone());
        Self {
            spec,
            root: Root::Path(root.unwrap_or_default()),
            identity: state::Identity::default(),
            streams: Streams::default(),
            console: None,
            cgroup: path.map_or(cgroup::How::Caller, cgroup::How::Path),
            session: Session::Caller,
            dies_with_parent: true,
            pivot: Pivot::Root,
            keyring: Keyring::New,
            preserved: 0,
            gate: None,
        }
    }
}

/// Where a container's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A directory, with what is mounted below it.
    Path(PathBuf),
    /// Layers.
    Overlay {
        /// What is read, the lowest first.
        lower: Vec<PathBuf>,
        /// What is written; without it nothing can be.
        upper: Option<Upper>,
    },
}

/// The layer that changes go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// The layer itself.
    pub upper: PathBuf,
    /// An empty directory beside it, for the kernel.
    pub work: PathBuf,
    /// Whether the changes may be lost when the host crashes. The layer cannot be used
    /// again until `work/work/incompat/volatile` is removed, but ending the container does
    /// not wait for disks.
    pub volatile: bool,
}

/// Standard streams of a program.
#[derive(Debug, Default)]
pub struct Streams {
    /// What it reads.
    pub input: Stream,
    /// What it writes.
    pub output: Stream,
    /// What it says.
    pub error: Stream,
}

/// One of them.
#[derive(Debug, Default)]
pub enum Stream {
    /// The caller's.
    #[default]
    Inherit,
    /// Nothing.
    Null,
    /// This.
    File(OwnedFd),
}

/// Which session a program is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The caller's.
    Caller,
    /// Its own.
    New,
}

/// Whose session keyring a program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyring {
    /// A new one.
    New,
    /// The caller's, with the caller's keys.
    Caller,
}

/// How a root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pivot {
    /// By `pivot_root(2)`: nothing of the host is left.
    Root,
    /// By `chroot(2)`, for a host whose root is a ramfs. The host's files are still mounted
    /// below, and root with `CAP_SYS_CHROOT` finds them.
    Chroot,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// As shells write it: 128 and the signal, if it was one.
    pub fn code(self) -> u8 {
        let status = match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128 + signal,
        };
        u8::try_from(status & 0xff).unwrap_or(u8::MAX)
    }
}
