//! The handle of one virtual machine.

mod guest;
mod power;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::console::{Console, Look, OnFailure, Tee, Waited};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::launcher::Launcher;
use crate::machine::{Machine, Memory, Start};
use crate::qmp::Qmp;
use crate::setup::RunDir;
use crate::ssh::Ssh;
use crate::stages::Reached;

pub use guest::BootComplete;
use power::Powered;

/// A virtual machine. Dropping it kills QEMU and removes its files, except
/// kept disks and results; QEMU also ends when this process does.
///
/// Files and the machine's description outlive a power cut: see
/// [`Vm::cut_power`] and [`Vm::power_on`].
pub struct Vm {
    // First: QEMU ends before its files go.
    powered: Option<Powered>,
    tools: Arc<dyn Launcher>,
    machine: Machine,
    console: Arc<Console>,
    tee: Option<Arc<std::sync::Mutex<Tee>>>,
    ssh: Ssh,
    files: Files,
    /// Resets that [`Vm::wait_reboot`] has already told of.
    resets_seen: usize,
    /// Resets when the SSH connection was made.
    resets_at_login: usize,
}

/// The files of a machine.
pub(crate) struct Files {
    pub(crate) dir: RunDir,
    pub(crate) key: PathBuf,
    pub(crate) results: Option<PathBuf>,
}

impl Vm {
    /// A machine that is off.
    pub(crate) fn new(
        tools: Arc<dyn Launcher>,
        machine: Machine,
        files: Files,
        tee: Option<Tee>,
    ) -> Result<Self> {
        if let Some(dir) = &files.results {
            fs::create_dir_all(dir).map_err(Error::file("creating", dir))?;
        }
        let control = files.dir.path().join("ssh");
        Ok(Self {
            powered: None,
            ssh: Ssh::new(Arc::clone(&tools), files.key.clone(), control),
            tools,
            machine,
            console: Arc::new(Console::default()),
            tee: tee.map(|tee| Arc::new(std::sync::Mutex::new(tee))),
            files,
            resets_seen: 0,
            resets_at_login: 0,
        })
    }

    /// What the machine is made of.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Steps of the current boot and how long each took from its begin.
    pub fn stages(&self) -> Vec<Reached> {
        self.console.stages()
    }

    /// The file with everything the console showed, as raw bytes.
    pub fn console_log(&self) -> PathBuf {
        let results = self.files.results.as_deref();
        results.unwrap_or(self.files.dir.path()).join("console.log")
    }

    /// The machine's first disk file, for inspection while it is off.
    pub fn disk(&self) -> Option<&Path> {
        self.machine.disks.first().map(|disk| disk.path.as_path())
    }

    /// The tools tree that the machine runs in.
    pub fn tools(&self) -> &dyn Launcher {
        self.tools.as_ref()
    }

    /// QEMU's control protocol. Fails while the machine is off.
    pub fn qmp(&self) -> Result<&Qmp> {
        Ok(&self.on("using QEMU's control protocol")?.qmp)
    }

    /// Waits until the console shows a whole line that contains `text`, and
    /// returns that line. Each wait looks only at what follows the line of the
    /// one before.
    ///
    /// Fails at once when QEMU ends or the guest says that its boot failed.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        self.wait_console(text, Look::Lines, OnFailure::Stop, within)
    }

    /// Like [`Vm::expect`], for a prompt: text that no newline follows.
    pub fn expect_prompt(&mut self, text: &str, within: Duration) -> Result<String> {
        self.wait_console(text, Look::Unfinished, OnFailure::Stop, within)
    }

    /// Like [`Vm::expect`], for scenarios in which boots fail on purpose.
    pub fn expect_despite_failure(&mut self, text: &str, within: Duration) -> Result<String> {
        self.wait_console(text, Look::Lines, OnFailure::GoOn, within)
    }

    fn wait_console(
        &mut self,
        text: &str,
        look: Look,
        mode: OnFailure,
        within: Duration,
    ) -> Result<String> {
        let deadline = Deadline::after(within);
        let waiting = format!("waiting for {text:?} on the console");
        match self.console.wait(text, look, mode, deadline) {
            Waited::Line(line) => Ok(line),
            Waited::Failed(message) => Err(Error::BootFailed { message }),
            Waited::Ended => Err(self.ended(waiting)),
            Waited::Late => Err(self.late(waiting, deadline)),
        }
    }

    /// The machine's private directory, removed with it.
    pub fn dir(&self) -> &Path {
        self.files.dir.path()
    }

    /// Closes the SSH connection.
    pub(crate) fn logout(&mut self) {
        self.ssh.disconnect();
    }

    /// Makes the next power on an ordinary boot.
    pub(crate) fn forget_snapshot(&mut self) {
        self.machine.memory = Memory::Private;
        self.machine.start = Start::Firmware;
    }

    fn on(&self, action: &str) -> Result<&Powered> {
        self.powered.as_ref().ok_or_else(|| Error::Off {
            action: action.to_string(),
        })
    }

    fn late(&self, waiting: String, deadline: Deadline) -> Error {
        Error::Deadline {
            waiting,
            limit: deadline.limit(),
            console: self.console.tail(),
        }
    }

    fn ended(&mut self, waiting: String) -> Error {
        let stderr = self.powered.take().map(Powered::kill).unwrap_or_default();
        Error::QemuEnded { waiting, stderr }
    }

    fn open_log(&self) -> Result<File> {
        let path = self.console_log();
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(&path);
        file.map_err(Error::file("opening", &path))
    }
}
