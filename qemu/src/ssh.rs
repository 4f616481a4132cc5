//! Commands in the guest, through one multiplexed SSH connection.
//!
//! The key is made for one machine and thrown away with it; the guest learns
//! its public half from a systemd credential, so nobody's config changes. Host
//! keys are not checked: every fresh machine makes new ones, and the connection
//! does not leave the loopback interface.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::deadline::{Deadline, scaled};
use crate::error::{Error, Result};
use crate::launcher::{self, Launcher};

/// The credential that the guest's SSH server reads keys from.
pub const CREDENTIAL: &str = "ssh.ephemeral-authorized_keys-all";

/// Longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the first attempt to log in may take; each later one twice as long as the one
/// before. QEMU takes a connection before the guest's network is there, and offers it to
/// the guest again only after many seconds, so that a new one gets through earlier.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest attempt.
const PATIENCE_LIMIT: Duration = Duration::from_secs(64);

/// How long the guest may be silent before it is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(4);

/// How a command in the guest ended and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status, 255 if a signal ended it.
    pub status: i32,
    /// What it wrote to stdout, lossily decoded.
    pub stdout: String,
    /// What it wrote to stderr, lossily decoded.
    pub stderr: String,
}

/// Makes a key pair `key`, `key.pub` without a passphrase in `dir`.
pub(crate) fn make_key(tools: &dyn Launcher, dir: &Path) -> Result<PathBuf> {
    let key = dir.join("key");
    let path = key.to_string_lossy();
    let args = [
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "ballast-vm",
        "-f",
        &path,
    ];
    launcher::run(tools, "ssh-keygen", &args.map(String::from))?;
    Ok(key)
}

/// The public half of `key`.
pub(crate) fn public_key(key: &Path) -> Result<Vec<u8>> {
    let path = key.with_extension("pub");
    fs::read(&path).map_err(Error::file("reading", &path))
}

/// Options that every connection has; also what a human needs to log in.
pub fn options(key: &Path, port: u16) -> Vec<String> {
    let mut options = vec!["-i".to_string(), key.display().to_string()];
    options.extend(["-p".to_string(), port.to_string()]);
    let settings = [
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ];
    for setting in settings {
        options.extend(["-o".to_string(), setting.to_string()]);
    }
    options
}

/// A connection, made when first used and again after a reboot.
pub(crate) struct Ssh {
    tools: Arc<dyn Launcher>,
    key: PathBuf,
    control: PathBuf,
    master: Option<Master>,
}

/// The process that holds the connection.
struct Master(Child);

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command reads.
pub(crate) enum Input<'a> {
    Nothing,
    Bytes(&'a [u8]),
}

impl Ssh {
    pub(crate) fn new(tools: Arc<dyn Launcher>, key: PathBuf, control: PathBuf) -> Self {
        Self {
            tools,
            key,
            control,
            master: None,
        }
    }

    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    pub(crate) fn disconnect(&mut self) {
        self.master = None;
        // Killed, it leaves its socket behind.
        let _ = fs::remove_file(&self.control);
    }

    pub(crate) fn is_connected(&mut self) -> bool {
        let master = self.master.as_mut();
        master.is_some_and(|m| matches!(m.0.try_wait(), Ok(None)))
    }

    /// Connects, trying again until the deadline. Does nothing if connected.
    ///
    /// `give_up` is asked between attempts and says why to stop early.
    pub(crate) fn connect(
        &mut self,
        port: u16,
        deadline: Deadline,
        give_up: impl Fn() -> Option<Error>,
    ) -> Result<()> {
        let mut pause = Duration::from_millis(50);
        let mut patience = PATIENCE;
        let mut reason = String::new();
        while !self.is_connected() {
            if let Some(error) = give_up() {
                return Err(error);
            }
            let Some(left) = deadline.left() else {
                return Err(Error::Deadline {
                    waiting: format!("logging in by SSH ({})", reason.trim()),
                    limit: deadline.limit(),
                    console: String::new(),
                });
            };
            match self.attempt(port, left.min(patience))? {
                Ok(master) => self.master = Some(master),
                Err(why) => {
                    reason = why;
                    patience = (patience * 2).min(PATIENCE_LIMIT);
                    thread::sleep(pause.min(left));
                    pause = (pause * 2).min(PAUSE);
                }
            }
        }
        Ok(())
    }

