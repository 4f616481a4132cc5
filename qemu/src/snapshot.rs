//! Snapshots: a system that has booted once, started again in seconds.
//!
//! The guest's memory is a file. The machine that makes the snapshot writes to
//! it; those that use it map the same file privately, so that starting one reads
//! only the pages it touches, and any number share them. The rest of the
//! machine's state is a small migration stream, the disk a frozen qcow2 file
//! below a new overlay.
//!
//! All users of one snapshot share machine-id, host keys and the throw-away SSH
//! key. Their clock is set after the start, and the generation counter
//! (`vmgenid`) makes the kernel reseed its random numbers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::deadline::Deadline;
use crate::disk;
use crate::error::{Error, Result};
use crate::launcher::Launcher;
use crate::machine::{DiskFile, FIRMWARE_VARS, Flush, Format, Machine, Memory, Start};
use crate::qmp::Qmp;
use crate::setup::{RunDir, Setup, Storage, copy_file, disk_file};
use crate::ssh;
use crate::vm::{Files, Vm};

/// How long the boot that is snapshotted may take.
const BOOT: Duration = Duration::from_secs(180);
/// How long saving or loading the state may take.
const MOVE: Duration = Duration::from_secs(60);

/// The files of a snapshot.
struct Snapshot(PathBuf);

impl Snapshot {
    fn memory(&self) -> PathBuf {
        self.0.join("memory")
    }
    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
    fn disk(&self) -> PathBuf {
        self.0.join("disk.qcow2")
    }
    fn vars(&self) -> PathBuf {
        self.0.join("vars.qcow2")
    }
    fn key(&self) -> PathBuf {
        self.0.join("key")
    }
}

impl Setup {
    /// Starts a machine that has booted already.
    ///
    /// The first call for an image, its config and its size boots it and keeps
    /// a snapshot in the cache directory; every other starts from there, also
    /// in other processes. [`Storage::Kept`] has to name a file that does not exist:
    /// it gets the snapshot's disk, whole and raw. [`Setup::extra_disk`] and
    /// [`Setup::group`] do not apply.
    pub fn warm(&self, tools: Arc<dyn Launcher>) -> Result<Vm> {
        let parent = image::cache_dir().join("snapshots");
        fs::create_dir_all(&parent).map_err(Error::file("creating", &parent))?;
        let name = self.snapshot_name(tools.as_ref())?;
        let snapshot = Snapshot(parent.join(&name));
        let lock_path = parent.join("lock");
        let lock = File::create(&lock_path).map_err(Error::file("creating", &lock_path))?;
        let locking = || Error::file("locking", &lock_path);
        lock.lock_shared().map_err(locking())?;
        if !snapshot.0.is_dir() {
            lock.unlock().map_err(locking())?;
            lock.lock().map_err(locking())?;
            if !snapshot.0.is_dir() {
                remove_superseded(&parent, &name)?;
                self.make_snapshot(&tools, &parent, &snapshot)?;
            }
        }
        self.restore(tools, &snapshot)
        // The lock goes here: the files are open, nobody needs their names.
    }

    /// `IMAGE-REST`: snapshots with the same first and another second half were
    /// made from an older state of the same image or with another config.
    fn snapshot_name(&self, tools: &dyn Launcher) -> Result<String> {
        let image = fs::canonicalize(&self.image).map_err(Error::file("finding", &self.image))?;
        let meta = fs::metadata(&image).map_err(Error::file("reading", &image))?;
        let changed = meta.modified().map_err(Error::file("reading", &image))?;
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        let config = match &self.ignition {
            Some(file) => Some(fs::read(file).map_err(Error::file("reading", file))?),
            None => None,
        };
        let content = format!("{changed:?} {}", meta.len());
        let machine = format!(
            "{} {} {} {:?} {} {config:?} {:?}",
            tools.id(),
            self.cpus,
            self.memory_mib,
            self.accel.settle(),
            self.disk_gib,
            self.credentials,
        );
        let shape = self.shape().join("\n");
        let parts = [image.to_string_lossy().into_owned(), content];
        let [image, content] = parts.map(|part| short_hash(&part));
        let machine = short_hash(&(machine + &shape));
        Ok(format!("{image}-{content}-{machine}"))
    }

