//! QEMU: an item of the firmware configuration device; a disk with the serial
//! number `ignition` where that is not given, as on machines that have no such
//! device.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::fetch::Fetcher;
use crate::module;

use super::disc::read_bounded;
use super::{Provider, ProviderError, Raw};

/// The name upstream gave the config among the firmware's files.
const ITEM: &str = "opt/com.coreos/config";

/// The serial number upstream gave the disk.
const SERIAL: &str = "ignition";

/// The config given by `-fw_cfg name=opt/com.coreos/config,file=…`, or by
/// `-device virtio-blk,serial=ignition,drive=…`.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// Directory that the kernel module `qemu_fw_cfg` fills.
    sysfs: PathBuf,
    /// `/sys/block`
    blocks: PathBuf,
    /// `/dev`
    devices: PathBuf,
}

impl Default for Qemu {
    fn default() -> Self {
        Self::new(
            PathBuf::from("/sys/firmware/qemu_fw_cfg"),
            PathBuf::from("/sys/block"),
            PathBuf::from("/dev"),
        )
    }
}

impl Qemu {
    /// Reads items below `sysfs`, finds disks by `blocks` and reads them from
    /// `devices`.
    pub fn new(sysfs: PathBuf, blocks: PathBuf, devices: PathBuf) -> Self {
        Self {
            sysfs,
            blocks,
            devices,
        }
    }

    /// What the disk holds, up to the zeros that fill its last sector.
    fn disk(&self) -> Result<Option<Raw>, ProviderError> {
        let Some(name) = self.disk_name() else {
            return Ok(None);
        };
        let path = self.devices.join(&name);
        let bytes = File::open(&path).and_then(read_bounded);
        let mut bytes = bytes.map_err(|source| ProviderError::Read {
            path: path.clone(),
            source,
        })?;
        let end = bytes.iter().rposition(|byte| *byte != 0);
        bytes.truncate(end.map_or(0, |end| end + 1));
        Ok(Some(Raw {
            source: format!("virtio disk {} (serial number {SERIAL})", path.display()),
            bytes,
        }))
    }

    fn disk_name(&self) -> Option<OsString> {
        let entries = std::fs::read_dir(&self.blocks).ok()?;
        let mut names = entries.flatten().filter(|entry| {
            let serial = std::fs::read_to_string(entry.path().join("serial"));
            serial.is_ok_and(|serial| serial.trim() == SERIAL)
        });
        names.next().map(|entry| entry.file_name())
    }
}

impl Provider for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        if !self.sysfs.exists() {
            // Without it there is no config, as on a machine that is not QEMU.
            module::load("qemu_fw_cfg");
        }
        let path = self.sysfs.join("by_name").join(ITEM).join("raw");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Raw {
                source: format!("QEMU fw_cfg ({ITEM})"),
                bytes,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk(),
            Err(source) => Err(ProviderError::Read { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Network;
    use std::time::Duration;

    struct Machine(tempfile::TempDir);

    impl Machine {
        /// With an item that is not the config: the kernel's module is loaded.
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("fw_cfg/by_name/opt/other/raw", b"x");
            machine
        }

        fn write(&self, path: &str, contents: &[u8]) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, contents).unwrap();
        }

        fn config(&self) -> Result<Option<Raw>, ProviderError> {
            let at = |name: &str| self.0.path().join(name);
            let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
            Qemu::new(at("fw_cfg"), at("block"), at("dev")).config(&fetcher)
        }
    }

    #[test]
    fn reads_the_item() {
        let machine = Machine::new();
        assert_eq!(machine.config().unwrap(), None);
        machine.write("fw_cfg/by_name/opt/com.coreos/config/raw", b"{}");
        machine.write("block/vdb/serial", b"ignition");
        let raw = machine.config().unwrap().unwrap();
        assert_eq!(raw.bytes, b"{}");
        assert_eq!(raw.source, "QEMU fw_cfg (opt/com.coreos/config)");
    }

    #[test]
    fn reads_the_disk_with_the_serial_number() {
        let machine = Machine::new();
        machine.write("block/vda/serial", b"ignition2\n");
        machine.write("block/sda/size", b"1");
        assert_eq!(machine.config().unwrap(), None);
        machine.write("block/vdb/serial", b"ignition");
        machine.write("dev/vdb", &[&b"{\"a\": 0}\n"[..], &[0; 500]].concat());
        let raw = machine.config().unwrap().unwrap();
        assert_eq!(raw.bytes, b"{\"a\": 0}\n");
        assert!(raw.source.starts_with("virtio disk "), "{}", raw.source);
        machine.write("dev/vdb", &[0; 512]);
        assert_eq!(machine.config().unwrap().unwrap().bytes, b"");
    }

    #[test]
    fn a_huge_disk_is_no_config() {
        let machine = Machine::new();
        machine.write("block/vdb/serial", b"ignition");
        machine.write("dev/vdb", b"");
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(machine.0.path().join("dev/vdb"));
        disk.unwrap().set_len(1 << 40).unwrap();
        let error = machine.config().unwrap_err();
        assert!(matches!(error, ProviderError::Read { .. }), "{error}");
    }
}
