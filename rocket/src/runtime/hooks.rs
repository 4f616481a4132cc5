//! Programs that an engine wants to run at points of a container's life.

use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use oci_spec::runtime::Hook;

use super::error::{During, Error, Result};
use super::sys::process;

/// Runs hooks one after the other, each with the container's state on its standard input.
/// The first that fails is an error, and the rest do not run.
pub fn run_all(point: &str, hooks: &[Hook], state: &str) -> Result<()> {
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(at, hook)| run(&format!("{point}[{at}]"), hook, state))
}

fn run(name: &str, hook: &Hook, state: &str) -> Result<()> {
    let step = || format!("running the hook {name}, {}", hook.path().display());
    let args = hook.args().as_deref().unwrap_or_default();
    let env = hook.env().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    command
        .env_clear()
        .envs(env.iter().filter_map(|line| line.split_once('=')))
        .args(args.iter().skip(1))
        .stdin(input(state).during(step)?);
    if let Some(zeroth) = args.first() {
        command.arg0(zeroth);
    }
    let mut child = command.spawn().during(step)?;
    if let Some(seconds) = hook.timeout() {
        within(&mut child, u64::try_from(seconds).unwrap_or(1))
            .map_err(|error| Error::refused(step(), error.in_one_line()))?;
    }
    let status = child.wait().during(step)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::refused(step(), status.to_string()))
}

/// A file and not a pipe: a hook that does not read cannot hold us up.
fn input(state: &str) -> std::io::Result<Stdio> {
    let mut file = std::fs::File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(state.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// Waits until the child has ended; kills it if that takes too long.
fn within(child: &mut Child, seconds: u64) -> Result<()> {
    let pid = Pid::from_raw(child.id() as i32);
    let pidfd = process::pidfd_open(pid).during(|| "watching it".into())?;
    let timeout = Duration::from_secs(seconds);
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    if poll(&mut polled, timeout).during(|| "watching it".into())? > 0 {
        return Ok(());
    }
    // It may have ended by itself just now.
    let _ = child.kill();
    let _ = child.wait();
    Err(Error::refused(
        "waiting",
        format!("not done after {seconds} s, killed"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let json = serde_json::json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_hook_gets_the_state_and_its_own_environment_only() {
        let script =
            r#"read -r state && [ "$state" = '{"id":"x"}' ] && [ "$A" = b ] && [ -z "$HOME" ]"#;
        run_all("prestart", &[hook(script, None)], "{\"id\":\"x\"}\n").unwrap();
    }

    #[test]
    fn a_hook_that_fails_or_takes_too_long_is_an_error_with_its_place() {
        let ok = hook("exit 0", Some(60));
        let error = run_all("prestart", &[ok, hook("exit 3", None)], "").unwrap_err();
        assert!(error.to_string().contains("prestart[1]"), "{error}");
        let error = run_all("poststop", &[hook("exec tail -f /dev/null", Some(1))], "");
        assert!(error.unwrap_err().to_string().contains("after 1 s"));
    }
}
