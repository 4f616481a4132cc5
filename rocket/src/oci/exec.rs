//! `exec`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use oci_spec::runtime::{Capability, LinuxPersonalityDomain, Process, Spec, User};

use super::args;
use super::create::{connect_console, console_pair, until_ended, write_pid};
use super::spec;
use super::store::Store;
use crate::relay::Relay;
use crate::runtime::Session;
use crate::runtime::exec::Entry;
use crate::runtime::state::Status;

/// Runs a program in a container; waits for its end unless asked not to.
pub fn run(store: &Store, args: &args::Exec) -> anyhow::Result<ExitCode> {
    if args
        .process_label
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        bail!("--process-label: rocket has no SELinux");
    }
    let container = store.get(&args.id)?;
    let config = container.spec()?;
    let process = process(&config, args)?;
    let terminal = process.terminal() == Some(true);
    let mut entry = Entry::new(container.record.pid, process)?;
    // After the process was opened: now its number cannot be given to somebody else.
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if args.ignore_paused => {}
        Status::Paused => bail!("cannot exec in a paused container (use --ignore-paused)"),
        _ => bail!("cannot exec in a stopped container"),
    }
    if let Some(linux) = config.linux() {
        entry.seccomp = linux.seccomp().clone();
        let domain = linux.personality().as_ref().map(|wanted| wanted.domain());
        entry.personality = domain.map(|domain| match domain {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        });
    }
    entry.session = Session::New;
    entry.dies_with_parent = false;
    entry.preserved = args.preserve_fds;
    let mut relayed = None;
    match (terminal, &args.console_socket) {
        (true, Some(path)) => entry.console = Some(connect_console(path)?),
        (false, None) => {}
        (false, Some(_)) => bail!("--console-socket needs a process with a terminal"),
        (true, None) if args.detach => {
            bail!("a terminal that is not waited for needs --console-socket")
        }
        (true, None) => {
            let (its, mine) = console_pair()?;
            (entry.console, relayed) = (Some(its), Some(mine));
        }
    }
    let relay = Relay::new(Session::New)?;
    let running = entry.run()?;
    // Our end of it: otherwise the relay would never see the other side close.
    drop(entry);
    write_pid(args.pid_file.as_deref(), running.pid())?;
    if args.detach {
        running.leave();
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(
        until_ended(&relay, &running, relayed)?.code(),
    ))
}

/// The process of a file, or the container's own with what the command line changes.
fn process(config: &Spec, args: &args::Exec) -> anyhow::Result<Process> {
    let own = config.process().clone().unwrap_or_default();
    let mut process = match &args.process {
        Some(path) => {
            let mut process: Process = spec::read(path)?;
            inherit(&mut process, &own);
            process
        }
        None => changed(own, args)?,
    };
    if args.tty {
        process.set_terminal(Some(true));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if args.apparmor.is_some() {
        process.set_apparmor_profile(args.apparmor.clone());
    }
    Ok(process)
}

/// What a file leaves out is as for the container.
fn inherit(process: &mut Process, own: &Process) {
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.rlimits().is_none() {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.apparmor_profile().is_none() {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
}

fn changed(own: Process, args: &args::Exec) -> anyhow::Result<Process> {
    let mut process = own;
    if args.command.is_empty() {
        bail!("exec needs a program or --process");
    }
    process
        .set_args(Some(args.command.clone()))
        .set_terminal(Some(false));
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(text) = &args.user {
        process.set_user(user(text)?);
    }
    if !args.additional_gids.is_empty() {
        process
            .user_mut()
            .set_additional_gids(Some(args.additional_gids.clone()));
    }
    add_capabilities(&mut process, &args.cap)?;
    Ok(process)
}

fn user(text: &str) -> anyhow::Result<User> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let number = |text: &str| {
        text.parse::<u32>()
            .with_context(|| format!("--user {text}: not a number"))
    };
    let mut user = User::default();
    user.set_uid(number(uid)?).set_gid(number(gid)?);
    Ok(user)
}

fn add_capabilities(process: &mut Process, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut all = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let capability: Capability = serde_json::from_value(name.as_str().into())
            .with_context(|| format!("--cap {name}: no such capability"))?;
        let with = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective) = (with(all.bounding()), with(all.effective()));
        let permitted = with(all.permitted());
        all.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted);
    }
    process.set_capabilities(Some(all));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        let both = user("3:4").unwrap();
        assert_eq!((both.uid(), both.gid()), (3, 4));
        assert_eq!(user("3").unwrap().gid(), 0);
        assert!(user("root").is_err());
    }

    #[test]
    fn a_file_leaves_to_the_container_what_it_does_not_say() {
        let own = Process::default();
        let json = r#"{"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["x"]}"#;
        let mut process: Process = serde_json::from_str(json).unwrap();
        assert!(process.capabilities().is_none());
        inherit(&mut process, &own);
        assert_eq!(process.capabilities(), own.capabilities());
        assert_eq!(process.rlimits(), own.rlimits());
    }
}
