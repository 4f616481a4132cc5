//! The tools tree: a Debian tree with every tool that builds and boots images.
//!
//! It is made once with `debootstrap` and `apt`, kept in the cache, and entered
//! with `bwrap`. So the same versions of mkosi, systemd, erofs-utils and QEMU
//! are used on every build machine, whatever its distribution, and the machine
//! needs next to nothing installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{self, Key, cache_dir};
use crate::host::{self, Mirrors, SuiteState};

/// The Debian release of the tools and of the image.
pub const SUITE: &str = "trixie";

/// What is installed on top of a minimal Debian system, and why.
const PACKAGES: [&str; 24] = [
    // the system tree
    "debian-archive-keyring",
    "mkosi",
    "kmod",
    "xz-utils",
    "zstd",
    // file systems, verity, kernel image, disk
    "cryptsetup-bin",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "mtools",
    "systemd-boot-efi",
    "systemd-repart",
    "systemd-ukify",
    "systemd",
    // Rust programs for the image are linked here, against the image's libc
    "gcc",
    "libc6-dev",
    // protoc, and the files that definitions of others include
    "libprotobuf-dev",
    "protobuf-compiler",
    // virtual machines
    "openssh-client",
    "ovmf",
    "qemu-system-x86",
    "qemu-utils",
    // file trees for virtual machines' tests
    "cpio",
];

/// A usable tools tree.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
    binds: Vec<(PathBuf, PathBuf)>,
    usr_at: Vec<PathBuf>,
}

impl Tools {
    /// Opens the tools tree, making it first if it is not there.
    ///
    /// Making it needs root, network and about a minute. Fails naming the
    /// program that is missing on the host, or with the end of the log of what
    /// failed.
    pub fn ensure() -> Result<Self> {
        let mut key = Key::default();
        key.add("suite", SUITE).add("packages", PACKAGES.join(" "));
        let root = cache_dir().join(format!("tools-{}", key.finish()));
        let tools = Self {
            root,
            binds: Vec::new(),
            usr_at: Vec::new(),
        };
        host::ensure_programs()?;
        if !tools.root.is_dir() {
            host::become_root("to make the tools tree")?;
            let _lock = cache::lock("tools")?;
            if !tools.root.is_dir() {
                tools.make()?;
            }
            forget_unused()?;
        }
        cache::used(&tools.root);
        Ok(tools)
    }

    fn make(&self) -> Result<()> {
        let mut progress = crate::progress::Progress::new("tools", 2);
        let partial = self.root.with_extension("partial");
        remove_tree(&partial)?;
        let mirrors = Mirrors::of_host()?;
        progress.stage("Debian base tree", || {
            let mut command = Command::new("debootstrap");
            command
                .args(["--variant=minbase", "--include=ca-certificates", SUITE])
                .arg(&partial)
                .arg(&mirrors.main);
            run_logged(&mut command, "debootstrap")
        })?;
        let lists = partial.join("etc/apt/sources.list.d");
        fs::create_dir_all(&lists)?;
        fs::write(
            lists.join("debian.sources"),
            mirrors.sources(SUITE, SuiteState::Updated),
        )?;
        let _ = fs::remove_file(partial.join("etc/apt/sources.list"));
        let inside = Self {
            root: partial.clone(),
            binds: Vec::new(),
            usr_at: Vec::new(),
        };
        progress.stage("tools", || {
            run_logged(inside.command("apt-get").arg("update"), "tools-apt")?;
            let mut install = inside.command("apt-get");
            install
                .args(["install", "--yes", "--no-install-recommends"])
                .args(PACKAGES)
                .env("DEBIAN_FRONTEND", "noninteractive");
            run_logged(&mut install, "tools-apt")?;
            run_logged(inside.command("apt-get").arg("clean"), "tools-apt")
        })?;
        fs::rename(&partial, &self.root)
            .with_context(|| format!("renaming {} into place", partial.display()))?;
        progress.finish(&format!("ready in {}", self.root.display()));
        Ok(())
    }

