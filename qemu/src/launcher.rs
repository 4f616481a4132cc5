//! Starts programs of the tools tree.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::error::{Error, Result};

/// Where QEMU, OVMF and `ssh` come from.
pub trait Launcher: Send + Sync {
    /// A command that runs `program`, and that dies with its parent.
    fn command(&self, program: &str) -> Command;

    /// A name that changes when the programs change; part of snapshot keys.
    fn id(&self) -> String;
}

impl Launcher for image::tools::Tools {
    fn command(&self, program: &str) -> Command {
        Self::command(self, program)
    }

    fn id(&self) -> String {
        Self::id(self)
    }
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts a program from a thread that lives as long as this process.
///
/// "Dies with its parent" means the parent *thread*: a machine that was started
/// in a test's thread and handed on would otherwise die with that thread.
pub(crate) fn start(program: &str, command: Command) -> Result<Child> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = channel();
    let gone = || io::Error::other("the starting thread is gone");
    let sent = starter.send((command, reply)).map_err(|_| gone());
    sent.and_then(|()| answer.recv().unwrap_or_else(|_| Err(gone())))
        .map_err(|source| Error::Start {
            program: program.to_string(),
            source,
        })
}

/// Runs a program to its end and returns what it wrote to stdout.
pub(crate) fn run(tools: &dyn Launcher, program: &str, args: &[String]) -> Result<Vec<u8>> {
    let mut command = tools.command(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |source| Error::Start {
        program: program.to_string(),
        source,
    };
    let output = start(program, command)?
        .wait_with_output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Tool {
        program: program.to_string(),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_string(),
    })
}

/// The machine that the tests run on.
#[cfg(test)]
pub(crate) struct Host;

#[cfg(test)]
impl Launcher for Host {
    fn command(&self, program: &str) -> Command {
        Command::new(program)
    }

    fn id(&self) -> String {
        "host".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn run_returns_stdout_and_names_failures() {
        let out = run(&Host, "sh", &args(&["-c", "echo hi"])).unwrap();
        assert_eq!(out, b"hi\n");
        let error = run(&Host, "sh", &args(&["-c", "echo bad >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): bad");
        let error = run(&Host, "no-such-program", &[]).unwrap_err();
        assert_eq!(error.to_string(), "starting no-such-program");
    }
}
