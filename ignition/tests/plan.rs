//! `ignition plan --disk`: what is said about disks before anything happens to them.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use bootloader::block::FileDisk;
use bootloader::gpt::{Geometry, Gpt, Guid, Partition, guid};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const DATA: Guid = guid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
const UUID: [u8; 16] = [0x11; 16];

/// A directory with `disk.img`: 100 MiB with partitions of 10 MiB, or what a test makes of it.
struct Laptop(tempfile::TempDir);

impl Laptop {
    /// With an image of zeros.
    fn new() -> Self {
        let laptop = Self(tempfile::tempdir().unwrap());
        laptop.image().set_len(100 * MIB).unwrap();
        laptop
    }

    /// With partitions at 1, 31 and 61 MiB: ext4 `data`, swap, nothing.
    fn partitioned() -> Self {
        let laptop = Self::new();
        let partition = |number: u32, name: &str| (number, DATA, name.to_owned());
        laptop.table(&[
            partition(1, "one"),
            partition(2, "two"),
            partition(3, "three"),
        ]);
        laptop.write(MIB, &ext4("data"));
        laptop.write(31 * MIB, &swap());
        laptop
    }

    fn image(&self) -> fs::File {
        let mut options = fs::File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        options.open(self.0.path().join("disk.img")).unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.image().write_all_at(bytes, offset).unwrap();
    }

    fn table(&self, partitions: &[(u32, Guid, String)]) {
        let geometry = Geometry {
            block_size: 512,
            block_count: 100 * MIB / 512,
        };
        let mut gpt = Gpt::new(geometry, Guid::from_bytes([9; 16]), 128).unwrap();
        for (number, type_guid, name) in partitions {
            let first_lba = (1 + 30 * (u64::from(*number) - 1)) * 2048;
            gpt.set_partition(&Partition {
                number: *number,
                type_guid: *type_guid,
                guid: Guid::from_bytes([u8::try_from(*number).unwrap(); 16]),
                first_lba,
                last_lba: first_lba + 10 * 2048 - 1,
                attributes: 0,
                name: name.clone(),
            })
            .unwrap();
        }
        let mut disk = FileDisk::open(&self.0.path().join("disk.img"), 512).unwrap();
        gpt.format(&mut disk).unwrap();
        bootloader::gpt::protect(&mut disk).unwrap();
    }

    /// Exit status, standard output, standard error of a plan for `storage`. Nothing is left
    /// in the directory.
    fn plan(&self, storage: &Value, options: &[&str]) -> (i32, String, String) {
        let config = json!({"ignition": {"version": "3.6.0"}, "storage": storage});
        let mut child = Command::new(env!("CARGO_BIN_EXE_ignition"))
            .args(["plan", "--config", "-"])
            .args(options)
            .current_dir(self.0.path())
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // A program that refuses its options may be gone before it reads.
        let _ = input.write_all(config.to_string().as_bytes());
        drop(input);
        let output = child.wait_with_output().unwrap();
        let files = fs::read_dir(self.0.path()).unwrap().count();
        assert_eq!(files, 1, "planning left something behind");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    /// All that is said about `storage` with the image as `/dev/vdb`, which stays as it is.
    #[track_caller]
    fn says(&self, storage: Value, code: i32, expected: &str) {
        let bytes = || fs::read(self.0.path().join("disk.img")).unwrap();
        let before = bytes();
        let found = self.plan(&storage, &["--disk", "/dev/vdb=disk.img"]);
        assert!(bytes() == before, "planning changed the image");
        assert_eq!((found.0, found.2.as_str()), (code, ""), "{}", found.1);
        assert_eq!(found.1, expected);
    }
}

/// The start of an ext4 file system.
fn ext4(label: &str) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put =
        |at: usize, value: &[u8]| bytes[1024 + at..][..value.len()].copy_from_slice(value);
    put(0, &64_u32.to_le_bytes());
    put(4, &2560_u32.to_le_bytes());
    put(0x18, &2_u32.to_le_bytes());
    put(0x38, &0xef53_u16.to_le_bytes());
    put(0x4c, &1_u32.to_le_bytes());
    put(0x5c, &4_u32.to_le_bytes());
    put(0x60, &0x40_u32.to_le_bytes());
    put(0x68, &UUID);
    put(0x78, label.as_bytes());
    bytes
}

/// The start of a swap space.
fn swap() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
    put(1024, &1_u32.to_le_bytes());
    put(1028, &2559_u32.to_le_bytes());
    put(1036, &UUID);
    put(4086, b"SWAPSPACE2");
    bytes
}

