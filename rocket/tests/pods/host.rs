//! A host of a test's own, and what rocket left on it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

use crate::image;

pub const ROCKET: &str = env!("CARGO_BIN_EXE_rocket");

/// Whatever takes longer never comes.
const NEVER: u16 = 60_000;

/// A host: everything of rocket's is below one directory of a file system in memory.
pub struct Host {
    root: PathBuf,
    image: String,
    /// Tells when devices come and go.
    devices: Socket,
}

/// What can be seen of rocket on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    files: BTreeSet<PathBuf>,
    groups: BTreeSet<PathBuf>,
    mounts: Vec<String>,
    links: BTreeSet<String>,
    rules: String,
}

impl Traces {
    /// No groups, mounts or devices are left that were not there before.
    #[track_caller]
    pub fn assert_no_more_than(&self, before: &Self) {
        assert_eq!(self.groups, before.groups);
        assert_eq!(self.mounts, before.mounts);
        assert_eq!(self.links, before.links);
    }
}

/// Runs a test on a host of its own, as a thread which has the namespaces.
pub fn on_a_host(test: impl FnOnce(&Host) + Send) {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root");
    let directory = tempfile::Builder::new().prefix("pods-").tempdir().unwrap();
    let groups = rocket::runtime::cgroup::mount_point()
        .unwrap()
        .join(directory.path().file_name().unwrap());
    fs::create_dir(&groups).unwrap();
    let run = || {
        become_a_host(directory.path(), &groups);
        test(&Host::new(directory.path()));
    };
    let result = thread::scope(|scope| scope.spawn(run).join());
    for group in below(&groups).iter().rev() {
        fs::remove_dir(groups.join(group)).unwrap();
    }
    fs::remove_dir(&groups).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// The calling thread gets namespaces, the file system and the groups.
fn become_a_host(directory: &Path, groups: &Path) {
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS;
    unshare(own).unwrap();
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).unwrap();
    let kind = Some("tmpfs");
    mount(kind, directory, kind, MsFlags::empty(), Some("mode=755")).unwrap();
    // As on a host of today, which has version 2 alone.
    let bind = MsFlags::MS_BIND;
    mount(Some(groups), "/sys/fs/cgroup", none, bind, none).unwrap();
}

impl Host {
    fn new(root: &Path) -> Self {
        let mut devices = Socket::new(NETLINK_ROUTE).unwrap();
        // RTMGRP_LINK of linux/rtnetlink.h.
        devices.bind(&SocketAddr::new(0, 1)).unwrap();
        let archive = root.join("box.tar");
        image::write(&archive, 2);
        let host = Self {
            root: root.to_owned(),
            image: format!("docker-archive:{}", archive.display()),
            devices,
        };
        host.does(&["fetch", "--insecure-options=image", &host.image]);
        host
    }

    /// What `rocket run` needs to run the image that is in the store.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// A file beside what is rocket's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Words that come before a verb.
    pub fn options(&self) -> [String; 2] {
        [
            "--root".to_owned(),
            self.path("rocket").display().to_string(),
        ]
    }

