//! `create`, `start` and `run`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket, socketpair};
use oci_spec::runtime::Spec;

use super::args::{self, Args};
use super::store::{Locked, Record, Store, start_of};
use super::{delete, spec};
use crate::relay::{Relay, Terminal};
use crate::runtime::cgroup::{self, How, systemd::Scope};
use crate::runtime::state::Status;
use crate::runtime::sync::{Channel, Message};
use crate::runtime::{self, Keyring, Pivot, Plan, Root, Session, hooks};

/// What a command line asks for, before anything was made.
struct Wanted {
    config: Vec<u8>,
    spec: Spec,
    record: Record,
    cgroup: How,
}

/// Makes a container whose program waits for `start`.
pub fn create(store: &Store, global: &Args, args: &args::Create) -> anyhow::Result<()> {
    let wanted = wanted(global, args)?;
    let console = console(&wanted.spec, args.console_socket.as_deref())?;
    let mut locked = store.add(wanted.record.clone(), &wanted.config)?;
    let made = make(&mut locked, wanted, args, console);
    if made.is_err() {
        // The first failure is the one to tell.
        let _ = locked.container.forget();
    }
    made
}

fn make(
    locked: &mut Locked,
    wanted: Wanted,
    args: &args::Create,
    console: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let mut plan = plan(locked, wanted, args, console);
    plan.gate = Some(locked.container.listen()?);
    let created = runtime::create(&plan)?;
    note(locked, &created)?;
    write_pid(args.pid_file.as_deref(), created.pid())?;
    created.leave()?;
    Ok(())
}

/// Lets the program of a container begin.
pub fn start(store: &Store, id: &str) -> anyhow::Result<()> {
    let locked = store.lock(id)?;
    let container = &locked.container;
    match container.status() {
        Status::Created => {}
        other => bail!("cannot start a container that is {other}"),
    }
    let state = container
        .identity()
        .state(Status::Created, Some(container.record.pid))?;
    let channel = Channel::of(container.connect()?);
    channel
        .send(&Message::Start(state.clone()))
        .context("reaching the container's process")?;
    let started = runtime::started(&channel);
    container.close_gate()?;
    started?;
    after_start(store, locked, &state)
}

fn after_start(store: &Store, locked: Locked, state: &str) -> anyhow::Result<()> {
    let spec = locked.container.spec()?;
    let poststart = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststart().as_deref());
    let ran = hooks::run_all("poststart", poststart.unwrap_or_default(), state);
    if let Err(error) = ran {
        let id = locked.container.record.id.clone();
        drop(locked);
        delete::end(store, &id)?;
        return Err(error.into());
    }
    Ok(())
}

/// Makes a container, runs its program, and waits for its end unless asked not to.
pub fn run(store: &Store, global: &Args, args: &args::Run) -> anyhow::Result<ExitCode> {
    let wanted = wanted(global, &args.create)?;
    let terminal = has_terminal(&wanted.spec);
    let (console, relayed) = if terminal && args.create.console_socket.is_none() {
        if args.detach {
            bail!("a terminal that is not waited for needs --console-socket");
        }
        let (its, mine) = console_pair()?;
        (Some(its), Some(mine))
    } else {
        (
            console(&wanted.spec, args.create.console_socket.as_deref())?,
            None,
        )
    };
    let id = wanted.record.id.clone();
    let mut locked = store.add(wanted.record.clone(), &wanted.config)?;
    let relay = Relay::new(Session::New)?;
    let started = begin(&mut locked, wanted, args, console);
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let _ = locked.container.forget();
            return Err(error);
        }
    };
    if args.detach {
        running.leave();
        return Ok(ExitCode::SUCCESS);
    }
    drop(locked);
    let exit = until_ended(&relay, &running, relayed)?;
    if !args.keep {
        delete::delete(store, &id, false)?;
    }
    Ok(ExitCode::from(exit.code()))
}

/// Waits for a program, whose terminal comes over `console` if it has one of its own.
pub fn until_ended(
    relay: &Relay,
    running: &runtime::Running,
    console: Option<OwnedFd>,
) -> anyhow::Result<runtime::Exit> {
    let terminal = console
        .map(|console| Terminal::receive(&console))
        .transpose()?;
    let ended = relay.until_all_ended(&[running], terminal)?;
    let last = ended.into_iter().next_back();
    last.map(|(_, exit)| exit)
        .context("nobody saw the program end")
}

fn begin(
    locked: &mut Locked,
    wanted: Wanted,
    args: &args::Run,
    console: Option<OwnedFd>,
) -> anyhow::Result<runtime::Running> {
    let plan = plan(locked, wanted, &args.create, console);
    let created = runtime::create(&plan)?;
    note(locked, &created)?;
    write_pid(args.create.pid_file.as_deref(), created.pid())?;
    Ok(created.start()?)
}

