//! A host for tests: a directory with what a real root shows, and a disk in a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bootloader::Slot;
use bootloader::block::FileDisk;
use bootloader::gpt::{Geometry, Gpt, Guid, Partition, guid};
use bootloader::slot::{BOOT_PARTITION, SlotBits, SlotTable};

use crate::host::Host;
use crate::marks;

pub const ESP: Guid = guid!("5d6ce41c-2cd3-4f87-9d6f-07a08c5b0d4f");

/// What slot `a` starts with: it is what was installed.
pub const GOOD: SlotBits = SlotBits {
    priority: 1,
    tries: 0,
    successful: true,
};

/// Root hash of the `/usr` of a slot: its first half names the partition.
fn root_hash(slot: Slot) -> String {
    format!("{:032x}", 0xa0 + slot as u64).repeat(2)
}

pub struct TestHost {
    dir: tempfile::TempDir,
}

impl TestHost {
    /// A host that runs 0.1.0 from slot `a`, which is blessed; slot `b` is empty.
    pub fn new() -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for dir in [
            "dev/disk/by-partuuid",
            "sys/firmware/efi/efivars",
            "sys/devices/pci/block/vda/vda1",
            "sys/class/block",
            "proc/sys/kernel/random",
            "usr/lib/ballast/config.d",
            "etc/ballast/config.d",
            "run/ballast/config.d",
        ] {
            fs::create_dir_all(host.path(dir)).unwrap();
        }
        fs::write(host.path("dev/vda1"), "").unwrap();
        let link = host.path("dev/disk/by-partuuid").join(ESP.to_string());
        symlink("../../vda1", link).unwrap();
        symlink(
            "../../devices/pci/block/vda",
            host.path("sys/class/block/vda"),
        )
        .unwrap();
        symlink(
            "../../devices/pci/block/vda/vda1",
            host.path("sys/class/block/vda1"),
        )
        .unwrap();
        fs::write(host.path("sys/devices/pci/block/vda/vda1/partition"), "1").unwrap();
        host.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        host.variable(
            "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
            &ESP.to_string().to_uppercase(),
        );
        host.format();
        host.boot(Slot::A, "0.1.0");
        host
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// A fragment of the policy.
    pub fn policy(&self, text: &str) {
        self.write("etc/ballast/config.d/50-test.toml", text);
    }

    pub fn variable(&self, name: &str, value: &str) {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        fs::write(self.path("sys/firmware/efi/efivars").join(name), bytes).unwrap();
    }

    /// The selector starts `slot`, which holds `version`: another boot.
    pub fn boot(&self, slot: Slot, version: &str) {
        self.variable(
            "BallastSlot-c78ca85e-8e04-4fdc-aace-bdbd51cff996",
            slot.name(),
        );
        self.variable(
            "BallastBootReason-c78ca85e-8e04-4fdc-aace-bdbd51cff996",
            "normal",
        );
        self.write(
            "proc/cmdline",
            &format!("quiet usrhash={}\n", root_hash(slot)),
        );
        self.write(
            "usr/lib/os-release",
            &format!("ID=ballast\nIMAGE_VERSION=\"{version}\"\n"),
        );
        let last = fs::read_to_string(self.path("proc/sys/kernel/random/boot_id"));
        let number: u32 = last.map_or(0, |text| text.trim().parse().unwrap());
        self.write(
            "proc/sys/kernel/random/boot_id",
            &format!("{}\n", number + 1),
        );
    }

    pub fn look(&self) -> Host {
        Host::look(self.root()).unwrap()
    }

    pub fn disk(&self) -> PathBuf {
        self.path("dev/vda")
    }

    pub fn bits(&self, slot: Slot) -> SlotBits {
        marks::read(&self.disk()).unwrap().bits(slot)
    }

    pub fn edit(&self, edit: impl FnOnce(&mut SlotTable)) {
        marks::change(&self.disk(), edit).unwrap();
    }

    fn format(&self) {
        let blocks = 4096;
        let file = fs::File::create(self.disk()).unwrap();
        file.set_len(blocks * 512).unwrap();
        let mut disk = FileDisk::open(&self.disk(), 512).unwrap();
        let geometry = Geometry {
            block_size: 512,
            block_count: blocks,
        };
        let mut gpt = Gpt::new(geometry, Guid::from_bytes([9; 16]), 128).unwrap();
        let usr = |slot: Slot| {
            let text = &root_hash(slot)[..32];
            let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &text[part]);
            format!("{a}-{b}-{c}-{d}-{e}").parse().unwrap()
        };
        let esp = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        let partitions: [(&str, Guid, Guid); 5] = [
            ("esp", esp, ESP),
            ("boot-a", BOOT_PARTITION, Guid::from_bytes([1; 16])),
            ("usr-a", crate::slots::USR_PARTITION, usr(Slot::A)),
            ("boot-b", BOOT_PARTITION, Guid::from_bytes([2; 16])),
            ("usr-b", crate::slots::USR_PARTITION, usr(Slot::B)),
        ];
        let (mut at, _) = gpt.usable();
        for (number, (name, type_guid, guid)) in (1..).zip(partitions) {
            gpt.set_partition(&Partition {
                number,
                type_guid,
                guid,
                first_lba: at,
                last_lba: at + 15,
                attributes: 0,
                name: name.into(),
            })
            .unwrap();
            at += 16;
        }
        gpt.set_attributes(2, GOOD.into_attributes(0)).unwrap();
        gpt.format(&mut disk).unwrap();
    }
}