    /// A copy of the tree with more Debian packages: what is not needed to build or boot
    /// an image, but to compare it with. Made once; needs root and network.
    pub fn with_packages(&self, packages: &[&str]) -> Result<Self> {
        let mut key = Key::default();
        key.add("tools", self.id())
            .add("packages", packages.join(" "));
        let root = cache_dir().join(format!("peers-{}", key.finish()));
        let tools = Self {
            root: root.clone(),
            binds: self.binds.clone(),
            usr_at: self.usr_at.clone(),
        };
        if root.is_dir() {
            cache::used(&root);
            return Ok(tools);
        }
        host::become_root("to make a tree of programs to compare with")?;
        let _lock = cache::lock("tools")?;
        forget_unused()?;
        let partial = root.with_extension("partial");
        remove_tree(&partial)?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--reflink=auto"])
            .arg(&self.root)
            .arg(&partial);
        run_logged(&mut copy, "peers-copy")?;
        let inside = Self {
            root: partial.clone(),
            binds: Vec::new(),
            usr_at: Vec::new(),
        };
        run_logged(inside.command("apt-get").arg("update"), "peers-apt")?;
        let mut install = inside.command("apt-get");
        install
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run_logged(&mut install, "peers-apt")?;
        fs::rename(&partial, &root)
            .with_context(|| format!("renaming {} into place", partial.display()))?;
        cache::used(&root);
        Ok(tools)
    }

    /// Makes the host's `path` visible at the same path inside.
    #[must_use]
    pub fn bind(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.bind_at(path.clone(), path)
    }

    /// Makes the host's `path` visible at `at` inside.
    #[must_use]
    pub fn bind_at(mut self, path: impl Into<PathBuf>, at: impl Into<PathBuf>) -> Self {
        self.binds.push((path.into(), at.into()));
        self
    }

    /// Makes the tree's own `/usr` visible at `at` too, to read: a root directory there
    /// then has programs.
    #[must_use]
    pub fn usr_at(mut self, at: impl Into<PathBuf>) -> Self {
        self.usr_at.push(at.into());
        self
    }

    /// A command that runs `program` of the tools tree.
    ///
    /// Inside, the network is the host's, and the current directory, the cache
    /// directory, `/tmp` and what was bound are at their own paths. The program
    /// dies with this process.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("bwrap");
        command.arg("--bind").arg(&self.root).arg("/").args([
            "--dev-bind",
            "/dev",
            "/dev",
            "--proc",
            "/proc",
            "--ro-bind",
            "/sys",
            "/sys",
            "--tmpfs",
            "/run",
            "--bind",
            "/tmp",
            "/tmp",
            "--ro-bind-try",
            "/etc/resolv.conf",
            "/etc/resolv.conf",
            "--ro-bind-try",
            "/etc/hosts",
            "/etc/hosts",
            "--ro-bind-try",
            "/etc/ssl/certs",
            "/etc/ssl/certs",
        ]);
        let here = std::env::current_dir().ok();
        for dir in [Some(cache_dir()), here.clone()].into_iter().flatten() {
            command.arg("--bind-try").arg(&dir).arg(&dir);
        }
        for (path, at) in &self.binds {
            command.arg("--bind").arg(path).arg(at);
        }
        for at in &self.usr_at {
            command.arg("--ro-bind").arg(self.root.join("usr")).arg(at);
        }
        if host::is_root() {
            command.args(["--cap-add", "ALL"]);
        }
        if let Some(here) = here {
            command.arg("--chdir").arg(here);
        }
        command.args([
            "--die-with-parent",
            // What it starts dies with it, also what left its session.
            "--unshare-pid",
            "--setenv",
            "PATH",
            "/usr/sbin:/usr/bin",
            "--",
        ]);
        command.arg(program);
        command
    }

    /// Where this host sees a file of the tree: `path` is that inside.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A name that changes when the tools change; part of cache keys.
    pub fn id(&self) -> String {
        let name = self.root.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Runs a command with its output in `logs/NAME.log` of the cache directory.
///
/// Fails with the last lines of that log.
pub fn run_logged(command: &mut Command, name: &str) -> Result<()> {
    let dir = cache_dir().join("logs");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(format!("{name}.log"));
    let log = fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(25)..].join("\n  ");
    bail!(
        "{name} failed ({status}); {} ends with\n  {tail}",
        path.display()
    );
}

/// Deletes trees of other packages than today's.
fn forget_unused() -> Result<()> {
    cache::forget_unused("tools-")?;
    cache::forget_unused("peers-")
}

/// Removes a tree if it exists.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
