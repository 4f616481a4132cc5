//! The releases under test, and disks of hosts that run the first one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bootloader::Slot;
use bootloader::gpt::Guid;
use bootloader::uki::Uki;
use image::BuildOptions;
use image::keys::{self, KeyStore};
use image::tools::Tools;
use qemu::{Setup, Storage};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::context::{BOOT, MEMORY_MIB, STEP};
use crate::disk::Disk;

/// Version of the second release.
pub const TRIAL_VERSION: &str = "0.2.0";
/// Version of a release whose sshd cannot start.
pub const BROKEN_VERSION: &str = "0.3.0";
/// Version of the release that mends it, with much that the others do not have.
pub const LATER_VERSION: &str = "0.4.0";
/// Version of the release under test.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Size of the disks in GiB.
pub const DISK_GIB: u64 = 4;

/// What all scenarios share.
#[derive(Clone)]
pub struct Prepared {
    /// The tools tree.
    pub tools: Arc<Tools>,
    /// CPUs of each machine.
    pub cpus: u32,
    images: PathBuf,
}

impl Prepared {
    /// Disk image of the release under test.
    pub fn disk_image(&self) -> PathBuf {
        self.images.join(VERSION).join("disk.img")
    }

    /// Disk image of a host that has booted the release under test once, without a config.
    pub fn lived_image(&self) -> PathBuf {
        self.images.join("lived.img")
    }

    /// Disk image of such a host with the second release armed in slot b, one try.
    pub fn trial_image(&self) -> PathBuf {
        self.images.join("trial.img")
    }

    /// The keys that sign what hosts of these releases trust; made for tests.
    pub fn keys(&self) -> PathBuf {
        self.images.join("keys")
    }

    /// Directory of a release.
    pub fn release(&self, version: &str) -> PathBuf {
        self.images.join(version)
    }

    /// A file of the second release.
    pub fn trial_file(&self, name: &str) -> PathBuf {
        self.release(TRIAL_VERSION).join(name)
    }
}

/// Builds what is missing of the releases in `images`. Disks of scenarios will
/// be in `results`.
pub fn prepare(images: &Path, results: &Path, build: bool) -> Result<Prepared> {
    if build {
        let keys = images.join("keys");
        let store = match keys.exists() {
            true => KeyStore::open(&keys, &[])?,
            false => keys::create(&keys, &[], keys::ROOT_DAYS)?,
        };
        let (broken, large) = (broken_sshd()?, large()?);
        for version in [VERSION, TRIAL_VERSION, BROKEN_VERSION, LATER_VERSION] {
            let options = BuildOptions {
                version: version.to_string(),
                out: Some(images.join(version)),
                root: Some(store.newest().path.clone()),
                overlay: match version {
                    BROKEN_VERSION => Some(broken.path().to_path_buf()),
                    LATER_VERSION => Some(large.path().to_path_buf()),
                    _ => None,
                },
                ..BuildOptions::default()
            };
            image::build(&options).with_context(|| format!("building release {version}"))?;
        }
    }
    let prepared = Prepared {
        tools: Arc::new(Tools::ensure()?.bind(images).bind(results)),
        cpus: 2,
        images: images.to_path_buf(),
    };
    let (release, trial) = (prepared.disk_image(), prepared.trial_file("release.json"));
    let (lived, armed) = (prepared.lived_image(), prepared.trial_image());
    derive(&lived, &[&release], |partial| {
        println!("e2e: booting the release under test once");
        live(
            &prepared,
            &Disk::copy(&release, partial, DISK_GIB)?,
            results,
        )
    })?;
    derive(&armed, &[&lived, &trial], |partial| {
        let disk = Disk::copy(&lived, partial, DISK_GIB)?;
        write_slot_b(&disk, &prepared.release(TRIAL_VERSION))
    })?;
    Ok(prepared)
}

/// What makes the broken release of a good one.
fn broken_sshd() -> Result<TempDir> {
    let overlay = tempfile::tempdir().context("making an overlay")?;
    let sshd = overlay.path().join("usr/sbin/sshd");
    fs::create_dir_all(overlay.path().join("usr/sbin"))?;
    fs::write(
        &sshd,
        "#!/bin/sh\necho 'sshd: this build is broken' >&2\nexit 1\n",
    )?;
    fs::set_permissions(&sshd, Permissions::from_mode(0o755))?;
    Ok(overlay)
}

/// Bytes that a release has and the one before has not, so that fetching takes a while.
const LARGE: usize = 64 << 20;

/// Such bytes, always the same.
fn large() -> Result<TempDir> {
    let overlay = tempfile::tempdir().context("making an overlay")?;
    let dir = overlay.path().join("usr/share/e2e");
    fs::create_dir_all(&dir)?;
    let mut bytes = Vec::with_capacity(LARGE);
    for number in 0_u64.. {
        if bytes.len() == LARGE {
            break;
        }
        bytes.extend(Sha256::digest(number.to_le_bytes()));
    }
    fs::write(dir.join("large"), bytes)?;
    Ok(overlay)
}

