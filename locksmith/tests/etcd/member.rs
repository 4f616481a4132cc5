//! One etcd.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// An etcd with a directory of its own. Killed when dropped.
pub struct Member {
    name: String,
    dir: PathBuf,
    arguments: Vec<String>,
    namespace: Option<String>,
    process: Option<Child>,
}

fn program() -> PathBuf {
    let path = std::env::var_os("ETCD").map(PathBuf::from);
    path.expect("ETCD names the program etcd, as in ETCD=/usr/bin/etcd")
}

impl Member {
    /// Starts one below `dir`, in a network namespace if there is one.
    pub fn start(
        dir: &std::path::Path,
        name: &str,
        namespace: Option<&str>,
        arguments: &[String],
    ) -> Self {
        let mut member = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            arguments: arguments.to_vec(),
            namespace: namespace.map(str::to_owned),
            process: None,
        };
        member.run();
        member
    }

    /// Starts it again, with what it had.
    pub fn run(&mut self) {
        let log = File::options();
        let path = self.dir.join(format!("{}.log", self.name));
        let log = log.clone().create(true).append(true).open(path).unwrap();
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program());
                command
            }
            None => Command::new(program()),
        };
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.dir.join(&self.name))
            .args(["--unsafe-no-fsync", "--log-level=warn"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Ends it at once, as a loss of power.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops it, or lets it go on: it keeps its connections and does nothing.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            kill(Pid::from_raw(process.id() as i32), signal).unwrap();
        }
    }

    /// Fails with its log if it has ended.
    pub fn check(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        if let Some(status) = process.try_wait().unwrap() {
            let log = std::fs::read_to_string(self.dir.join(format!("{}.log", self.name)));
            panic!("{} has ended ({status}):\n{}", self.name, log.unwrap());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens at `port`.
pub fn wait_for(member: &mut Member, port: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        member.check();
        assert!(Instant::now() < end, "etcd does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Arguments of a member that is alone, which speaks `scheme`.
pub fn alone(scheme: &str, port: u16, more: &[String]) -> Vec<String> {
    let peer = free_port();
    let mut arguments = vec![
        format!("--listen-client-urls={scheme}://127.0.0.1:{port}"),
        format!("--advertise-client-urls={scheme}://127.0.0.1:{port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
    ];
    arguments.extend_from_slice(more);
    arguments
}
