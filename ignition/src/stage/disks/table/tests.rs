use super::*;
use crate::state::State;
use bootloader::gpt::Guid;
use serde_json::{Value, json};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// Decides all, then writes all.
fn partition(context: &Context<'_>, disks: &[Disk]) -> Result<(), DisksError> {
    for decided in decide(context, disks)? {
        decided.write()?;
    }
    Ok(())
}

/// A disk image of 64 MiB.
struct Image(tempfile::NamedTempFile);

impl Image {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 * MIB).unwrap();
        Self(file)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn write(&self, bytes: &[u8], offset: u64) {
        self.0.as_file().write_all_at(bytes, offset).unwrap();
    }

    fn run(&self, disk: Value) -> Result<(), DisksError> {
        let mut disk = disk;
        disk["device"] = json!(self.path());
        let state = State::default();
        let context = Context {
            kernel: Kernel::default(),
            state: &state,
            purpose: Purpose::Write,
        };
        partition(&context, &[serde_json::from_value(disk).unwrap()])
    }

    fn refusal(&self, disk: Value) -> String {
        let before = self.bytes();
        let error = self.run(disk).unwrap_err();
        assert!(error.is_final(), "{error:?}");
        assert!(self.bytes() == before, "a refusal changed the disk");
        error.to_string()
    }

    fn gpt(&self) -> Gpt {
        let mut disk = FileDisk::open_read_only(self.path(), 512).unwrap();
        let gpt = Gpt::read(&mut disk).unwrap();
        assert!(gpt.health().is_good(), "{:?}", gpt.health());
        gpt
    }

    fn labels(&self) -> Vec<(u32, String)> {
        self.gpt()
            .partitions()
            .map(|p| (p.number, p.name))
            .collect()
    }
}

fn blkid_is_here() -> bool {
    let found = std::process::Command::new("blkid")
        .arg("--version")
        .output();
    if found.is_err() {
        eprintln!("skipped: this machine has no blkid");
    }
    found.is_ok()
}

fn data() -> Value {
    json!({"partitions": [{"label": "a", "sizeMiB": 16}, {"number": 4, "label": "b", "startMiB": 17}]})
}

fn expected() -> Vec<(u32, String)> {
    vec![(1, "a".to_owned()), (4, "b".to_owned())]
}

#[test]
fn an_empty_disk_gets_a_table_once() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.run(data()).unwrap();
    assert_eq!(image.labels(), expected());
    let bytes = image.bytes();
    assert_eq!((bytes[450], &bytes[510..512]), (0xee, &[0x55, 0xaa][..]));
    let guids: BTreeSet<Guid> = image.gpt().partitions().map(|p| p.guid).collect();
    assert!(guids.len() == 2 && !guids.contains(&Guid::ZERO));
    image.run(data()).unwrap();
    assert!(image.bytes() == bytes, "a second run changed the disk");
    image
        .run(json!({"partitions": [{"label": "c", "number": 2, "startMiB": 0}]}))
        .unwrap_err();
    assert!(image.bytes() == bytes, "a refusal changed the disk");
}

#[test]
fn a_disk_without_wishes_stays_empty() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    let empty = image.bytes();
    image.run(json!({})).unwrap();
    image
        .run(json!({"partitions": [{"number": 1, "shouldExist": false}]}))
        .unwrap();
    assert!(image.bytes() == empty);
}

#[test]
fn what_is_on_a_disk_is_named_and_stays_unless_it_may_be_wiped() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    let mut mbr = [0; 512];
    mbr[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 64, 0, 0]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    image.write(&mbr, 0);
    let message = image.refusal(data());
    assert!(
        message.contains("partition table (dos); set wipeTable"),
        "{message}"
    );
    let mut wiped = data();
    wiped["wipeTable"] = json!(true);
    image.run(wiped.clone()).unwrap();
    assert_eq!(image.labels(), expected());
    // The second attempt of the same first boot finds what it wants.
    let bytes = image.bytes();
    image.run(wiped.clone()).unwrap();
    assert!(image.bytes() == bytes);
    // Something else in the table is wiped.
    image
        .run(
            json!({"partitions": [{"label": "c", "number": 2, "startMiB": 17,
        "wipePartitionEntry": true}, {"number": 4, "shouldExist": false,
        "wipePartitionEntry": true}]}),
        )
        .unwrap();
    image.run(wiped).unwrap();
    assert_eq!(image.labels(), expected());
    image.run(json!({"wipeTable": true})).unwrap();
    let mut disk = FileDisk::open_read_only(image.path(), 512).unwrap();
    assert!(Gpt::read(&mut disk).is_err());
    // Nor is anything left from which one could be made again.
    let (bytes, array) = (image.bytes(), 33 * 512);
    let ends = [&bytes[..array + 512], &bytes[bytes.len() - array..]];
    assert!(ends.concat().iter().all(|byte| *byte == 0));
}

/// A swap space of 4096-byte pages: version, last page, label, then the mark.
fn swap() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&16383_u32.to_le_bytes());
    page[1052..1056].copy_from_slice(b"mine");
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    page
}

