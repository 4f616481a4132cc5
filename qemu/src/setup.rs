//! What to boot and how.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::accel::Accel;
use crate::console::Tee;
use crate::disk;
use crate::error::{Error, Result};
use crate::launcher::{self, Launcher};
use crate::machine::{
    DiskFile, FIRMWARE, FIRMWARE_VARS, Flush, Format, Forward, Group, Machine, Memory, Start,
};
use crate::ssh;
use crate::vm::{Files, Vm};

/// How names of machines' directories begin.
const RUN_DIR: &str = "ballast-vm-";
/// A file in them, locked while the machine's handle lives.
const RUN_DIR_LOCK: &str = "lock";

/// Where what the guest writes goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// A copy-on-write file that ends with the [`Vm`].
    Overlay,
    /// This file. Made from the image if it does not exist, as a full copy
    /// that does not need the image any more; booted as it is if it does.
    Kept(PathBuf),
}

/// What to boot and how: a builder for [`Vm`]s.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(crate) image: PathBuf,
    pub(crate) ignition: Option<PathBuf>,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) accel: Accel,
    pub(crate) storage: Storage,
    pub(crate) disk_gib: u32,
    pub(crate) forwards: Vec<Forward>,
    pub(crate) group: Option<String>,
    pub(crate) credentials: Vec<(String, Vec<u8>)>,
    pub(crate) kernel_arguments: Vec<String>,
    pub(crate) extra_disks: Vec<PathBuf>,
    pub(crate) tpm: Option<PathBuf>,
    pub(crate) tftp: Option<PathBuf>,
    pub(crate) results: Option<PathBuf>,
}

impl Setup {
    /// A machine with two CPUs and 2 GiB that boots a disk image, raw or qcow2,
    /// without changing it.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            ignition: None,
            cpus: 2,
            memory_mib: 2048,
            accel: Accel::Auto,
            storage: Storage::Overlay,
            disk_gib: disk::DEFAULT_SIZE_GIB,
            forwards: Vec::new(),
            group: None,
            credentials: Vec::new(),
            kernel_arguments: Vec::new(),
            extra_disks: Vec::new(),
            tpm: None,
            tftp: None,
            results: None,
        }
    }

    /// Hands an Ignition config (JSON) to the guest.
    #[must_use]
    pub fn ignition(mut self, file: impl Into<PathBuf>) -> Self {
        self.ignition = Some(file.into());
        self
    }

    /// Virtual CPUs.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Hardware or translation.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = accel;
        self
    }

    /// Where what the guest writes goes; [`Storage::Overlay`] by default.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Size of the first disk as the guest sees it, in GiB; 8 by default. A
    /// larger image keeps its size. Nothing changes for a kept disk that exists.
    #[must_use]
    pub fn disk_gib(mut self, gib: u32) -> Self {
        self.disk_gib = gib;
        self
    }

    /// One more disk, a qcow2 or raw file that is written.
    #[must_use]
    pub fn extra_disk(mut self, file: impl Into<PathBuf>) -> Self {
        self.extra_disks.push(file.into());
        self
    }

    /// Gives the machine a TPM: the control socket of an emulator (swtpm(8)) that runs
    /// already. Machines from snapshots go without.
    #[must_use]
    pub fn tpm(mut self, socket: impl Into<PathBuf>) -> Self {
        self.tpm = Some(socket.into());
        self
    }

    /// Serves a directory by TFTP, to this machine only, at the address of its gateway,
    /// 10.0.2.2.
    #[must_use]
    pub fn tftp(mut self, directory: impl Into<PathBuf>) -> Self {
        self.tftp = Some(directory.into());
        self
    }

    /// Leads a port of 127.0.0.1 into the guest.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// Gives the guest a second network card on a network with all guests of
    /// the same group on this host. There is no DHCP on it: addresses are
    /// IPv6 link-local ones, and those that the guest's config sets.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Hands the guest a systemd credential.
    #[must_use]
    pub fn credential(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.credentials.push((name.into(), value.into()));
        self
    }

    /// Adds a word to the kernel command line, on every boot.
    #[must_use]
    pub fn kernel_argument(mut self, word: impl Into<String>) -> Self {
        self.kernel_arguments.push(word.into());
        self
    }

    /// Keeps `console.log` and what [`Vm::save_journal`] saves in a directory.
    /// The log is appended to if it is there.
    #[must_use]
    pub fn results(mut self, dir: impl Into<PathBuf>) -> Self {
        self.results = Some(dir.into());
        self
    }

    /// Switches a machine on, from the firmware.
    pub fn boot(&self, tools: Arc<dyn Launcher>) -> Result<Vm> {
        self.boot_with(tools, None)
    }

    /// Like [`Setup::boot`], and calls `tee` with all that the console shows.
    pub fn boot_with(&self, tools: Arc<dyn Launcher>, tee: Option<Tee>) -> Result<Vm> {
        let dir = RunDir::new()?;
        let tools_ref = tools.as_ref();
        let key = ssh::make_key(tools_ref, dir.path())?;
        let disk = self.first_disk(tools_ref, dir.path())?;
        let vars = dir.path().join("vars.qcow2");
        disk::copy(tools_ref, FIRMWARE_VARS.as_ref(), Format::Raw, &vars, None)?;
        let machine = self.machine(dir.path(), &key, disk, vars)?;
        let files = Files {
            dir,
            key,
            results: self.results.clone(),
        };
        let mut vm = Vm::new(tools, machine, files, tee)?;
        vm.power_on()?;
        Ok(vm)
    }

    fn first_disk(&self, tools: &dyn Launcher, dir: &Path) -> Result<DiskFile> {
        let format = disk::format_of(&self.image);
        let size = || {
            let length = fs::metadata(&self.image).map_or(0, |m| m.len());
            let wanted = u64::from(self.disk_gib) << 30;
            (length < wanted).then_some(self.disk_gib)
        };
        match &self.storage {
            Storage::Overlay => {
                let path = dir.join("disk.qcow2");
                disk::overlay(tools, &self.image, format?, &path, size())?;
                Ok(disk_file(path, Format::Qcow2, Flush::Ignored))
            }
            Storage::Kept(path) => {
                if !path.exists() {
                    disk::copy(tools, &self.image, format?, path, size())?;
                }
                let format = disk::format_of(path)?;
                let path = std::path::absolute(path).map_err(Error::file("finding", path))?;
                Ok(disk_file(path, format, Flush::Host))
            }
        }
    }

    /// The machine whose own files are in `dir`.
    pub(crate) fn machine(
        &self,
        dir: &Path,
        key: &Path,
        disk: DiskFile,
        vars: PathBuf,
    ) -> Result<Machine> {
        let mut disks = vec![disk];
        for path in &self.extra_disks {
            let format = disk::format_of(path)?;
            let path = std::path::absolute(path).map_err(Error::file("finding", path))?;
            disks.push(disk_file(path, format, Flush::Ignored));
        }
        let ignition = match &self.ignition {
            None => None,
            Some(file) => {
                // A copy: QEMU may not see the file where it is.
                let copy = dir.join("config.ign");
                fs::copy(file, &copy).map_err(Error::file("reading", file))?;
                Some(copy)
            }
        };
        let mut credentials = self.credentials.clone();
        credentials.push((ssh::CREDENTIAL.to_string(), ssh::public_key(key)?));
        let mut forwards = vec![Forward { host: 0, guest: 22 }];
        forwards.extend(&self.forwards);
        Ok(Machine {
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            memory: Memory::Private,
            engine: self.accel.settle(),
            firmware: FIRMWARE.into(),
            vars,
            disks,
            qmp: dir.join("qmp"),
            ignition,
            credentials,
            kernel_arguments: self.kernel_arguments.clone(),
            forwards,
            group: self.group.as_deref().map(|name| group(name, dir)),
            tpm: self.tpm.clone(),
            tftp: self.tftp.clone(),
            start: Start::Firmware,
        })
    }
}