fn wanted(global: &Args, args: &args::Create) -> anyhow::Result<Wanted> {
    let bundle = fs::canonicalize(&args.bundle)
        .with_context(|| format!("opening the bundle {}", args.bundle.display()))?;
    let path = bundle.join("config.json");
    let config = spec::bytes(&path)?;
    let spec: Spec = spec::parse(&config).with_context(|| format!("reading {}", path.display()))?;
    let root = spec.root().as_ref().context("spec: root: missing")?;
    let rootfs = bundle.join(root.path());
    let (cgroup, group, scope) = cgroup_of(global, &spec, &args.id)?;
    let annotations = spec.annotations().clone().unwrap_or_default();
    let record = Record {
        id: args.id.clone(),
        pid: 0,
        start: 0,
        bundle,
        rootfs,
        created: jiff::Timestamp::now(),
        annotations: annotations.into_iter().collect::<BTreeMap<_, _>>(),
        cgroup: group,
        scope,
    };
    Ok(Wanted {
        config,
        spec,
        record,
        cgroup,
    })
}

type Group = (How, Option<PathBuf>, Option<String>);

fn cgroup_of(global: &Args, spec: &Spec, id: &str) -> anyhow::Result<Group> {
    let path = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_deref());
    if global.systemd_cgroup {
        let scope = Scope::parse(path, id)?;
        let name = scope.name.clone();
        return Ok((How::Scope(scope), None, Some(name)));
    }
    let path = path.map_or_else(|| Path::new("rocket").join(id), Path::to_owned);
    let absolute = cgroup::absolute(&path)?;
    Ok((How::Path(path), Some(absolute), None))
}

fn plan(
    locked: &Locked,
    mut wanted: Wanted,
    args: &args::Create,
    console: Option<OwnedFd>,
) -> Plan {
    let activated = std::env::var("LISTEN_FDS").ok();
    let activated = pass_sockets(&mut wanted.spec, activated.as_deref());
    Plan {
        root: Root::Path(wanted.record.rootfs),
        identity: locked.container.identity(),
        console,
        cgroup: wanted.cgroup,
        session: Session::New,
        dies_with_parent: false,
        pivot: if args.no_pivot {
            Pivot::Chroot
        } else {
            Pivot::Root
        },
        keyring: if args.no_new_keyring {
            Keyring::Caller
        } else {
            Keyring::New
        },
        preserved: args.preserve_fds.saturating_add(activated),
        ..Plan::new(wanted.spec)
    }
}

/// Sockets that systemd opened for us are the container's: it is told of them as it would be
/// by systemd. Returns how many there are.
fn pass_sockets(spec: &mut Spec, count: Option<&str>) -> u32 {
    const MOST: u32 = 1024;
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let Some(process) = spec.process_mut() else {
        return 0;
    };
    if count == 0 || count > MOST {
        return 0;
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    process.set_env(Some(env));
    count
}

/// Notes the first process before it is left to itself.
fn note(locked: &mut Locked, created: &runtime::Created) -> anyhow::Result<()> {
    let record = &mut locked.container.record;
    record.pid = created.pid();
    record.start = start_of(record.pid).context("the container's process has ended")?;
    if let Some(group) = created.cgroup() {
        record.cgroup = Some(group.path().to_owned());
    }
    locked.container.save()
}

/// Whole or not at all: engines read it as soon as it is there.
pub fn write_pid(path: Option<&Path>, pid: i32) -> anyhow::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let name = path.file_name().context("the pid file has no name")?;
    let new = path.with_file_name(format!(".{}", name.display()));
    fs::write(&new, pid.to_string())
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}

fn has_terminal(spec: &Spec) -> bool {
    spec.process()
        .as_ref()
        .and_then(|process| process.terminal())
        == Some(true)
}

fn console(spec: &Spec, path: Option<&Path>) -> anyhow::Result<Option<OwnedFd>> {
    match (has_terminal(spec), path) {
        (true, Some(path)) => connect_console(path).map(Some),
        (false, None) => Ok(None),
        (true, None) => bail!("process.terminal needs --console-socket"),
        (false, Some(_)) => bail!("--console-socket needs process.terminal"),
    }
}

/// Connects to the socket that the master of a terminal is sent to.
pub fn connect_console(path: &Path) -> anyhow::Result<OwnedFd> {
    let connecting = || format!("connecting to the console socket {}", path.display());
    let flags = SockFlag::SOCK_CLOEXEC;
    let console =
        socket(AddressFamily::Unix, SockType::Stream, flags, None).with_context(connecting)?;
    let address = UnixAddr::new(path).with_context(connecting)?;
    use std::os::fd::AsRawFd as _;
    connect(console.as_raw_fd(), &address).with_context(connecting)?;
    Ok(console)
}

/// For a terminal that we show ourselves.
pub fn console_pair() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).context("making a socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_systemd_are_passed_on() {
        let mut spec = crate::runtime::default_spec();
        for (given, expected) in [(None, 0), (Some("x"), 0), (Some("9999"), 0), (Some("2"), 2)] {
            assert_eq!(pass_sockets(&mut spec, given), expected);
        }
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(env[1..], ["LISTEN_FDS=2", "LISTEN_PID=1"]);
    }
}
