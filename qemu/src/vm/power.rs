//! Power on, off, reset, and QEMU's process.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::Vm;
use crate::console::{Console, Look, OnFailure, Tee};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::launcher::{self, Launcher};
use crate::machine::Machine;
use crate::qmp::Qmp;

/// How long QEMU may take from its start to its control connection.
const START: Duration = Duration::from_secs(20);

/// A running QEMU.
pub(crate) struct Powered {
    pub(super) qmp: Qmp,
    /// Port of 127.0.0.1 that leads to the guest's SSH server.
    pub(super) ssh_port: u16,
    pub(super) keyboard: Option<ChildStdin>,
    process: Process,
}

/// QEMU's process and the threads that read from it.
struct Process {
    child: Child,
    console: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Kills QEMU as a power cut would, and returns when it is gone.
    ///
    /// The child may be a sandbox around QEMU, which dies right after it: only
    /// the end of its output tells that QEMU has let go of its disks.
    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(console) = self.console.take() {
            let _ = console.join();
        }
        let said = self.stderr.take().map(JoinHandle::join);
        said.and_then(|r| r.ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Powered {
    pub(super) fn kill(mut self) -> String {
        self.process.kill()
    }

    fn start(
        tools: &dyn Launcher,
        machine: &Machine,
        console: &Arc<Console>,
        log: std::fs::File,
        tee: Option<Tee>,
    ) -> Result<Self> {
        let socket = &machine.qmp;
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).map_err(Error::file("listening on", socket))?;
        let mut command = tools.command("qemu-system-x86_64");
        command
            .args(machine.args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = launcher::start("qemu-system-x86_64", command)?;
        let keyboard = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let mut process = Process {
            child,
            console: stdout.map(|out| console.follow(out, log, tee)),
            stderr: stderr.map(|mut err| {
                thread::spawn(move || {
                    let mut said = Vec::new();
                    let _ = err.read_to_end(&mut said);
                    String::from_utf8_lossy(&said).trim().to_string()
                })
            }),
        };
        let stream = accept(&listener, &mut process)?;
        let qmp = Qmp::open(stream)?;
        let ssh_port = forwarded_port(&qmp.human("info usernet")?, 22).unwrap_or(0);
        Ok(Self {
            qmp,
            ssh_port,
            keyboard,
            process,
        })
    }
}

/// The connection that QEMU makes when it starts, or why it did not.
fn accept(listener: &UnixListener, process: &mut Process) -> Result<UnixStream> {
    let broken = |source| Error::QmpConnection {
        action: "accepting".to_string(),
        source,
    };
    listener.set_nonblocking(true).map_err(broken)?;
    let deadline = Deadline::after(START);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(broken)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(broken(e)),
        }
        let ended = !matches!(process.child.try_wait(), Ok(None));
        if ended || deadline.left().is_none() {
            return Err(Error::QemuEnded {
                waiting: "starting".to_string(),
                stderr: process.kill(),
            });
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The host port in QEMU's table of user-network connections, whose rows read
/// `TCP[HOST_FORWARD] fd 127.0.0.1 HOST 10.0.2.15 GUEST 0 0`.
fn forwarded_port(table: &str, guest: u16) -> Option<u16> {
    let mut rows = table.lines().filter(|row| row.contains("HOST_FORWARD"));
    rows.find_map(|row| {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [_, _, _, host, _, port, ..] = cells.as_slice() else {
            return None;
        };
        (port.parse() == Ok(guest)).then(|| host.parse().ok())?
    })
}

impl Vm {
    /// Switches the machine on. Does nothing if it is on.
    pub fn power_on(&mut self) -> Result<()> {
        if self.powered.is_some() {
            return Ok(());
        }
        let log = self.open_log()?;
        let tee = self.tee.clone().map(|tee| -> Tee {
            Box::new(move |bytes| tee.lock().unwrap_or_else(PoisonError::into_inner)(bytes))
        });
        let powered = Powered::start(self.tools.as_ref(), &self.machine, &self.console, log, tee)?;
        self.powered = Some(powered);
        self.resets_seen = 0;
        Ok(())
    }

    /// Cuts the power: QEMU is killed between two instructions.
    ///
    /// The disks keep what the guest has written so far, flushed or not: QEMU's
    /// disks have no volatile cache that a kill could lose.
    pub fn cut_power(&mut self) -> Result<()> {
        self.on("cutting the power")?;
        self.ssh.disconnect();
        drop(self.powered.take());
        Ok(())
    }

    /// Cuts the power as soon as the console shows `text`.
    pub fn cut_power_when(&mut self, text: &str, within: Duration) -> Result<()> {
        self.on("cutting the power")?;
        self.wait_console(text, Look::Unfinished, OnFailure::GoOn, within)?;
        self.cut_power()
    }

    /// Resets the machine, as its reset button would.
    pub fn reset(&mut self) -> Result<()> {
        self.ssh.disconnect();
        self.qmp()?.execute("system_reset", Value::Null).map(drop)
    }

    /// Waits for a reset that this has not told of before, whoever caused it:
    /// the guest, its watchdog, [`Vm::reset`].
    pub fn wait_reboot(&mut self, within: Duration) -> Result<()> {
        let deadline = Deadline::after(within);
        let count = self.resets_seen + 1;
        let waiting = "waiting for a reboot".to_string();
        if self.qmp()?.wait_count("RESET", count, deadline) {
            self.resets_seen = count;
            self.ssh.disconnect();
            return Ok(());
        }
        match deadline.left() {
            Some(_) => Err(self.ended(waiting)),
            None => Err(self.late(waiting, deadline)),
        }
    }

    /// Whether the watchdog has fired since power on.
    pub fn watchdog_fired(&self) -> Result<bool> {
        Ok(self.qmp()?.count("WATCHDOG") > 0)
    }

    /// Asks the guest to power off and waits until it has: by a command if
    /// there is an SSH connection, else by the power button.
    pub fn shutdown(&mut self, within: Duration) -> Result<()> {
        if self.ssh.is_connected() {
            self.exec_ok("systemctl poweroff --no-block")?;
        } else {
            self.qmp()?.execute("system_powerdown", Value::Null)?;
        }
        self.wait_off(within)
    }

    /// Waits until the guest has powered itself off.
    pub fn wait_off(&mut self, within: Duration) -> Result<()> {
        let deadline = Deadline::after(within);
        let waiting = "waiting for power off".to_string();
        if !self.qmp()?.wait_count("SHUTDOWN", 1, deadline) {
            return match deadline.left() {
                Some(_) => Err(self.ended(waiting)),
                None => Err(self.late(waiting, deadline)),
            };
        }
        self.ssh.disconnect();
        if let Some(mut powered) = self.powered.take() {
            // It is on its way out; an unwritten disk must not be cut off.
            let _ = powered.process.child.wait();
        }
        Ok(())
    }

    /// Types on the serial console.
    pub fn type_text(&mut self, bytes: &[u8]) -> Result<()> {
        let powered = self.powered.as_mut();
        let keyboard = powered.and_then(|p| p.keyboard.as_mut());
        let keyboard = keyboard.ok_or_else(|| Error::Off {
            action: "typing on the console".to_string(),
        })?;
        let typed = keyboard.write_all(bytes).and_then(|()| keyboard.flush());
        typed.map_err(Error::file("typing on", "the console".as_ref()))
    }

    /// The console's keyboard, to be written to from another thread. Afterwards
    /// [`Vm::type_text`] fails until the machine is switched on again.
    pub fn take_keyboard(&mut self) -> Option<ChildStdin> {
        self.powered.as_mut().and_then(|p| p.keyboard.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_port_is_read_from_the_table() {
        let table = "Hub -1 (net0):\n  Protocol[State]    FD  Source Address  Port   \
            Dest. Address  Port RecvQ SendQ\n  TCP[HOST_FORWARD]  13       127.0.0.1  8080       \
            10.0.2.15    80     0     0\n  TCP[HOST_FORWARD]  12       127.0.0.1 35423       \
            10.0.2.15    22     0     0\n";
        assert_eq!(forwarded_port(table, 22), Some(35423));
        assert_eq!(forwarded_port(table, 80), Some(8080));
        assert_eq!(forwarded_port(table, 443), None);
        assert_eq!(forwarded_port("", 22), None);
    }
}