#[test]
fn a_file_system_on_the_whole_disk_is_named_and_stays() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.write(&swap(), 0);
    let message = image.refusal(data());
    assert!(message.contains("holds swap, label \"mine\""), "{message}");
    // Who wants no partitions has nothing against it.
    let bytes = image.bytes();
    image.run(json!({})).unwrap();
    assert!(image.bytes() == bytes);
}

#[test]
fn cuts_while_a_table_is_made_are_overcome() {
    if !blkid_is_here() {
        return;
    }
    let end = 64 * MIB;
    let zeros = [0; 512];
    // Blocks that had not been written, and those that were written in part.
    let cuts: [(&str, &[u64], &[u64]); 4] = [
        ("before the protective MBR", &[0], &[]),
        ("before the primary header", &[0, 512], &[]),
        ("within the primary entries", &[0, 512], &[1024]),
        ("within the backup", &[0, 512, 1024], &[end - 33 * 512]),
    ];
    for (what, absent, torn) in cuts {
        let image = Image::new();
        image.run(data()).unwrap();
        for offset in absent {
            image.write(&zeros, *offset);
        }
        for offset in torn {
            image.write(&[0xff; 100], offset + 300);
        }
        image
            .run(data())
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(image.labels(), expected(), "{what}");
        assert_eq!(image.bytes()[510..512], [0x55, 0xaa], "{what}");
        let bytes = image.bytes();
        image.run(data()).unwrap();
        assert!(
            image.bytes() == bytes,
            "{what}: a second run changed the disk"
        );
    }
}

#[test]
fn a_damaged_table_is_not_taken_for_an_empty_disk() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.run(data()).unwrap();
    image.write(&[0xff; 100], 1024 + 300);
    image.write(&[0xff; 100], 64 * MIB - 33 * 512 + 300);
    let message = image.refusal(data());
    assert!(message.contains("set wipeTable"), "{message}");
}

#[test]
fn messages_name_the_device_and_the_entry() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.run(data()).unwrap();
    let message = image.refusal(json!({"partitions": [
        {"number": 9, "shouldExist": false}, {"number": 4, "label": "x"}]}));
    let device = image.path().display();
    let expected = format!(
        "key storage.disks.0.partitions.1: {device} partition 4: it exists and does not match: \
         its label is \"b\", not \"x\"; set wipePartitionEntry to replace it, or ask for what is there"
    );
    assert_eq!(message, expected);
    let state = State::default();
    let context = Context {
        kernel: Kernel::default(),
        state: &state,
        purpose: Purpose::Write,
    };
    let absent = Disk::new("/absent/disk".to_owned());
    let error = partition(&context, &[absent]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key storage.disks.0: /absent/disk is not there, after waiting 0 s; \
         give a device that this machine has"
    );
    assert!(error.is_final());
}

#[test]
fn all_disks_are_decided_before_one_is_written() {
    if !blkid_is_here() {
        return;
    }
    let (first, second) = (Image::new(), Image::new());
    second.write(&swap(), 0);
    let before = (first.bytes(), second.bytes());
    let link = first.path().with_extension("link");
    std::os::unix::fs::symlink(first.path(), &link).unwrap();
    let disk = |device: &Path| {
        let mut disk = data();
        disk["device"] = json!(device);
        serde_json::from_value(disk).unwrap()
    };
    let state = State::default();
    let context = Context {
        kernel: Kernel::default(),
        state: &state,
        purpose: Purpose::Write,
    };
    for (other, words) in [
        (second.path(), "key storage.disks.1: "),
        (Path::new("/absent/disk"), "is not there"),
        (&link, "is the disk of storage.disks.0 too"),
    ] {
        let disks = [disk(first.path()), disk(other)];
        let error = partition(&context, &disks).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_final());
        assert!(
            (first.bytes(), second.bytes()) == before,
            "something was written"
        );
    }
    std::fs::remove_file(link).unwrap();
}

#[test]
fn a_disk_that_was_grown_is_used_to_its_end_once() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.run(data()).unwrap();
    image.0.as_file().set_len(128 * MIB).unwrap();
    let grown = image.bytes();
    // What is there is what was asked for.
    let mut same = data();
    same["partitions"][1]["sizeMiB"] = json!(0);
    image.run(same).unwrap();
    assert!(image.bytes() == grown, "nothing had to change");
    let more = json!({"partitions": [{"label": "c", "sizeMiB": 0}]});
    image.run(more.clone()).unwrap();
    let gpt = image.gpt();
    let last = gpt.partitions().find(|p| p.name == "c").unwrap();
    assert_eq!(last.last_lba, 128 * 2048 - 34);
    let bytes = image.bytes();
    image.run(more).unwrap();
    assert!(image.bytes() == bytes, "a second run changed the disk");
}

#[test]
fn a_disk_that_is_too_small_is_a_mistake_of_the_config() {
    if !blkid_is_here() {
        return;
    }
    let image = Image::new();
    image.0.as_file().set_len(16 * 512).unwrap();
    image.refusal(data());
}
