//! The container's first process, from the moment it exists until it is the program.
//!
//! It tells its parent what fails, with the step, because nobody else hears it: there is
//! no log in a container.

pub mod credentials;
pub mod devices;
pub mod filesystem;
mod mask;
pub mod program;
pub mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{SockFlag, accept4};
use nix::sys::stat::{Mode, umask};
use oci_spec::runtime::Hooks;

use super::container::Container;
use super::error::{During, Error, Result};
use super::hooks;
use super::sources::Sources;
use super::sync::{Channel, Message};
use super::sys::process;
use super::{Keyring, Pivot, Session, Stream, Streams};

/// All that the new process needs. It has a copy of the parent's memory.
pub struct Init<'a> {
    /// What to become.
    pub container: &'a Container,
    /// What was opened for it.
    pub sources: Sources,
    /// Who says when to start.
    pub gate: Gate<'a>,
    /// Namespaces to enter, already open; empty if the helper has entered them.
    pub joined: Vec<(u64, OwnedFd)>,
    /// Whether the parent has something to do first.
    pub waits: bool,
    /// Standard streams.
    pub streams: &'a Streams,
    /// Where the master of a terminal goes.
    pub console: Option<&'a OwnedFd>,
    /// A session of its own?
    pub session: Session,
    /// Whether it is killed when the parent ends.
    pub dies_with_parent: bool,
    /// How the root is changed.
    pub pivot: Pivot,
    /// Whose session keyring it has.
    pub keyring: Keyring,
    /// Descriptors after the standard streams that the program gets.
    pub preserved: u32,
}

/// Who says when the program starts.
#[derive(Debug, Clone, Copy)]
pub enum Gate<'a> {
    /// The parent, over the channel.
    Parent,
    /// Whoever connects to this socket.
    Listener(&'a OwnedFd),
}