    /// QEMU's arguments with paths that are the same for every machine.
    fn shape(&self) -> Vec<String> {
        let disk = disk_file("disk".into(), Format::Qcow2, Flush::Ignored);
        let machine = Machine {
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            memory: Memory::Private,
            engine: self.accel.settle(),
            firmware: crate::machine::FIRMWARE.into(),
            vars: "vars".into(),
            disks: vec![disk],
            qmp: "qmp".into(),
            ignition: None,
            credentials: Vec::new(),
            kernel_arguments: self.kernel_arguments.clone(),
            forwards: Vec::new(),
            group: None,
            tpm: None,
            tftp: None,
            start: Start::Firmware,
        };
        machine.args()
    }

    fn make_snapshot(
        &self,
        tools: &Arc<dyn Launcher>,
        parent: &Path,
        snapshot: &Snapshot,
    ) -> Result<()> {
        let mut builder = tempfile::Builder::new();
        let partial = builder.prefix("partial-").tempdir_in(parent);
        let partial = partial.map_err(Error::file("creating a directory in", parent))?;
        let made = Snapshot(partial.path().to_path_buf());
        let mut vm = self.recording(tools, &made)?;
        vm.power_on()?;
        vm.wait_boot_complete(BOOT)?;
        // Jobs that boot left over would run again in every scenario.
        vm.exec("systemctl is-system-running --wait; sync")?;
        vm.logout();
        save(vm.qmp()?, &made.state())?;
        vm.cut_power()?;
        drop(vm);
        fs::rename(partial.keep(), &snapshot.0).map_err(Error::file("creating", &snapshot.0))
    }

    /// The machine whose memory, disk and variables become the snapshot's.
    fn recording(&self, tools: &Arc<dyn Launcher>, made: &Snapshot) -> Result<Vm> {
        let tools_ref = tools.as_ref();
        let key = ssh::make_key(tools_ref, &made.0)?;
        let length = fs::metadata(&self.image).map_or(0, |m| m.len());
        let size = (length < u64::from(self.disk_gib) << 30).then_some(self.disk_gib);
        let format = disk::format_of(&self.image)?;
        disk::overlay(tools_ref, &self.image, format, &made.disk(), size)?;
        disk::copy(
            tools_ref,
            FIRMWARE_VARS.as_ref(),
            Format::Raw,
            &made.vars(),
            None,
        )?;
        let dir = RunDir::new()?;
        let disk = disk_file(made.disk(), Format::Qcow2, Flush::Ignored);
        let plain = Self {
            forwards: Vec::new(),
            group: None,
            extra_disks: Vec::new(),
            tpm: None,
            ..self.clone()
        };
        let mut machine = plain.machine(dir.path(), &key, disk, made.vars())?;
        machine.memory = Memory::Recorded(made.memory());
        let results = Some(made.0.clone());
        Vm::new(
            Arc::clone(tools),
            machine,
            Files { dir, key, results },
            None,
        )
    }

    fn restored_disk(
        &self,
        tools: &dyn Launcher,
        snapshot: &Snapshot,
        dir: &Path,
    ) -> Result<DiskFile> {
        match &self.storage {
            Storage::Overlay => {
                let path = dir.join("disk.qcow2");
                disk::overlay(tools, &snapshot.disk(), Format::Qcow2, &path, None)?;
                Ok(disk_file(path, Format::Qcow2, Flush::Ignored))
            }
            Storage::Kept(path) => {
                // The guest's memory knows no other disk.
                disk::flatten(tools, &snapshot.disk(), path)?;
                let path = std::path::absolute(path).map_err(Error::file("finding", path))?;
                Ok(disk_file(path, Format::Raw, Flush::Host))
            }
        }
    }

    fn restore(&self, tools: Arc<dyn Launcher>, snapshot: &Snapshot) -> Result<Vm> {
        let tools_ref = tools.as_ref();
        let dir = RunDir::new()?;
        let disk = self.restored_disk(tools_ref, snapshot, dir.path())?;
        let vars = dir.path().join("vars.qcow2");
        copy_file(tools_ref, &snapshot.vars(), &vars)?;
        let key = snapshot.key();
        let plain = Self {
            group: None,
            extra_disks: Vec::new(),
            tpm: None,
            ..self.clone()
        };
        let mut machine = plain.machine(dir.path(), &key, disk, vars)?;
        machine.memory = Memory::Template(snapshot.memory());
        machine.start = Start::Incoming;
        let results = self.results.clone();
        let mut vm = Vm::new(tools, machine, Files { dir, key, results }, None)?;
        vm.power_on()?;
        load(vm.qmp()?, &snapshot.state())?;
        // From here on it is an ordinary machine: after a power cut it boots.
        vm.forget_snapshot();
        vm.set_clock()?;
        Ok(vm)
    }
}