/// Makes `image` by `make`, which gets another path, unless it is newer than all that it
/// is made of: snapshots belong to one state of an image.
fn derive(image: &Path, parts: &[&Path], make: impl FnOnce(PathBuf) -> Result<()>) -> Result<()> {
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    if let Ok(made) = changed(image) {
        let older = |part: &&Path| changed(part).is_ok_and(|time| time < made);
        if parts.iter().all(older) {
            return Ok(());
        }
    }
    let partial = image.with_extension("partial");
    make(partial.clone()).with_context(|| format!("making {}", image.display()))?;
    fs::rename(&partial, image).with_context(|| format!("creating {}", image.display()))
}

/// Boots the host on `disk` for the first time, and shuts it down. Console and journal
/// are kept in `results/first-boot`.
fn live(prepared: &Prepared, disk: &Disk, results: &Path) -> Result<()> {
    let kept = results.join("first-boot");
    image::tools::remove_tree(&kept)?;
    fs::create_dir_all(&kept).with_context(|| format!("creating {}", kept.display()))?;
    let storage = Storage::Kept(disk.path().to_path_buf());
    let setup = Setup::new(disk.path())
        .cpus(prepared.cpus)
        .memory_mib(MEMORY_MIB)
        .results(&kept)
        .storage(storage);
    let tools = Arc::clone(&prepared.tools);
    let mut vm = setup.boot(tools)?;
    vm.wait_boot_complete(BOOT)?;
    // What runs once in the life of a host has run.
    vm.exec("systemctl is-system-running --wait")?;
    vm.shutdown(STEP)?;
    Ok(())
}

/// Writes `release` into slot b, which an update would leave like this, and
/// makes it the next one tried.
fn write_slot_b(disk: &Disk, release: &Path) -> Result<()> {
    let uki = release.join("boot.efi");
    disk.write_file("boot-b", &uki)?;
    disk.write_file("usr-b", &release.join("usr.img"))?;
    disk.write_file("usr-b-verity", &release.join("usr.verity"))?;
    let [usr, verity] = verity_guids(&release.join("release.json"))?;
    let uki = fs::read(&uki).with_context(|| format!("reading {}", uki.display()))?;
    let boot = Uki::parse(&uki)?.fingerprint();
    disk.edit_table(|gpt| {
        let guids = [("boot-b", boot), ("usr-b", usr), ("usr-b-verity", verity)];
        for (label, guid) in guids {
            let found = gpt.partitions().find(|p| p.name == label);
            let number = found
                .with_context(|| format!("no partition {label}"))?
                .number;
            gpt.set_guid(number, guid)?;
        }
        Ok(())
    })?;
    disk.edit_slots(|slots| slots.arm(Slot::B, 1))
}

/// The release in a slot, by the names of its partitions. Fails unless the slot holds
/// all of it.
pub fn slot_holds(prepared: &Prepared, disk: &Disk, slot: Slot) -> Result<&'static str> {
    let usr = disk.partition(&format!("usr-{slot}"))?;
    for version in [VERSION, TRIAL_VERSION, BROKEN_VERSION, LATER_VERSION] {
        let dir = prepared.release(version);
        if verity_guids(&dir.join("release.json"))?[0] != usr.guid {
            continue;
        }
        for (image, label) in [
            ("boot.efi", format!("boot-{slot}")),
            ("usr.img", format!("usr-{slot}")),
            ("usr.verity", format!("usr-{slot}-verity")),
        ] {
            let path = dir.join(image);
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let mut found = vec![0; bytes.len()];
            disk.read(&label, 0, &mut found)?;
            ensure!(found == bytes, "{label} does not hold all of {version}");
        }
        return Ok(version);
    }
    bail!(
        "usr-{slot} has the GUID {}, which is no release's",
        usr.guid
    )
}

/// GUIDs of `/usr` and its verity tree: the halves of the root hash
/// (Discoverable Partitions Specification).
fn verity_guids(descriptor: &Path) -> Result<[Guid; 2]> {
    let text = fs::read_to_string(descriptor)
        .with_context(|| format!("reading {}", descriptor.display()))?;
    let release: Value = serde_json::from_str(&text)
        .with_context(|| format!("understanding {}", descriptor.display()))?;
    let root = release["verity"]["root"].as_str().unwrap_or_default();
    ensure!(
        root.len() == 64 && root.is_ascii(),
        "{} has no verity root",
        descriptor.display()
    );
    Ok([guid(&root[..32])?, guid(&root[32..])?])
}

/// The GUID whose text form has these 32 hexadecimal digits.
fn guid(digits: &str) -> Result<Guid> {
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    let text = parts.join("-");
    Guid::try_parse(&text).map_err(|error| anyhow::anyhow!("{text} is not a GUID: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_the_halves_of_the_root_hash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let root = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
        fs::write(
            file.path(),
            format!(r#"{{"verity": {{"root": "{root}"}}}}"#),
        )
        .unwrap();
        let [usr, verity] = verity_guids(file.path()).unwrap();
        assert_eq!(usr.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(verity.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
        fs::write(file.path(), "{}").unwrap();
        assert!(verity_guids(file.path()).is_err());
    }
}
