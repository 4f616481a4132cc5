//! Namespaces that outlive every program in them: a process holds them open.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{pause, pipe2, sethostname};

use super::create::refuse_threads;
use super::error::{During, Error, Result};
use super::sys::process::{self, Forked, Made};
use super::users;

/// Longest message of what could not be done.
const MESSAGE: u64 = 4096;

/// Namespaces for network, IPC and host name, held by descriptors of this process. The kernel
/// removes each with the last program in it and the last descriptor.
#[derive(Debug)]
pub struct Namespaces {
    network: Option<OwnedFd>,
    ipc: OwnedFd,
    uts: OwnedFd,
}

/// New namespaces, with a process in them by whose number others can find them. Dropped, the
/// process ends.
#[derive(Debug)]
pub struct Holder {
    process: Made,
}

impl Namespaces {
    /// A path by which this process opens the namespace that `/proc/PID/ns` calls `name`. What
    /// is not held is this process's own.
    pub fn path(&self, name: &str) -> String {
        let held = match name {
            "net" => self.network.as_ref(),
            "ipc" => Some(&self.ipc),
            "uts" => Some(&self.uts),
            _ => None,
        };
        match held {
            Some(fd) => format!("/proc/self/fd/{}", fd.as_raw_fd()),
            None => format!("/proc/self/ns/{name}"),
        }
    }
}

impl Holder {
    /// Makes them; a network only if it is asked for.
    pub fn new(hostname: &str, has_network: bool) -> Result<Self> {
        refuse_threads()?;
        let mut flags = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if has_network {
            flags |= libc::CLONE_NEWNET;
        }
        let (mine, its) = pipe2(OFlag::O_CLOEXEC).during(|| "making a pipe".into())?;
        let made = process::clone3(flags as u64, None);
        let process = match made.during(|| "making the pod's namespaces".into())? {
            Forked::Parent(made) => made,
            Forked::Child => {
                drop(mine);
                hold(its, hostname, has_network)
            }
        };
        drop(its);
        let holder = Self { process };
        let mut said = String::new();
        fs::File::from(mine)
            .take(MESSAGE)
            .read_to_string(&mut said)
            .during(|| "listening to the holder of namespaces".into())?;
        match said.as_str() {
            "ready" => Ok(holder),
            "" => Err(Error::Vanished),
            why => Err(Error::Child(why.to_owned())),
        }
    }

    /// The process in them.
    pub fn pid(&self) -> i32 {
        self.process.pid.as_raw()
    }

    /// Takes hold of them, and ends the process.
    pub fn into_namespaces(self, has_network: bool) -> Result<Namespaces> {
        let one = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", self.pid());
            open(
                path.as_str(),
                OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
            .during(|| format!("opening {path}"))
        };
        Ok(Namespaces {
            network: if has_network { Some(one("net")?) } else { None },
            ipc: one("ipc")?,
            uts: one("uts")?,
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It waits for nothing else.
        let _ = process::pidfd_signal(&self.process.pidfd, libc::SIGKILL);
        users::reap(&self.process.pidfd);
    }
}

/// What the process in the namespaces does: makes them ready, says so, and waits for its end.
fn hold(said: OwnedFd, hostname: &str, has_network: bool) -> ! {
    let message = match prepare(hostname, has_network) {
        Ok(()) => "ready".to_owned(),
        Err(error) => error.in_one_line(),
    };
    let mut said = fs::File::from(said);
    let told = said.write_all(message.as_bytes());
    drop(said);
    if told.is_ok() && message == "ready" {
        loop {
            pause();
        }
    }
    process::exit_now(1)
}

fn prepare(hostname: &str, has_network: bool) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).during(|| "tying it to its parent".into())?;
    sethostname(hostname).during(|| format!("setting the host name to {hostname}"))?;
    if has_network {
        // As in other pods: every user may ping.
        let path = "/proc/sys/net/ipv4/ping_group_range";
        fs::write(path, "0 2147483647").during(|| format!("writing {path}"))?;
    }
    Ok(())
}
