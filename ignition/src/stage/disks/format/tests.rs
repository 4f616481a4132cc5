use super::*;
use crate::provider::System;
use crate::stage::Settings;
use crate::stage::disks::Purpose;
use crate::stage::disks::kernel::Kernel;
use crate::state::State;
use bootloader::gpt::{Geometry, guid};
use serde_json::{Value, json};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

/// A root directory, and a disk image of 64 MiB.
struct Host {
    directory: tempfile::TempDir,
    image: tempfile::NamedTempFile,
}

impl Host {
    fn new() -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self { directory, image }
    }

    fn root(&self) -> Root {
        Root::open(self.directory.path()).unwrap()
    }

    fn run(&self, filesystem: Value) -> Result<(), DisksError> {
        let mut filesystem = filesystem;
        filesystem["device"] = json!(self.image.path());
        let state = State::default();
        let context = Context {
            kernel: Kernel::default(),
            state: &state,
            purpose: Purpose::Write,
        };
        let filesystem = serde_json::from_value(filesystem).unwrap();
        format(&context, &self.root(), &[filesystem], &mut Claims::new())
    }

    fn probe(&self) -> Probe {
        probe::probe(self.image.path()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.image.path()).unwrap()
    }

    /// As after a cut while a file system was made.
    fn note_begun(&self) {
        let device = Kernel::default().device(self.image.path()).unwrap();
        let state = State::default();
        let context = Context {
            kernel: Kernel::default(),
            state: &state,
            purpose: Purpose::Write,
        };
        let at = context.subject("k".to_owned(), "/n");
        let identity = identity(&at, &device, &Probe::default()).unwrap();
        let mut journal = Journal::open(&self.root()).unwrap();
        journal.note(&self.root(), &identity, Step::Begun).unwrap();
    }
}

fn are_here(programs: &[&str]) -> bool {
    let absent = programs
        .iter()
        .find(|program| Command::new(program).arg("-V").output().is_err());
    if let Some(program) = absent {
        eprintln!("skipped: this machine has no {program}");
    }
    absent.is_none()
}

#[test]
fn file_systems_are_made_once_and_kept() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4"]) {
        return;
    }
    let host = Host::new();
    let uuid = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
    let ext4 = json!({"format": "ext4", "label": "my data", "uuid": uuid.to_uppercase(),
        "options": ["-m", "0"]});
    host.run(ext4.clone()).unwrap();
    let found = host.probe();
    assert_eq!(found.kind.as_deref(), Some("ext4"));
    assert_eq!(found.label.as_deref(), Some("my data"));
    assert_eq!(found.uuid.as_deref(), Some(uuid));
    let bytes = host.bytes();
    host.run(ext4.clone()).unwrap();
    host.run(json!({"format": "ext4"})).unwrap();
    host.run(json!({})).unwrap();
    // Wiping was done by the first attempt of this first boot.
    let mut wiping = ext4;
    wiping["wipeFilesystem"] = json!(true);
    host.run(wiping).unwrap();
    assert!(host.bytes() == bytes, "what was as wanted was changed");
}

#[test]
fn what_is_there_is_named_and_stays_unless_it_may_be_wiped() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4", "mkswap"]) {
        return;
    }
    let host = Host::new();
    host.run(json!({"format": "swap", "label": "old"})).unwrap();
    let bytes = host.bytes();
    let error = host.run(json!({"format": "ext4"})).unwrap_err();
    let message = error.to_string();
    let device = host.image.path().display();
    let expected = format!("key storage.filesystems.0: {device} holds swap, label \"old\", UUID ");
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.ends_with("wants ext4; set wipeFilesystem if it may be destroyed"));
    assert!(error.is_final());
    assert!(host.run(json!({"format": "none"})).is_err());
    assert!(host.bytes() == bytes, "a refusal changed the device");
    host.run(json!({"format": "ext4", "wipeFilesystem": true}))
        .unwrap();
    assert_eq!(host.probe().kind.as_deref(), Some("ext4"));
    host.run(json!({"format": "none", "wipeFilesystem": true}))
        .unwrap();
    assert_eq!(host.probe().describe(), None);
    host.run(json!({"format": "none"})).unwrap();
}