    /// The program, on this host.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ROCKET);
        command.args(self.options()).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn rocket(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, which must work; returns what it said.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> String {
        let output = self.rocket(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Words of a pod of the image: options of the pod, then options and words of its app.
    pub fn run<'a>(&'a self, pod: &[&'a str], app: &[&'a str]) -> Vec<&'a str> {
        let start = ["run", "--insecure-options=image", "--pull-policy=never"];
        [&start[..], pod, &[self.image()], app].concat()
    }

    /// Removes the bridge of the pods, as if there never was one.
    pub fn forget_bridge(&self) {
        tool("ip", &["link", "delete", "rocket0"]);
    }

    /// A pod that goes on as long as this is there.
    pub fn companion(&self) -> Companion {
        let options = ["--userns=auto", "--port", "127.0.0.1:7000:80"];
        let words = self.run(&options, &["--", "cat"]);
        let mut command = self.command(&words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut companion = Companion::of(command.spawn().unwrap());
        companion.assert_runs();
        companion
    }

    /// Waits until devices that go with their namespaces are gone, and compares what there
    /// is with what there was.
    #[track_caller]
    pub fn assert_like(&self, before: &Traces, what: &str) {
        while self.traces().links != before.links {
            assert!(
                is_ready(self.devices.as_fd()),
                "{what}: {:?} are left of devices, there were {:?}",
                self.traces().links,
                before.links
            );
            // Which one, is seen by looking again.
            let _ = self.devices.recv_from_full();
        }
        let now = self.traces();
        assert_eq!(now, *before, "{what}");
    }

    /// What there is once devices of pods that have ended are gone: the kernel takes its time.
    pub fn settled(&self) -> Traces {
        loop {
            let now = self.traces();
            let is_of_a_pod = |link: &str| {
                let pod = |file: &PathBuf| {
                    let uuid = file.strip_prefix("data/pods/running").ok();
                    uuid.is_some_and(|uuid| uuid.to_string_lossy().starts_with(&link[2..]))
                };
                now.files.iter().any(pod)
            };
            let left = |link: &&String| link.starts_with("rk") && !is_of_a_pod(link);
            let Some(link) = now.links.iter().find(left) else {
                return now;
            };
            assert!(is_ready(self.devices.as_fd()), "{link} is left");
            let _ = self.devices.recv_from_full();
        }
    }

    /// Waits until nobody is at work on pods that were not there, and their apps have ended for
    /// the kernel too.
    pub fn until_apps_ended(&self, before: &Traces) {
        for state in ["preparing", "prepared", "running"] {
            let directory = Path::new("data/pods").join(state);
            for name in fs::read_dir(self.path("rocket").join(&directory)).unwrap() {
                let pod = directory.join(name.unwrap().file_name());
                if !before.files.contains(&pod) {
                    until_pod_ended(&self.path("rocket").join(pod));
                }
            }
        }
    }

    /// What there is.
    pub fn traces(&self) -> Traces {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mount_point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        let links = tool("ip", &["-o", "link"]);
        let name = |line: &str| {
            let name = line.split(": ").nth(1)?;
            name.split('@').next().map(str::to_owned)
        };
        let groups = rocket::runtime::cgroup::mount_point().unwrap();
        Traces {
            files: below(&self.path("rocket")),
            groups: below(&groups.join("rocket")),
            mounts: mounts.lines().filter_map(mount_point).collect(),
            links: links.lines().filter_map(name).collect(),
            rules: tool("nft", &["list", "ruleset"]),
        }
    }
}

/// A pod with an address and a port that runs beside the others.
pub struct Companion {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Companion {
    /// One whose app repeats what it is told.
    pub fn of(mut child: Child) -> Self {
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Says something, and waits until it comes back.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        let mut input = self.input.as_ref().unwrap();
        input.write_all(b"there?\n").unwrap();
        let file = self.output.get_ref().as_fd();
        assert!(is_ready(file), "the other pod does not answer");
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "there?\n");
    }

    /// Has it end by itself.
    pub fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // Of a test that failed; the app goes with its rocket.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and waits until nobody has its standard output any more: neither
/// it nor an app that it made. Returns what was written there.
#[track_caller]
pub fn until_all_ended(command: &mut Command) -> (bool, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut text = Vec::new();
    loop {
        assert!(is_ready(output.as_fd()), "{command:?}: a process stays");
        let mut bytes = [0; 4096];
        match output.read(&mut bytes).unwrap() {
            0 => break,
            count => text.extend(&bytes[..count]),
        }
    }
    let lived = child.wait().unwrap().success();
    (lived, String::from_utf8(text).unwrap())
}

fn until_pod_ended(pod: &Path) {
    // Whoever is killed lets go of his files one after the other: of his output before the lock.
    fs::File::open(pod).unwrap().lock_shared().unwrap();
    let record = fs::read(pod.join("record.json")).unwrap_or_else(|_| b"{}".to_vec());
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    for app in record["apps"].as_array().into_iter().flatten() {
        let pid = i32::try_from(app["pid"].as_i64().unwrap()).unwrap();
        if let Ok(pidfd) = rocket::runtime::pidfd_open(Pid::from_raw(pid)) {
            assert!(is_ready(pidfd.as_fd()), "process {pid} stays");
        }
    }
}

/// Waits until there is something to read, or nobody who could write.
fn is_ready(file: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(file, PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::from(NEVER)).unwrap() == 1
}

fn tool(name: &str, words: &[&str]) -> String {
    let output = Command::new(name).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("these tests need {name}: {error}"));
    assert!(output.status.success(), "{name} {words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All names below a directory; of control groups only the groups. Layers are one name each.
pub fn below(root: &Path) -> BTreeSet<PathBuf> {
    let is_group = root.starts_with("/sys");
    let mut all = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let is_directory = path.is_dir() && !path.is_symlink();
            if is_group && !is_directory {
                continue;
            }
            all.insert(path.strip_prefix(root).unwrap().to_owned());
            if is_directory && !path.ends_with("tree") {
                open.push(path);
            }
        }
    }
    all
}
