//! Other container engines and runtimes, as Debian has them: a tree, and a disk for guests.
//!
//! Scenarios hand them rocket, and `cargo bench-rocket` compares rocket with them. They are
//! of `tests/engines`, built by mkosi in the tools tree.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use image::build::{source_dir, tree};
use image::cache::{self, Key, cache_dir};
use image::tools::{SUITE, Tools, remove_tree, run_logged};
use qemu::disk::overlay;
use qemu::machine::Format;
use qemu::{Setup, Vm};

/// The root directory of engines in a guest.
pub const ROOT: &str = "/var/engines/root";

/// Where a guest has the disk that [`Engines::attach`] adds, as its second.
const DISK: &str = "/dev/vdb";

const MOUNT: &str = include_str!("../engines/mount.sh");

/// A tree and a disk with the same content.
#[derive(Debug, Clone)]
pub struct Engines {
    tree: PathBuf,
    disk: PathBuf,
}

impl Engines {
    /// Those in the cache, built first if they are not there or their configuration changed.
    ///
    /// Building needs root, network and some minutes.
    pub fn ensure(tools: &Tools) -> Result<Self> {
        let dir = cache_dir().join("engines");
        let out = dir.join("out");
        let engines = Self {
            tree: out.join("tree"),
            disk: out.join("engines.erofs"),
        };
        let _lock = cache::lock("engines")?;
        let key = key(tools)?;
        let inputs = dir.join("inputs");
        if fs::read_to_string(&inputs).is_ok_and(|had| had == key) {
            return Ok(engines);
        }
        image::host::become_root("to build the tree of container engines")?;
        // What is half made must not look whole.
        remove_tree(&out)?;
        let mut progress = image::progress::Progress::new("engines", 2);
        progress.stage("tree of container engines", || build(tools, &dir, &out))?;
        ensure!(
            engines.tree.is_dir(),
            "mkosi did not make {}",
            engines.tree.display()
        );
        progress.stage("disk of container engines", || engines.pack(tools))?;
        fs::write(&inputs, key).with_context(|| format!("writing {}", inputs.display()))?;
        Ok(engines)
    }

    fn pack(&self, tools: &Tools) -> Result<()> {
        let mut mkfs = tools.command("mkfs.erofs");
        mkfs.args(["--quiet", "-L", "engines", "-zlz4"])
            .arg(&self.disk)
            .arg(&self.tree);
        run_logged(&mut mkfs, "engines-erofs")
    }

    /// The tree, to read.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// The program of busybox, which needs no library.
    pub fn busybox(&self) -> Result<Vec<u8>> {
        let path = self.tree.join("usr/bin/busybox");
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Gives a machine the disk. What it writes there goes into the new file `written`: any
    /// number of machines share the disk itself.
    pub fn attach(&self, setup: Setup, tools: &Tools, written: &Path) -> Result<Setup> {
        overlay(tools, &self.disk, Format::Raw, written, None)
            .with_context(|| format!("making {}", written.display()))?;
        Ok(setup.extra_disk(written))
    }
}

/// Mounts the disk of a guest, so that [`inside`] finds its programs.
pub fn mount(vm: &mut Vm) -> Result<()> {
    vm.exec_ok(&format!("sh -c {} mount {DISK}", qemu::ssh::quote(MOUNT)))
        .context("mounting the tree of container engines")?;
    Ok(())
}

/// A command for a guest's shell that runs `words` where engines see their tree as the root.
pub fn inside(words: &str) -> String {
    format!("nsenter --target=$({KEEPER}) --mount -- {words}")
}

/// A command for a guest's shell that prints a process of the engines' mount namespace.
pub const KEEPER: &str = "systemctl show --property=MainPID --value e2e-engines";

fn key(tools: &Tools) -> Result<String> {
    let mut key = Key::default();
    key.add("tools", tools.id());
    key.add_path(&source_dir().join("tests/engines/mkosi.conf"))?;
    Ok(key.finish())
}

fn build(tools: &Tools, dir: &Path, out: &Path) -> Result<()> {
    let arguments = ["--output=tree".to_owned(), format!("--release={SUITE}")];
    tree::run(
        tools,
        &tree::Run {
            config: "/src/tests/engines",
            scratch: &dir.join("mkosi"),
            out,
            log: "mkosi-engines",
            arguments: &arguments,
        },
    )
}