#[test]
fn a_half_made_file_system_is_made_again() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4"]) {
        return;
    }
    let host = Host::new();
    host.run(json!({"format": "ext4", "label": "a"})).unwrap();
    // The superblock is there, and the group descriptors after it are not.
    let zeros = vec![0; 1 << 20];
    host.image.as_file().write_all_at(&zeros, 4096).unwrap();
    let damaged = host.bytes();
    host.run(json!({"format": "ext4", "label": "a"})).unwrap();
    assert!(host.bytes() == damaged, "what seems right is kept");
    host.note_begun();
    host.run(json!({"format": "ext4", "label": "a"})).unwrap();
    assert!(host.bytes()[4096..] != damaged[4096..]);
    let checked = Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(host.image.path())
        .output();
    if let Ok(checked) = checked {
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn a_program_that_fails_says_what_it_says() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4"]) {
        return;
    }
    let host = Host::new();
    let error = host
        .run(json!({"format": "ext4", "options": ["-E", "nonsense"]}))
        .unwrap_err();
    assert!(error.is_final());
    let message = format!("{:#}", anyhow::Error::from(error));
    assert!(message.contains("mkfs.ext4 failed"), "{message}");
    assert!(message.contains("nonsense"), "{message}");
    // The next attempt, with a config that was mended.
    host.run(json!({"format": "ext4"})).unwrap();
}

#[test]
fn all_file_systems_are_decided_before_one_is_made() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4", "mkswap"]) {
        return;
    }
    let (first, second) = (Host::new(), Host::new());
    second.run(json!({"format": "swap"})).unwrap();
    let before = (first.bytes(), second.bytes());
    let root = first.root();
    let state = State::default();
    let context = Context {
        kernel: Kernel::default(),
        state: &state,
        purpose: Purpose::Write,
    };
    let ext4 = |host: &Host| -> Filesystem {
        let value = json!({"device": host.image.path(), "format": "ext4"});
        serde_json::from_value(value).unwrap()
    };
    for (other, words) in [
        (&second, "key storage.filesystems.1: "),
        (&first, "is the device of storage.filesystems.0 too"),
    ] {
        let both = [ext4(&first), ext4(other)];
        let error = format(&context, &root, &both, &mut Claims::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            (first.bytes(), second.bytes()) == before,
            "something was written"
        );
        assert!(root.entry("/etc/.ignition").unwrap().is_none());
    }
}

#[test]
fn what_is_in_the_way_of_a_file_system_is_seen_before_a_table_is_written() {
    if !are_here(&["blkid", "wipefs", "mkfs.ext4", "mkswap"]) {
        return;
    }
    let (disk, other) = (Host::new(), Host::new());
    other.run(json!({"format": "swap"})).unwrap();
    let before = disk.bytes();
    let config = |format: &str| {
        serde_json::from_value(json!({
            "ignition": {"version": "3.6.0"},
            "storage": {
                "disks": [{"device": disk.image.path(), "partitions": [{"label": "a"}]}],
                "filesystems": [
                    {"device": "/dev/disk/by-partlabel/absent", "format": ""},
                    {"device": other.image.path(), "format": format}]
            }
        }))
        .unwrap()
    };
    let state = State::default();
    let settings = Settings {
        platform: "metal".to_owned(),
        root: disk.directory.path().to_owned(),
        config_cache: disk.directory.path().join("config.json"),
        need_network: disk.directory.path().join("neednet"),
        state_file: disk.directory.path().join("state"),
        fetch_timeout: std::time::Duration::ZERO,
        cmdline: "/proc/cmdline".into(),
        system: System::default(),
        keys_file: crate::stage::files::KeysFile::default(),
        accepts: crate::config::Accepts::Stable,
    };
    let run = |format| super::super::run(&settings, &config(format), &state);
    let message = run("ext4").unwrap_err().to_string();
    assert!(message.contains("key storage.filesystems.1"), "{message}");
    assert!(disk.bytes() == before, "a table was written");
    run("swap").unwrap();
    assert!(disk.bytes() != before);
}