impl Init<'_> {
    /// Becomes the program. Returns never: what fails is told and ends the process.
    ///
    /// `channel` goes to the parent.
    pub fn run(mut self, mut channel: Channel) -> ! {
        let Err(error) = self.become_program(&mut channel);
        let _ = channel.send(&Message::Failed(error.in_one_line()));
        process::exit_now(1);
    }

    fn become_program(&mut self, channel: &mut Channel) -> Result<Infallible> {
        umask(Mode::empty());
        self.wait_for_parent(channel)?;
        self.enter_namespaces()?;
        self.name_host()?;
        let tree = filesystem::Tree::build(self.container, &mut self.sources)?;
        let console = terminal::open(self.container, self.console, tree.root())?;
        self.run_creation_hooks(channel)?;
        tree.enter(self.container, self.pivot)?;
        let program = program::find(&self.container.process)?;
        self.close_what_is_done_with(channel, console.as_ref())?;
        channel
            .send(&Message::Ready)
            .during(|| "telling the parent".into())?;
        let state = self.wait_at_gate(channel)?;
        terminal::set_streams(self.streams, console.as_ref(), self.session)?;
        // From here on numbers of descriptors are given out anew: nothing may be closed by
        // who had one before.
        std::mem::forget(console);
        let hooks = self
            .container
            .hooks
            .start_container()
            .as_deref()
            .unwrap_or_default();
        credentials::Start {
            process: &self.container.process,
            seccomp: self.container.seccomp.as_ref(),
            user_namespace: self.container.in_user_namespace(),
            personality: self.container.personality,
            dies_with_parent: self.dies_with_parent,
            preserved: self.preserved,
        }
        .execute(&program, channel, || {
            hooks::run_all("startContainer", hooks, &state)
        })
    }

    /// Mounts that only the parent could make, until it says go.
    fn wait_for_parent(&mut self, channel: &Channel) -> Result<()> {
        let mut mapped = Vec::new();
        if !self.waits {
            return Ok(());
        }
        loop {
            match next(channel)? {
                (Message::Mount, Some(mount)) => mapped.push(mount),
                (Message::Go(_), _) => {
                    return filesystem::take_mapped(self.container, &mut self.sources, mapped);
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// A container that waits for its start holds on to nothing of the host's or the
    /// parent's: neither mounts nor locks.
    fn close_what_is_done_with(&self, channel: &Channel, console: Option<&OwnedFd>) -> Result<()> {
        let mut kept: Vec<i32> = (0..3 + self.preserved as i32).collect();
        kept.push(channel.as_fd().as_raw_fd());
        kept.extend(console.map(AsRawFd::as_raw_fd));
        if let Gate::Listener(listener) = self.gate {
            kept.push(listener.as_raw_fd());
        }
        for stream in [
            &self.streams.input,
            &self.streams.output,
            &self.streams.error,
        ] {
            if let Stream::File(file) = stream {
                kept.push(file.as_raw_fd());
            }
        }
        kept.sort_unstable();
        let close = |first: i32, last: u32| {
            process::close_range(first as u32, last, process::Close::Now)
                .during(|| "closing files of the host".into())
        };
        for pair in kept.windows(2) {
            if pair[0] + 1 < pair[1] {
                close(pair[0] + 1, pair[1] as u32 - 1)?;
            }
        }
        close(kept.last().map_or(3, |last| last + 1), u32::MAX)
    }

    fn enter_namespaces(&mut self) -> Result<()> {
        for (flag, fd) in self.joined.drain(..) {
            let flags = CloneFlags::from_bits_truncate(flag as i32);
            setns(fd, flags).during(|| format!("entering a given namespace ({flags:?})"))?;
        }
        if self.container.in_user_namespace() {
            become_root()?;
        }
        if self.container.namespaces.makes(libc::CLONE_NEWCGROUP) {
            unshare(CloneFlags::CLONE_NEWCGROUP).during(|| "making a cgroup namespace".into())?;
        }
        if self.session == Session::New {
            nix::unistd::setsid().during(|| "making a session".into())?;
        }
        keyring(self.keyring)
    }

    fn name_host(&self) -> Result<()> {
        if let Some(name) = &self.container.hostname {
            nix::unistd::sethostname(name).during(|| format!("setting the host name {name}"))?;
        }
        if let Some(name) = &self.container.domainname {
            process::set_domain_name(name).during(|| format!("setting the domain name {name}"))?;
        }
        Ok(())
    }

    /// `prestart` and `createRuntime` are the parent's to run, `createContainer` is ours.
    fn run_creation_hooks(&self, channel: &Channel) -> Result<()> {
        if !wait_for_hooks(&self.container.hooks) {
            return Ok(());
        }
        channel
            .send(&Message::HooksDue)
            .during(|| "telling the parent".into())?;
        let (Message::Go(state), _) = next(channel)? else {
            return Err(unexpected());
        };
        let hooks = self
            .container
            .hooks
            .create_container()
            .as_deref()
            .unwrap_or_default();
        hooks::run_all("createContainer", hooks, &state)
    }

    /// Waits until somebody says start, and answers to them from then on.
    fn wait_at_gate(&self, channel: &mut Channel) -> Result<String> {
        if let Gate::Listener(listener) = self.gate {
            // Only when the parent has noted who we are may we go on without it.
            let (Message::Go(_), _) = next(channel)? else {
                return Err(unexpected());
            };
            let socket = loop {
                match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                    Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                    other => break other.during(|| "waiting for the start".into())?,
                }
            };
            *channel = Channel::of(process::adopt(socket));
        }
        match next(channel)? {
            (Message::Start(state), _) => Ok(state),
            _ => Err(unexpected()),
        }
    }
}

/// Whether the parent must run hooks, or the child needs the state for its own.
pub fn wait_for_hooks(hooks: &Hooks) -> bool {
    #[allow(deprecated)]
    let before = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
    ];
    before
        .iter()
        .any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
}

/// The next message of the parent. If there is none it has ended, and so do we: nobody
/// waits for this container.
pub fn next(channel: &Channel) -> Result<(Message, Option<OwnedFd>)> {
    match channel
        .receive()
        .during(|| "listening to the parent".into())?
    {
        Some(message) => Ok(message),
        None => process::exit_now(1),
    }
}

pub fn unexpected() -> Error {
    Error::refused("listening to the parent", "a message out of order")
}

/// In a new user namespace a process is nobody until it says who it is.
pub fn become_root() -> Result<()> {
    process::set_ids(0, 0, &[]).during(|| "becoming root of the user namespace".into())
}

/// Keys of the caller are not for the container.
pub fn keyring(wanted: Keyring) -> Result<()> {
    if wanted == Keyring::Caller {
        return Ok(());
    }
    match process::new_session_keyring() {
        // Keys are not in this kernel, or not for us: then there are none to leak.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        other => other.during(|| "making a session keyring".into()),
    }
}
