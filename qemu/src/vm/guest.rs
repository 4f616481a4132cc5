//! What can be done inside a running guest.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Vm;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::ssh::{self, Input, Output};

/// How long a command in the guest may take unless told otherwise.
const COMMAND: Duration = Duration::from_secs(60);
/// How long the guest's SSH server may take once the guest has booted.
const LOGIN: Duration = Duration::from_secs(60);
/// How long saving evidence of a failure may take, login included.
const EVIDENCE: Duration = Duration::from_secs(10);

/// What the guest says when `boot-complete.target` is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootComplete {
    /// Version of the running release.
    pub version: String,
    /// `a` or `b`.
    pub slot: String,
    /// Why the selector took this slot: `normal`, `fallback`, `last-resort`.
    pub reason: String,
}

impl BootComplete {
    /// Reads `ballast: boot-complete version=V slot=S reason=R`; what is
    /// missing is empty.
    fn parse(line: &str) -> Self {
        let value = |name: &str| {
            let mut words = line.split_whitespace();
            let found = words.find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_string()
        };
        Self {
            version: value("version"),
            slot: value("slot"),
            reason: value("reason"),
        }
    }
}

impl Vm {
    /// Waits until the guest has booted, and returns what it says it booted.
    ///
    /// Fails at once when the guest says that it cannot boot.
    pub fn wait_boot_complete(&mut self, within: Duration) -> Result<BootComplete> {
        let line = self.expect("ballast: boot-complete ", within)?;
        Ok(BootComplete::parse(&line))
    }

    /// Like [`Vm::wait_boot_complete`], but lets boots fail before the one that
    /// succeeds.
    pub fn wait_boot_complete_despite_failure(&mut self, within: Duration) -> Result<BootComplete> {
        let line = self.expect_despite_failure("ballast: boot-complete ", within)?;
        Ok(BootComplete::parse(&line))
    }

    /// Logs in as root if not logged in since the last reset.
    ///
    /// Tries until it works, QEMU ends, or `within` has passed.
    pub fn login(&mut self, within: Duration) -> Result<()> {
        let powered = self.on("logging in by SSH")?;
        let (port, resets) = (powered.ssh_port, powered.qmp.count("RESET"));
        if resets != self.resets_at_login {
            self.ssh.disconnect();
        }
        let console = Arc::clone(&self.console);
        let deadline = Deadline::after(within);
        let connected = self.ssh.connect(port, deadline, || {
            (!console.is_running()).then(|| Error::Off {
                action: "logging in by SSH".to_string(),
            })
        });
        self.resets_at_login = resets;
        connected.map_err(|error| self.with_console(error))
    }

    /// Runs a shell command in the guest as root.
    ///
    /// Fails if the connection breaks or the command takes more than a minute
    /// (scaled); any exit status is a success.
    pub fn exec(&mut self, command: &str) -> Result<Output> {
        self.exec_within(command, COMMAND)
    }

    /// [`Vm::exec`] with a time limit of its own.
    pub fn exec_within(&mut self, command: &str, within: Duration) -> Result<Output> {
        Ok(self.run(command, &Input::Nothing, within)?.0)
    }

    /// [`Vm::exec`], returning stdout; any exit status but 0 is an error.
    pub fn exec_ok(&mut self, command: &str) -> Result<String> {
        let (output, _) = self.run_ok(command, &Input::Nothing)?;
        Ok(output.stdout)
    }

    /// Runs a command with this process's stdout and stderr, to its end, and
    /// returns its exit status.
    pub fn exec_attached(&mut self, command: &str) -> Result<i32> {
        self.login(LOGIN)?;
        let port = self.on("running a command")?.ssh_port;
        let io = [Stdio::null(), Stdio::inherit(), Stdio::inherit()];
        let mut child = self.ssh.start(port, command, io)?;
        let status = child.wait().map_err(|source| Error::Start {
            program: "ssh".to_string(),
            source,
        })?;
        match status.code().unwrap_or(255) {
            255 if !self.ssh.is_connected() => Err(Error::SshLost {
                command: command.to_string(),
                reason: "the guest went away".to_string(),
            }),
            code => Ok(code),
        }
    }

    /// Starts a command in the guest and does not wait for it: for what ends
    /// the connection, such as `sleep 1; echo c > /proc/sysrq-trigger`.
    pub fn start(&mut self, command: &str) -> Result<()> {
        let script = ssh::quote(command);
        let script = format!("setsid sh -c {script} < /dev/null > /dev/null 2>&1 &");
        self.run_ok(&script, &Input::Nothing).map(drop)
    }

    /// Writes a file in the guest, as root, mode 0644 if it is new. Its
    /// directory must exist.
    pub fn write_file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let script = format!("cat > {}", ssh::quote(path));
        self.run_ok(&script, &Input::Bytes(content)).map(drop)
    }

    /// Reads a file of the guest.
    pub fn read_file(&mut self, path: &str) -> Result<Vec<u8>> {
        let script = format!("cat {}", ssh::quote(path));
        Ok(self.run_ok(&script, &Input::Nothing)?.1)
    }

    /// Sets the guest's clock to the host's: a restored guest lives in the past.
    pub fn set_clock(&mut self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        self.exec_ok(&format!("date --set=@{now:.3}")).map(drop)
    }

    /// Program and arguments that log in from the host, until the machine ends.
    pub fn login_command(&self) -> Result<Vec<String>> {
        let port = self.on("logging in by SSH")?.ssh_port;
        let mut words = vec!["ssh".to_string()];
        words.extend(ssh::options(self.ssh.key(), port));
        words.push("root@127.0.0.1".to_string());
        Ok(words)
    }

    /// Saves the journal of this boot as `journal.txt` next to the console log,
    /// if the guest can be reached, and returns the file.
    ///
    /// For after a failure: takes seconds at most.
    pub fn save_journal(&mut self) -> Result<PathBuf> {
        self.login(EVIDENCE)?;
        let journal = self.exec_within("journalctl -b --no-pager -o short-monotonic", EVIDENCE)?;
        let path = self.console_log().with_file_name("journal.txt");
        fs::write(&path, journal.stdout).map_err(Error::file("writing", &path))?;
        Ok(path)
    }

    fn run_ok(&mut self, command: &str, input: &Input) -> Result<(Output, Vec<u8>)> {
        let (output, bytes) = self.run(command, input, COMMAND)?;
        if output.status == 0 {
            return Ok((output, bytes));
        }
        Err(Error::Guest {
            command: command.to_string(),
            status: output.status,
            stderr: output.stderr.trim().to_string(),
        })
    }

    fn run(&mut self, command: &str, input: &Input, within: Duration) -> Result<(Output, Vec<u8>)> {
        self.login(LOGIN)?;
        let port = self.on("running a command")?.ssh_port;
        let deadline = Deadline::after(within);
        let ran = self.ssh.run(port, command, input, deadline);
        ran.map_err(|error| self.with_console(error))
    }

    fn with_console(&self, mut error: Error) -> Error {
        if let Error::Deadline { console, .. } = &mut error {
            *console = self.console.tail();
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_complete_line_is_read() {
        let line = "[ 9.1] ballast: boot-complete version=1.2.3-rc.1 slot=b reason=fallback";
        let expected = BootComplete {
            version: "1.2.3-rc.1".to_string(),
            slot: "b".to_string(),
            reason: "fallback".to_string(),
        };
        assert_eq!(BootComplete::parse(line), expected);
        assert_eq!(BootComplete::parse("boot-complete").version, "");
    }
}