pub(crate) fn disk_file(path: PathBuf, format: Format, flush: Flush) -> DiskFile {
    DiskFile {
        path,
        format,
        flush,
    }
}

/// A private directory, held by a lock for as long as it is used.
pub(crate) struct RunDir {
    dir: TempDir,
    // Closed, and so unlocked, when the process ends in whatever way.
    _lock: File,
}

impl RunDir {
    /// Makes one with a short name: paths of sockets are limited to 107 bytes.
    /// In `/tmp`, because the tools tree shows it at the same path.
    ///
    /// Removes those that killed processes have left.
    pub(crate) fn new() -> Result<Self> {
        let parent = Path::new("/tmp");
        remove_abandoned(parent);
        let dir = tempfile::Builder::new().prefix(RUN_DIR).tempdir_in(parent);
        let dir = dir.map_err(Error::file("creating a directory in", parent))?;
        let path = dir.path().join(RUN_DIR_LOCK);
        // Locked before it has its name: nobody sees it unlocked.
        let unnamed = path.with_extension("new");
        let lock = File::create(&unnamed).map_err(Error::file("creating", &unnamed))?;
        lock.lock().map_err(Error::file("locking", &unnamed))?;
        fs::rename(&unnamed, &path).map_err(Error::file("creating", &path))?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Directories without a lock file are just being made; those of other users
/// cannot be opened.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(RUN_DIR) {
            continue;
        }
        let lock = File::open(entry.path().join(RUN_DIR_LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The port follows from the group's name, the address from the machine's own
/// directory, which no other machine has.
fn group(name: &str, dir: &Path) -> Group {
    let hash = Sha256::digest(name);
    let port = 20000 + u16::from_le_bytes([hash[0], hash[1]]) % 20000;
    let own = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", own[0], own[1], own[2]);
    Group { port, mac }
}

/// Exactly the bytes of `from`; keeps holes.
pub(crate) fn copy_file(tools: &dyn Launcher, from: &Path, to: &Path) -> Result<()> {
    let paths = [from, to].map(|p| p.to_string_lossy().into_owned());
    let mut args = vec!["--sparse=auto".to_string(), "--reflink=auto".to_string()];
    args.extend(paths);
    launcher::run(tools, "cp", &args).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_directories_are_removed_and_used_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).unwrap();
            (File::create(dir.join(RUN_DIR_LOCK)).unwrap(), dir)
        };
        let (used_lock, used) = make("ballast-vm-used");
        used_lock.lock().unwrap();
        let (_, abandoned) = make("ballast-vm-abandoned");
        let (_, foreign) = make("something-else");
        let fresh = parent.path().join("ballast-vm-fresh");
        fs::create_dir(&fresh).unwrap();
        remove_abandoned(parent.path());
        assert!(!abandoned.exists());
        assert!(used.exists() && foreign.exists() && fresh.exists());
    }

    #[test]
    fn a_group_has_one_port_and_each_member_its_address() {
        let one = group("pair", Path::new("/tmp/a"));
        let two = group("pair", Path::new("/tmp/b"));
        let other = group("other", Path::new("/tmp/a"));
        assert_eq!(one.port, two.port);
        assert_ne!(one.mac, two.mac);
        assert_ne!(one.port, other.port);
        assert!((20000..40000).contains(&one.port));
    }
}
