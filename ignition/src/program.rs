//! Running the programs of the root that is provisioned.
#![allow(unsafe_code)]

mod unflushed;

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::log;

/// A program that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It did not start.
    #[error("starting {program} (of {}); is it installed?", .root.display())]
    Start {
        /// The program.
        program: String,
        /// The root it belongs to.
        root: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It failed. Its arguments are not repeated: they may be secret.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// What it said.
        output: String,
    },
}

/// Runs `program`, a path inside `root`, with `root` as its root directory. What it writes
/// is not flushed, whatever it calls: the caller does that, once for all its programs.
pub fn run_inside(root: &Path, program: &str, arguments: &[String]) -> Result<(), ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    let directory = (root != Path::new("/")).then(|| root.to_owned());
    let enter = move || -> io::Result<()> {
        if let Some(directory) = &directory {
            nix::unistd::chroot(directory)?;
            nix::unistd::chdir("/")?;
        }
        unflushed::enter();
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are
    // allowed. The closure makes four system calls; the path is converted
    // on the stack unless longer than 1024 bytes, and this process has no
    // second thread that could hold the allocator's lock then.
    unsafe { command.pre_exec(enter) };
    finish(command, program, root)
}

/// Runs `program` of this system (found in PATH) about `root`.
pub fn run_about(root: &Path, program: &str, arguments: &[String]) -> Result<(), ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command, program, root)
}

/// Runs `program` of this system, found in PATH.
pub fn run(program: &str, arguments: &[String]) -> Result<(), ProgramError> {
    run_about(Path::new("/"), program, arguments)
}

/// The same with one more variable in its environment.
pub fn run_with_variable(
    program: &str,
    arguments: &[String],
    (name, value): (&str, &Path),
) -> Result<(), ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).env(name, value);
    finish(command, program, Path::new("/"))
}

/// Runs `program` of this system, found in PATH, and hands it `input`. For what must
/// not be in arguments, which every process can read.
pub fn run_with(program: &str, arguments: &[String], input: &[u8]) -> Result<(), ProgramError> {
    let root = Path::new("/");
    let start = |source| ProgramError::Start {
        program: program.to_owned(),
        root: root.to_owned(),
        source,
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(start)?;
    let written = child.stdin.take().map(|mut pipe| pipe.write_all(input));
    let output = child.wait_with_output().map_err(start)?;
    judge(program, output)?;
    match written {
        // It did well without all of it.
        Some(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(result) => result.map_err(start),
        None => Ok(()),
    }
}

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub code: i32,
    /// What it printed.
    pub text: String,
}

/// Asks `program` of this system, found in PATH. `codes` are exit statuses that
/// are answers as 0 is, as long as the program does not complain.
pub fn ask(program: &str, arguments: &[String], codes: &[i32]) -> Result<Answer, ProgramError> {
    let mut command = Command::new(program);
    let output = output(command.args(arguments), program, Path::new("/"))?;
    let code = output.status.code().filter(|code| {
        *code == 0 || (codes.contains(code) && output.stderr.trim_ascii().is_empty())
    });
    let Some(code) = code else {
        return Err(failed(program, output));
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Answer { code, text })
}

fn finish(mut command: Command, program: &str, root: &Path) -> Result<(), ProgramError> {
    let output = output(&mut command, program, root)?;
    judge(program, output)
}

fn judge(program: &str, output: Output) -> Result<(), ProgramError> {
    if !output.status.success() {
        return Err(failed(program, output));
    }
    let said = said(output);
    if !said.is_empty() {
        log::info(&format!("{program}: {said}"));
    }
    Ok(())
}

fn output(command: &mut Command, program: &str, root: &Path) -> Result<Output, ProgramError> {
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command.output().map_err(|source| ProgramError::Start {
        program: program.to_owned(),
        root: root.to_owned(),
        source,
    })
}

fn failed(program: &str, output: Output) -> ProgramError {
    ProgramError::Failed {
        program: program.to_owned(),
        status: output.status.to_string(),
        output: said(output),
    }
}

fn said(output: Output) -> String {
    let said = [output.stderr, output.stdout].concat();
    String::from_utf8_lossy(&said).trim().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8]) -> Result<(), ProgramError> {
        run_with("sh", &["-c".to_owned(), script.to_owned()], input)
    }

    /// A pipe cannot be flushed: who tries is told so.
    const FLUSHES: &str = "true | sync /dev/stdin";

    #[test]
    fn programs_inside_do_not_flush_what_they_write() {
        let arguments = ["-c".to_owned(), FLUSHES.to_owned()];
        run_about(Path::new("/"), "sh", &arguments).unwrap_err();
        run_inside(Path::new("/"), "/bin/sh", &arguments).unwrap();
        let failing = ["-c".to_owned(), "echo no >&2; exit 3".to_owned()];
        let error = run_inside(Path::new("/"), "/bin/sh", &failing).unwrap_err();
        assert!(
            error.to_string().ends_with("(exit status: 3): no"),
            "{error}"
        );
    }

    #[test]
    fn input_reaches_the_program_whole_and_is_not_repeated() {
        let secret = vec![b's'; 1 << 20];
        shell("[ $(wc -c) = 1048576 ]", &secret).unwrap();
        shell("exec <&-", &secret).unwrap();
        let error = shell("read -r line; echo no >&2; exit 3", b"hidden\n").unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("exit status: 3") && message.ends_with(": no"),
            "{message}"
        );
        assert!(!format!("{error:?}").contains("hidden"));
    }
}
