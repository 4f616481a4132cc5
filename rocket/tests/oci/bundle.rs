//! Bundles around a static busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

pub const ROCKET: &str = env!("CARGO_BIN_EXE_rocket");
const BUSYBOX: &str = "/bin/busybox";

/// A bundle and a root for containers of its own.
pub struct Bundle {
    pub directory: tempfile::TempDir,
    pub config: Value,
}

/// What a command said.
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap()),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// The output of what must have worked.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// The message of what must have failed.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_ne!(self.status, 0, "stdout: {}", self.out);
        self.err
    }
}

impl Bundle {
    /// A bundle whose program is a script for busybox's shell.
    pub fn new(script: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        assert!(
            Path::new(BUSYBOX).exists(),
            "these tests need {BUSYBOX} (Debian: busybox-static)"
        );
        let directory = tempfile::Builder::new().prefix("oci-").tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "run", "data"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        let tools = Command::new(BUSYBOX).arg("--list").output().unwrap();
        for tool in String::from_utf8(tools.stdout).unwrap().lines() {
            if tool != "busybox" {
                symlink("busybox", root.join("bin").join(tool)).unwrap();
            }
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n",
        )
        .unwrap();
        // Of a test that runs as root in a directory only root may enter.
        fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let mut spec = serde_json::to_value(rocket::runtime::default_spec()).unwrap();
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["hostname"] = json!("box");
        Self {
            directory,
            config: spec,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Changes the spec.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Adds a mount.
    pub fn mount(self, destination: &str, typ: &str, source: &Path, options: &[&str]) -> Self {
        self.with(|config| {
            let mount = json!({
                "destination": destination, "type": typ, "source": source, "options": options,
            });
            config["mounts"].as_array_mut().unwrap().push(mount);
        })
    }

    /// Puts the container into a user namespace of 65536 users from this one on.
    pub fn in_user_namespace(self, first: u32) -> Self {
        let root = self.root();
        let owned = Command::new("chown")
            .args(["-R", &format!("{first}:{first}")])
            .arg(root)
            .status();
        assert!(owned.unwrap().success());
        self.with(|config| {
            let lines = json!([{"hostID": first, "containerID": 0, "size": 65536}]);
            let linux = &mut config["linux"];
            linux["uidMappings"] = lines.clone();
            linux["gidMappings"] = lines;
            let namespaces = linux["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "user"}));
        })
    }

    /// Writes the spec.
    pub fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        fs::write(self.path().join("config.json"), text).unwrap();
    }

    /// The runtime with this bundle's own root for containers.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ROCKET);
        command
            .args(["oci", "--root"])
            .arg(self.path().join("state"))
            .args(words)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the runtime.
    pub fn oci(&self, words: &[&str]) -> Said {
        self.command(words).output().unwrap().into()
    }

    /// A name nobody else has on this host: it is also that of the control group.
    pub fn id(&self) -> String {
        self.path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Runs the container to its end.
    pub fn run(&self) -> Said {
        self.write();
        self.oci(&["run", &self.id()])
    }

    /// The same, which must work.
    #[track_caller]
    pub fn says(&self) -> String {
        self.run().ok()
    }

    /// The state as the runtime prints it.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.oci(&["state", &self.id()]).ok()).unwrap()
    }

    /// Makes the container, in a way that nothing of the test is held open by it.
    #[track_caller]
    pub fn create(&self, options: &[&str]) {
        self.write();
        let log = fs::File::create(self.path().join("err")).unwrap();
        let out = fs::File::create(self.path().join("out")).unwrap();
        let id = self.id();
        let words = [&["create"], options, &[id.as_str()]].concat();
        let mut command = self.command(&words);
        let status = command.stdout(out).stderr(log).status().unwrap();
        assert!(status.success(), "{}", self.err());
    }

    pub fn err(&self) -> String {
        fs::read_to_string(self.path().join("err")).unwrap()
    }

    pub fn out(&self) -> String {
        fs::read_to_string(self.path().join("out")).unwrap()
    }

    /// Removes the container whatever it does.
    pub fn delete(&self) {
        self.oci(&["delete", "--force", &self.id()]).ok();
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let id = self.id();
        // Of a test that failed half-way.
        let _ = self.command(&["delete", "--force", &id]).output();
    }
}

/// Waits until a process has ended.
pub fn until_ended(pid: i32) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let Ok(pidfd) = rocket::runtime::pidfd_open(nix::unistd::Pid::from_raw(pid)) else {
        return;
    };
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)), Ok(1));
}