/// The first header of an encrypted volume.
fn luks(label: &str) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
    put(0, b"LUKS\xba\xbe");
    put(6, &2_u16.to_be_bytes());
    put(8, &0x4000_u64.to_be_bytes());
    put(24, label.as_bytes());
    put(168, b"11111111-1111-1111-1111-111111111111");
    bytes
}

/// The superblock of a member of the mirror `name`, as it is 4096 bytes into it.
fn member(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(16, &UUID);
    put(32, format!("any:{name}").as_bytes());
    put(72, &1_u32.to_le_bytes());
    put(92, &2_u32.to_le_bytes());
    put(144, &8_u64.to_le_bytes());
    bytes
}

#[test]
fn an_empty_disk_is_planned_whole() {
    let storage = json!({
        "disks": [{"device": "/dev/vdb", "partitions": [
            {"label": "safe", "sizeMiB": 100}, {"label": "rest"}]}],
        "luks": [{"name": "safe", "device": "/dev/disk/by-partlabel/safe",
            "keyFile": {"source": "data:,k"}}],
        "filesystems": [
            {"device": "/dev/mapper/safe", "format": "ext4", "path": "/var/lib/safe"},
            {"device": "/dev/vdb2", "format": "xfs", "label": "rest"}],
    });
    let (code, out, err) = Laptop::new().plan(&storage, &["--disk", "1GiB"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "\
/dev/vdb is an empty disk of 1024 MiB
disks
   1. make partition table /dev/vdb
   2. make partition 1 of /dev/vdb: label \"safe\", 100 MiB from 1 MiB on
   3. make partition 2 of /dev/vdb: label \"rest\", 922.98 MiB from 101 MiB on
   4. encrypt /dev/disk/by-partlabel/safe: opened as /dev/mapper/safe, its key: 1 bytes, \
nothing is there
   5. format /dev/mapper/safe: ext4, nothing is there, at /var/lib/safe while files are written
   6. format /dev/vdb2: xfs, nothing is there
files
   7. write /etc/.ignition-result.json: the record: after it, the machine is never provisioned again
";
    assert_eq!(out, expected);
}

#[test]
fn what_becomes_of_every_partition_is_said() {
    Laptop::partitioned().says(
        json!({
            "disks": [{"device": "/dev/vdb", "partitions": [
                {"number": 1, "sizeMiB": 20, "resize": true, "label": "one"},
                {"number": 2, "shouldExist": false, "wipePartitionEntry": true},
                {"number": 4, "label": "four", "sizeMiB": 8, "startMiB": 45}]}],
            "filesystems": [
                {"device": "/dev/vdb1", "format": "ext4", "label": "data"},
                {"device": "/dev/disk/by-partlabel/four", "format": "btrfs"},
                {"device": "/dev/vdb3", "format": "swap"}],
        }),
        0,
        "\
/dev/vdb is disk.img, 100 MiB, has partitions
   1: label \"one\", 10 MiB from 1 MiB on, holds ext4, label \"data\", UUID \
\"11111111-1111-1111-1111-111111111111\"
   2: label \"two\", 10 MiB from 31 MiB on, holds swap, UUID \"11111111-1111-1111-1111-111111111111\"
   3: label \"three\", 10 MiB from 61 MiB on, holds nothing that is known
disks
   1. resize partition 1 of /dev/vdb: label \"one\", 10 MiB from 1 MiB on, then 20 MiB from 1 MiB on
   2. remove partition 2 of /dev/vdb: label \"two\", 10 MiB from 31 MiB on, what it holds is \
lost: swap, UUID \"11111111-1111-1111-1111-111111111111\" [destroys]
   3. keep partition 3 of /dev/vdb: label \"three\", 10 MiB from 61 MiB on
   4. make partition 4 of /dev/vdb: label \"four\", 8 MiB from 45 MiB on
   5. keep file system /dev/vdb1: it is there as wanted: ext4, label \"data\", UUID \
\"11111111-1111-1111-1111-111111111111\"
   6. format /dev/disk/by-partlabel/four: btrfs, nothing is there
   7. format /dev/vdb3: swap, nothing is there
files
   8. write /etc/.ignition-result.json: the record: after it, the machine is never provisioned again
",
    );
}

#[test]
fn what_wiping_destroys_is_named() {
    Laptop::partitioned().says(
        json!({
            "disks": [{"device": "/dev/vdb", "wipeTable": true, "partitions": [
                {"label": "new", "startMiB": 31, "sizeMiB": 10, "number": 1}]}],
            "filesystems": [{"device": "/dev/vdb1", "format": "ext4", "wipeFilesystem": true}],
        }),
        0,
        "\
/dev/vdb is disk.img, 100 MiB, has partitions
   1: label \"one\", 10 MiB from 1 MiB on, holds ext4, label \"data\", UUID \
\"11111111-1111-1111-1111-111111111111\"
   2: label \"two\", 10 MiB from 31 MiB on, holds swap, UUID \"11111111-1111-1111-1111-111111111111\"
   3: label \"three\", 10 MiB from 61 MiB on, holds nothing that is known
disks
   1. make partition table /dev/vdb: what is there is lost: a partition table (gpt) [destroys]
   2. remove partition 1 of /dev/vdb: label \"one\", 10 MiB from 1 MiB on, what it holds is \
lost: ext4, label \"data\", UUID \"11111111-1111-1111-1111-111111111111\" [destroys]
   3. remove partition 2 of /dev/vdb: label \"two\", 10 MiB from 31 MiB on, what it holds is \
lost: swap, UUID \"11111111-1111-1111-1111-111111111111\" [destroys]
   4. remove partition 3 of /dev/vdb: label \"three\", 10 MiB from 61 MiB on, what it holds is \
lost: nothing that is known [destroys]
   5. make partition 1 of /dev/vdb: label \"new\", 10 MiB from 31 MiB on
   6. format /dev/vdb1: ext4, what is there is lost: swap, UUID \
\"11111111-1111-1111-1111-111111111111\" [destroys]
files
   7. write /etc/.ignition-result.json: the record: after it, the machine is never provisioned again
",
    );
}

/// The lines from `disks`, or from what is refused, on.
fn from_steps(text: &str) -> &str {
    let start = ["\ndisks\n", "\nrefused; "]
        .iter()
        .filter_map(|m| text.find(m));
    &text[start.min().unwrap() + 1..]
}

#[test]
fn all_that_is_in_the_way_is_said_and_nothing_happens_before() {
    let laptop = Laptop::partitioned();
    let storage = json!({
        "disks": [{"device": "/dev/vdb", "partitions": [{"number": 4, "label": "four"}]}],
        "filesystems": [
            {"device": "/dev/vdb1", "format": "ext4", "label": "other"},
            {"device": "/dev/disk/by-partlabel/two", "format": "xfs"},
            {"device": "/dev/vdb3", "format": "xfs"}],
    });
    let (code, out, _) = laptop.plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(code, 1);
    let expected = "refused; the machine stops here
  key storage.filesystems.0: /dev/vdb1 holds ext4, label \"data\", UUID \
\"11111111-1111-1111-1111-111111111111\", and the config wants ext4, label \"other\"; \
set wipeFilesystem if it may be destroyed
  key storage.filesystems.1: /dev/disk/by-partlabel/two holds swap, UUID \
\"11111111-1111-1111-1111-111111111111\", and the config wants xfs; \
set wipeFilesystem if it may be destroyed
";
    assert_eq!(from_steps(&out), expected);
    let storage = json!({"disks": [{"device": "/dev/vdb", "partitions": [
        {"number": 1, "sizeMiB": 50}]}]});
    let (code, out, _) = laptop.plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(code, 1);
    let expected = "refused; the machine stops here
  key storage.disks.0.partitions.0: /dev/vdb partition 1: it exists and does not match: its size \
is 10 MiB, not 50 MiB; set resize to change its size, or wipePartitionEntry to replace it
";
    assert_eq!(from_steps(&out), expected);
}

#[test]
fn a_whole_disk_that_is_wiped_is_empty_or_left_to_the_machine() {
    let storage = json!({
        "disks": [{"device": "/dev/vdb", "wipeTable": true}],
        "filesystems": [{"device": "/dev/vdb", "format": "ext4"}],
    });
    let (code, out, _) = Laptop::partitioned().plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(code, 0, "{out}");
    let wiped = "1. wipe partition table /dev/vdb: what is there is lost: a partition table (gpt) \
                 [destroys]";
    let made = "format /dev/vdb: ext4, nothing is there\n";
    assert!(out.contains(wiped) && out.contains(made), "{out}");
    let laptop = Laptop::new();
    laptop.write(0, &swap());
    let (code, out, _) = laptop.plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(code, 0, "{out}");
    let left = "2. format /dev/vdb: ext4, the machine decides whether it is there already \
                (/dev/vdb: what is left of it shows";
    assert!(out.contains(left), "{out}");
}

#[test]
fn what_shows_only_after_partitioning_is_refused_after_it() {
    let storage = json!({
        "disks": [{"device": "/dev/vdb", "partitions": [
            {"number": 2, "wipePartitionEntry": true, "label": "new", "startMiB": 31, "sizeMiB": 20}]}],
        "filesystems": [
            {"device": "/dev/vdb2", "format": "ext4"},
            {"device": "/dev/vdb9", "format": "ext4"}],
    });
    let found = Laptop::partitioned().plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(found.0, 1);
    let expected = "disks
   1. keep partition 1 of /dev/vdb: label \"one\", 10 MiB from 1 MiB on
   2. remove partition 2 of /dev/vdb: label \"two\", 10 MiB from 31 MiB on, what it holds is \
lost: swap, UUID \"11111111-1111-1111-1111-111111111111\" [destroys]
   3. keep partition 3 of /dev/vdb: label \"three\", 10 MiB from 61 MiB on
   4. make partition 2 of /dev/vdb: label \"new\", 20 MiB from 31 MiB on
refused; the machine stops here
  key storage.filesystems.0: /dev/vdb2 holds swap, UUID \"11111111-1111-1111-1111-111111111111\", \
and the config wants ext4; set wipeFilesystem if it may be destroyed
  key storage.filesystems.1: /dev/vdb9 is not there once the partition table is written; give a \
partition that is, or have it made
";
    assert_eq!(from_steps(&found.1), expected);
}

#[test]
fn volumes_are_kept_made_or_refused_by_what_is_there() {
    let laptop = Laptop::partitioned();
    laptop.write(61 * MIB, &luks("safe"));
    let storage = |label: &str, device: &str| {
        json!({
            "luks": [{"name": "safe", "device": device, "label": label,
                "keyFile": {"source": "data:,k"}}],
            "filesystems": [{"device": "/dev/mapper/safe", "format": "ext4"}],
        })
    };
    let given = ["--disk", "/dev/vdb=disk.img"];
    let (code, out, _) = laptop.plan(&storage("safe", "/dev/vdb3"), &given);
    assert_eq!(code, 0);
    let expected = "disks
   1. keep volume /dev/vdb3: it is there as wanted: crypto_LUKS, label \"safe\", UUID \
\"11111111-1111-1111-1111-111111111111\", if the config's key opens it and it allows discards as \
the config says
   2. format /dev/mapper/safe: ext4, the machine decides whether it is there already \
(/dev/mapper/safe: what is in it shows once it is opened)
files
";
    assert!(from_steps(&out).starts_with(expected), "{out}");
    let (code, out, _) = laptop.plan(&storage("other", "/dev/vdb3"), &given);
    assert_eq!(code, 1);
    assert!(
        out.contains("and the config wants the label \"other\"; set wipeVolume"),
        "{out}"
    );
    let (code, out, _) = laptop.plan(&storage("safe", "/dev/vdb1"), &given);
    assert_eq!(code, 1);
    assert!(out.contains("holds ext4, label \"data\""), "{out}");
}

#[test]
fn arrays_are_kept_made_or_refused_by_what_their_members_hold() {
    let laptop = Laptop::partitioned();
    for start in [1, 31] {
        laptop.write(start * MIB, &[0; 8192]);
        laptop.write(start * MIB + 4096, &member("data"));
    }
    let storage = |name: &str, devices: &[&str]| {
        json!({
            "raid": [{"name": name, "level": "raid1", "devices": devices}],
            "filesystems": [{"device": format!("/dev/md/{name}"), "format": "ext4"}],
        })
    };
    let given = ["--disk", "/dev/vdb=disk.img"];
    let (code, out, _) = laptop.plan(&storage("data", &["/dev/vdb1", "/dev/vdb2"]), &given);
    assert_eq!(code, 0, "{out}");
    let expected = "disks
   1. keep array data: it is there as wanted: data, of 2 devices
   2. format /dev/md/data: ext4, the machine decides whether it is there already \
(/dev/md/data: what is in it shows once it is opened)
";
    assert!(from_steps(&out).starts_with(expected), "{out}");
    let (code, out, _) = laptop.plan(&storage("other", &["/dev/vdb1", "/dev/vdb2"]), &given);
    assert_eq!(code, 1);
    let words = "key storage.raid.0: /dev/vdb1 holds a part of the array \"data\" (raid1), and the \
                 config wants it for the array \"other\"";
    assert!(out.contains(words), "{out}");
    let (code, out, _) = laptop.plan(&storage("data", &["/dev/vdb3", "/dev/vdb3"]), &given);
    assert_eq!(code, 1, "{out}");
}

#[test]
fn a_disk_of_the_system_keeps_what_the_machine_runs_from() {
    let boot = guid!("7fd8243d-bc8e-44d6-a810-d6389e3d597b");
    let usr = guid!("8484680c-9521-48c6-9c11-b0720656f69e");
    let root = guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    let laptop = Laptop::new();
    let name = str::to_owned;
    laptop.table(&[(1, boot, name("boot-a")), (2, usr, name("usr-a"))]);
    let storage = json!({
        "disks": [{"device": "/dev/vda", "partitions": [{"number": 1, "shouldExist": false,
            "wipePartitionEntry": true}]}]});
    let (code, out, err) = laptop.plan(&storage, &["--disk", "disk.img"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("disk.img is an image of this system that was never booted"),
        "{err}"
    );
    laptop.table(&[
        (1, boot, name("boot-a")),
        (2, usr, name("usr-a")),
        (3, root, name("root")),
    ]);
    let (code, out, _) = laptop.plan(&storage, &["--disk", "disk.img"]);
    assert_eq!(code, 1);
    let words = "/dev/vda partition 1: it is not changed: \"boot-a\" belongs to the running system";
    assert!(out.contains(words), "{out}");
    let storage = json!({"filesystems": [{"device": "/dev/disk/by-partlabel/root",
        "format": "ext4", "wipeFilesystem": true}]});
    let (code, out, _) = laptop.plan(&storage, &["--disk", "/dev/vda=disk.img"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("is not formatted: \"root\" belongs to the running system"),
        "{out}"
    );
}

#[test]
fn json_has_disks_steps_and_refusals() {
    let storage = json!({"filesystems": [
        {"device": "/dev/vdb1", "format": "ext4"}, {"device": "/dev/vdb2", "format": "ext4"}]});
    let laptop = Laptop::partitioned();
    let (code, out, _) = laptop.plan(&storage, &["--json", "--disk", "/dev/vdb=disk.img"]);
    assert_eq!(code, 1);
    let plan: Value = serde_json::from_str(&out).unwrap();
    let disk = &plan["disks"][0];
    assert_eq!(
        (&disk["device"], &disk["image"]),
        (&json!("/dev/vdb"), &json!("disk.img"))
    );
    assert_eq!(
        disk["partitions"][0],
        json!({"number": 1, "label": "one", "type_guid": DATA.to_string(),
            "guid": "01010101-0101-0101-0101-010101010101", "start": MIB, "bytes": 10 * MIB,
            "holds": {"text": "ext4, label \"data\", UUID \"11111111-1111-1111-1111-111111111111\"",
                "format": "ext4", "label": "data",
                "uuid": "11111111-1111-1111-1111-111111111111"}})
    );
    assert_eq!(disk["partitions"][2]["holds"], Value::Null);
    assert_eq!(plan["steps"], json!([]));
    let refusal = plan["refusals"][0].as_str().unwrap();
    assert!(
        refusal.starts_with("key storage.filesystems.1: /dev/vdb2 holds swap"),
        "{refusal}"
    );
}

#[test]
fn disks_that_cannot_be_looked_at_are_named() {
    let laptop = Laptop::new();
    let storage = json!({"disks": [{"device": "/dev/vdb", "partitions": [{"label": "a"}]}]});
    for (disk, code, words) in [
        (
            "absent.img",
            1,
            "--disk: looking at absent.img: No such file",
        ),
        (
            "/dev/vda=disk.img",
            2,
            "/dev/vda is not a disk of the config; the config has /dev/vdb",
        ),
        ("/dev/null", 1, "neither a block device nor a disk image"),
        ("/dev/vdb=", 2, "expected an image, a device, or a size"),
    ] {
        let (status, out, err) = laptop.plan(&storage, &["--disk", disk]);
        assert_eq!((status, out.as_str()), (code, ""), "{disk}");
        assert!(err.contains(words), "{err}");
    }
    let twice = ["--disk", "/dev/vdb=disk.img", "--disk", "/dev/vdb=1GiB"];
    let (code, _, err) = laptop.plan(&storage, &twice);
    assert_eq!(code, 2);
    assert!(err.contains("/dev/vdb is given twice"), "{err}");
    let (code, _, err) = laptop.plan(&json!({}), &["--disk", "disk.img"]);
    assert_eq!(code, 2);
    assert!(err.contains("the config has no storage.disks"), "{err}");
}