/// A disk with a system that runs from partition 4: its table below `dev`, and what
/// sysfs has of it.
fn running(sys: &Path, dev: &Path) {
    let usr = guid!("8484680c-9521-48c6-9c11-b0720656f69e");
    let data = guid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    let geometry = Geometry {
        block_size: 512,
        block_count: 64 << 11,
    };
    let mut gpt = Gpt::new(geometry, usr, 128).unwrap();
    for (number, type_guid, name) in [(4, usr, "usr-a"), (7, usr, "usr-b"), (9, data, "data")] {
        let part = sys.join(format!("vda/vda{number}"));
        std::fs::create_dir_all(part.join("holders")).unwrap();
        std::fs::write(part.join("partition"), format!("{number}\n")).unwrap();
        std::fs::write(part.join("dev"), format!("254:{number}\n")).unwrap();
        let first_lba = u64::from(number) * 2048;
        let partition = Partition {
            number,
            type_guid,
            guid: type_guid,
            first_lba,
            last_lba: first_lba + 2047,
            attributes: 0,
            name: name.to_owned(),
        };
        gpt.set_partition(&partition).unwrap();
    }
    std::fs::create_dir(sys.join("vda/vda4/holders/dm-0")).unwrap();
    std::fs::create_dir(sys.join("vda/queue")).unwrap();
    std::fs::write(sys.join("vda/queue/logical_block_size"), "512\n").unwrap();
    std::fs::create_dir(dev).unwrap();
    let image = std::fs::File::create(dev.join("vda")).unwrap();
    image.set_len(64 << 20).unwrap();
    let mut io = FileDisk::open(&dev.join("vda"), 512).unwrap();
    gpt.format(&mut io).unwrap();
}

#[test]
fn what_belongs_to_the_running_system_is_not_formatted() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = Kernel {
        sys: directory.path().join("sys"),
        dev: directory.path().join("dev"),
        mountinfo: directory.path().join("mountinfo"),
    };
    running(&kernel.sys, &kernel.dev);
    std::fs::write(&kernel.mountinfo, "").unwrap();
    let state = State::default();
    let context = Context {
        kernel,
        state: &state,
        purpose: Purpose::Write,
    };
    let at = context.subject("k".to_owned(), "/n");
    for (number, expected) in [
        (4, Some("it is in use by dm-0")),
        (7, Some("\"usr-b\" belongs to the running system")),
        (9, None),
    ] {
        let name = format!("vda{number}");
        let device = Device::Block {
            path: context.kernel.dev.join(&name),
            sys: context.kernel.sys.join("vda").join(&name),
        };
        let found = user(&context, &at, &device).unwrap();
        assert_eq!(found.as_deref(), expected);
    }
}

#[test]
fn devices_are_known_by_where_they_are_plugged_in() {
    for (sys, expected) in [
        (
            "/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vdb",
            "/sys/devices/pci0000:00/0000:00:05.0/virtio2/block",
        ),
        (
            "/sys/devices/pci0000:00/nvme/nvme0/nvme0n2",
            "/sys/devices/pci0000:00/nvme/nvme0/nvme0n2",
        ),
        (
            "/sys/devices/virtual/block/dm-1",
            "/sys/devices/virtual/block/dm-1",
        ),
    ] {
        let device = Device::Block {
            path: "/dev/x".into(),
            sys: sys.into(),
        };
        assert_eq!(plug(&device), Path::new(expected));
    }
}