fn save(qmp: &Qmp, state: &Path) -> Result<()> {
    qmp.execute("stop", Value::Null)?;
    capabilities(qmp)?;
    qmp.execute("migrate", json!({ "uri": uri(state) }))?;
    completed(qmp, "saving the machine's state")
}

fn load(qmp: &Qmp, state: &Path) -> Result<()> {
    capabilities(qmp)?;
    qmp.execute("migrate-incoming", json!({ "uri": uri(state) }))?;
    completed(qmp, "loading the machine's state")?;
    qmp.execute("cont", Value::Null).map(drop)
}

/// The memory is in its file already; the stream leaves it out.
fn capabilities(qmp: &Qmp) -> Result<()> {
    let on = |name: &str| json!({ "capability": name, "state": true });
    let list = json!({ "capabilities": [on("events"), on("x-ignore-shared")] });
    qmp.execute("migrate-set-capabilities", list).map(drop)
}

fn completed(qmp: &Qmp, waiting: &str) -> Result<()> {
    let deadline = Deadline::after(MOVE);
    for count in 1.. {
        if !qmp.wait_count("MIGRATION", count, deadline) {
            break;
        }
        let mut events = qmp.events();
        events.retain(|event| event.name == "MIGRATION");
        let Some(event) = events.get(count - 1) else {
            break;
        };
        match event.data["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let status = qmp.execute("query-migrate", Value::Null)?;
                return Err(Error::Qmp {
                    command: waiting.to_string(),
                    reason: status["error-desc"]
                        .as_str()
                        .unwrap_or("failed")
                        .to_string(),
                });
            }
            _ => {}
        }
    }
    Err(Error::Deadline {
        waiting: waiting.to_string(),
        limit: deadline.limit(),
        console: String::new(),
    })
}

fn uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Removes what was made from an older state of the image, and what a killed
/// process left. The caller holds the exclusive lock.
fn remove_superseded(parent: &Path, name: &str) -> Result<()> {
    let entries = fs::read_dir(parent).map_err(Error::file("reading", parent))?;
    for entry in entries.flatten() {
        let old = entry.file_name();
        if superseded(&old.to_string_lossy(), name) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::file("removing", &path))?;
        }
    }
    Ok(())
}

/// Whether a directory is of no use next to the snapshot `new`.
fn superseded(old: &str, new: &str) -> bool {
    let parts = |name: &str| {
        let mut parts = name.splitn(3, '-').map(str::to_string);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    match (parts(old), parts(new)) {
        _ if old.starts_with("partial-") => true,
        (Some((image, content, _)), Some(new)) => image == new.0 && content != new.1,
        _ => false,
    }
}

fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::Host;

    #[test]
    fn a_snapshot_belongs_to_image_config_and_machine() {
        let dir = tempfile::tempdir().unwrap();
        let [image, config] = ["image", "config"].map(|name| dir.path().join(name));
        fs::write(&image, "1").unwrap();
        fs::write(&config, "{}").unwrap();
        let setup = Setup::new(&image);
        let name = |setup: &Setup| setup.snapshot_name(&Host).unwrap();
        let first = name(&setup);
        assert_eq!(first, name(&setup.clone()));
        assert_ne!(first, name(&setup.clone().cpus(1)));
        assert_ne!(first, name(&setup.clone().memory_mib(1024)));
        let configured = setup.clone().ignition(&config);
        let with_config = name(&configured);
        assert_ne!(first, with_config);
        fs::write(&config, "{ }").unwrap();
        assert_ne!(with_config, name(&configured));
        fs::write(&image, "12").unwrap();
        let second = name(&setup);
        assert!(superseded(&first, &second));
        assert!(superseded(&with_config, &second));
        assert!(!superseded(&second, &name(&setup.cpus(1))));
        assert!(superseded("partial-x1y2", &second));
        assert!(!superseded("lock", &second));
    }
}