    /// One attempt; the inner error is what `ssh` said.
    fn attempt(
        &mut self,
        port: u16,
        left: Duration,
    ) -> Result<std::result::Result<Master, String>> {
        self.disconnect();
        let timeout = left.as_secs().max(1);
        let alive = scaled(ALIVE).as_secs().max(1);
        let mut command = self.command(port);
        command
            .args(["-M", "-N", "-o", "PermitLocalCommand=yes"])
            // Run once logged in, when the control socket is there.
            .args(["-o", "LocalCommand=echo up"])
            .args(["-o", &format!("ConnectTimeout={timeout}")])
            // Three questions without an answer: the guest is gone.
            .args(["-o", &format!("ServerAliveInterval={alive}")])
            .arg("root@127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut master = Master(launcher::start("ssh", command)?);
        let up = match master.0.stdout.take() {
            Some(stdout) => first_byte_within(stdout, left),
            None => false,
        };
        if up {
            return Ok(Ok(master));
        }
        let _ = master.0.kill();
        let mut said = String::new();
        if let Some(mut stderr) = master.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        Ok(Err(said))
    }

    fn command(&self, port: u16) -> Command {
        let mut command = self.tools.command("ssh");
        command
            // The user's shell may not exist where ssh runs.
            .env("SHELL", "/bin/sh")
            .args(["-F", "none", "-T"])
            .args(options(&self.key, port))
            .args(["-o", "BatchMode=yes", "-o", "IdentityAgent=none"])
            // The quickest to compute for a translated guest.
            .args(["-o", "KexAlgorithms=curve25519-sha256"])
            .arg("-S")
            .arg(&self.control);
        command
    }

    /// Starts a command over the connection.
    pub(crate) fn start(&self, port: u16, script: &str, io: [Stdio; 3]) -> Result<Child> {
        let [stdin, stdout, stderr] = io;
        let mut command = self.command(port);
        command
            .args(["-o", "ControlMaster=no", "root@127.0.0.1", "--", script])
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        launcher::start("ssh", command)
    }

    /// Runs a command to its end, or kills it at the deadline.
    ///
    /// Returns what it wrote to stdout as bytes next to the decoded output.
    pub(crate) fn run(
        &mut self,
        port: u16,
        script: &str,
        input: &Input,
        deadline: Deadline,
    ) -> Result<(Output, Vec<u8>)> {
        let stdin = match input {
            Input::Nothing => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
        };
        let mut child = self.start(port, script, [stdin, Stdio::piped(), Stdio::piped()])?;
        if let (Some(pipe), Input::Bytes(bytes)) = (child.stdin.take(), input) {
            feed(pipe, bytes);
        }
        let collected = collect(&mut child, deadline);
        let Some([stdout, stderr]) = collected else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Deadline {
                waiting: format!("`{script}` in the guest"),
                limit: deadline.limit(),
                console: String::new(),
            });
        };
        let ended = child.wait().map_err(|source| Error::Start {
            program: "ssh".to_string(),
            source,
        })?;
        let status = ended.code().unwrap_or(255);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let output = Output {
            status,
            stdout: text(&stdout),
            stderr: text(&stderr),
        };
        if status == 255 && !self.is_connected() {
            return Err(Error::SshLost {
                command: script.to_string(),
                reason: output.stderr.trim().to_string(),
            });
        }
        Ok((output, stdout))
    }
}

/// Writes in a thread: the guest may write before it has read everything.
fn feed(mut pipe: ChildStdin, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    thread::spawn(move || {
        // A reader that has enough closes the pipe; its status tells the rest.
        let _ = pipe.write_all(&bytes);
    });
}

/// Both outputs to their end; `None` if the deadline passes first.
fn collect(child: &mut Child, deadline: Deadline) -> Option<[Vec<u8>; 2]> {
    let (done, inbox) = channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|p| Box::new(p) as _),
        child.stderr.take().map(|p| Box::new(p) as _),
    ];
    for (n, pipe) in pipes.into_iter().enumerate() {
        let done = done.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            let _ = done.send((n, bytes));
        });
    }
    let mut outputs = [Vec::new(), Vec::new()];
    for _ in 0..outputs.len() {
        let (n, bytes) = inbox.recv_timeout(deadline.left()?).ok()?;
        outputs[n] = bytes;
    }
    Some(outputs)
}

fn first_byte_within(mut pipe: impl Read + Send + 'static, limit: Duration) -> bool {
    let (done, inbox) = channel();
    thread::spawn(move || {
        let mut byte = [0];
        let _ = done.send(matches!(pipe.read(&mut byte), Ok(1)));
    });
    inbox.recv_timeout(limit).unwrap_or(false)
}

/// `text` as one word of a POSIX shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_survive_a_shell() {
        for word in ["", "a b", "it's", "$HOME `x` \"y\" \\", "a\nb"] {
            let script = format!("printf %s {}", quote(word));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }

    #[test]
    fn a_human_gets_options_that_need_no_other_file() {
        let options = options(Path::new("/tmp/x/key"), 4022).join(" ");
        assert_eq!(
            options,
            "-i /tmp/x/key -p 4022 -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        );
    }

    #[test]
    fn outputs_are_collected_and_deadlines_kept() {
        let spawn = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let minute = Deadline::after(Duration::from_secs(60));
        let mut child = spawn("echo out; echo err >&2");
        let expected = [b"out\n".to_vec(), b"err\n".to_vec()];
        assert_eq!(collect(&mut child, minute), Some(expected));
        let mut child = spawn("exec sleep 1000");
        assert_eq!(
            collect(&mut child, Deadline::after(Duration::from_millis(10))),
            None
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
