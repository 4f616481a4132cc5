//! What disks hold before a config is carried out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use image::host::capture;
use image::tools::Tools;

use super::disk::Disk;

/// Makes a state on a disk.
pub const MAKE: &str = include_str!("make.sh");

/// A disk with the file systems of the state `parted`.
const LARGE: u64 = 2304;
const SMALL: u64 = 320;

/// One state, which `make.sh` knows by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    /// Its name.
    pub name: &'static str,
    /// Its size in MiB.
    mib: u64,
    /// What the disk gets longer by once it has this state, in MiB.
    grown: u64,
    /// Bytes in a logical block.
    pub block_size: u32,
}

const fn start(name: &'static str, mib: u64) -> Start {
    Start {
        name,
        mib,
        grown: 0,
        block_size: 512,
    }
}

/// All of them.
pub const ALL: [Start; 19] = [
    start("empty", SMALL),
    start("bytes", SMALL),
    start("parted", LARGE),
    Start {
        block_size: 4096,
        ..start("parted-4k", LARGE)
    },
    Start {
        grown: 128,
        ..start("grown", LARGE)
    },
    start("bare", LARGE),
    start("gaps", SMALL),
    start("unaligned", SMALL),
    start("full", SMALL),
    start("small-table", SMALL),
    start("large-table", SMALL),
    start("main-damaged", LARGE),
    start("backup-damaged", LARGE),
    start("both-damaged", LARGE),
    start("no-mbr", LARGE),
    start("no-backup", LARGE),
    start("mbr", SMALL),
    start("whole-ext4", SMALL),
    start("whole-vfat", SMALL),
];

impl Start {
    /// An image in this state below `directory`, made if it is not there yet.
    pub fn image(&self, tools: &Tools, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(self.name);
        if !path.exists() {
            let partial = path.with_extension("partial");
            self.make(tools, &partial, directory)
                .with_context(|| format!("making a disk of the state {}", self.name))?;
            fs::rename(&partial, &path)
                .with_context(|| format!("renaming {}", partial.display()))?;
        }
        Ok(path)
    }

    fn make(&self, tools: &Tools, path: &Path, directory: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        file.set_len(self.mib << 20).context("sizing an image")?;
        let disk = Disk::attach(tools, path, self.block_size)?;
        let mount = directory.join("mount");
        fs::create_dir_all(&mount).with_context(|| format!("creating {}", mount.display()))?;
        let tools = tools.clone().bind(directory);
        let mut make = tools.command("sh");
        make.args(["-eu", "-c", MAKE, "make", self.name])
            .arg(disk.node())
            .arg(&mount)
            .stdin(Stdio::null());
        capture(&mut make)?;
        drop(disk);
        file.set_len((self.mib + self.grown) << 20)
            .context("sizing an image")
    }
}

/// Copies the image `from`, holes included.
pub fn copy(tools: &Tools, from: &Path, to: &Path) -> Result<()> {
    let parents = [from, to].map(Path::parent).into_iter().flatten();
    let tools = parents.fold(tools.clone(), |tools, parent| tools.bind(parent));
    let mut copy = tools.command("cp");
    copy.arg("--sparse=always").arg(from).arg(to);
    let status = copy.status().context("running bwrap")?;
    ensure!(status.success(), "copying {} failed", from.display());
    Ok(())
}
