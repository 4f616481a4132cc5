//! What can go wrong with a virtual machine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on a virtual machine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written, copied or removed.
    #[error("{action} {}", .path.display())]
    File {
        /// What was tried, as in "reading".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program of the tools tree could not be started.
    #[error("starting {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program of the tools tree failed.
    #[error("{program} failed ({status}): {stderr}")]
    Tool {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// QEMU ended when it should be running.
    #[error("QEMU ended while {waiting}: {stderr}")]
    QemuEnded {
        /// What was waited for.
        waiting: String,
        /// The end of what QEMU said.
        stderr: String,
    },
    /// The virtual machine is off.
    #[error("{action}: the machine is off")]
    Off {
        /// What was tried.
        action: String,
    },
    /// QEMU refused a command of its control protocol.
    #[error("QEMU refused {command}: {reason}")]
    Qmp {
        /// The QMP command.
        command: String,
        /// QEMU's description.
        reason: String,
    },
    /// QEMU's control connection broke.
    #[error("QEMU's control connection, {action}")]
    QmpConnection {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("{waiting} took longer than {:.1} s{}", .limit.as_secs_f64(), ending(.console))]
    Deadline {
        /// What was waited for.
        waiting: String,
        /// The deadline, after scaling.
        limit: Duration,
        /// The last lines of the console.
        console: String,
    },
    /// The guest said that its boot cannot succeed.
    #[error("the guest stopped booting: {message}")]
    BootFailed {
        /// The guest's console line.
        message: String,
    },
    /// A command in the guest failed.
    #[error("in the guest, `{command}` ended with status {status}: {stderr}")]
    Guest {
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// The SSH connection broke, so nobody knows how the command ended.
    #[error("SSH connection lost during `{command}`: {reason}")]
    SshLost {
        /// The command.
        command: String,
        /// What `ssh` said.
        reason: String,
    },
}

fn ending(console: &str) -> String {
    match console {
        "" => String::new(),
        lines => format!("; the console ends with\n{lines}"),
    }
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
