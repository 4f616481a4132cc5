//! What the kernel says about block devices (sysfs, mountinfo).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The highest number of a partition that Linux has a device for (`DISK_MAX_PARTS` of
/// include/linux/blkdev.h, which counts the disk too).
pub const LAST_PARTITION: u32 = 255;

/// Where the kernel is asked; another place in tests.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Mount point of sysfs.
    pub sys: PathBuf,
    /// Where the nodes of devices are.
    pub dev: PathBuf,
    /// The list of mounts (proc_pid_mountinfo(5)).
    pub mountinfo: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
            mountinfo: "/proc/self/mountinfo".into(),
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A disk image, of which the kernel knows nothing.
    Image {
        /// The file, without links.
        path: PathBuf,
    },
    /// A block device.
    Block {
        /// Its node, without links.
        path: PathBuf,
        /// Its directory in sysfs, without links.
        sys: PathBuf,
    },
}

/// A partition as the kernel has it, in units of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Where it starts.
    pub start: u64,
    /// How long it is.
    pub size: u64,
}

impl Device {
    /// Its node or file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Image { path } | Self::Block { path, .. } => path,
        }
    }

    /// What all names of it have in common.
    pub fn place(&self) -> &Path {
        match self {
            Self::Image { path } => path,
            Self::Block { sys, .. } => sys,
        }
    }

    /// Bytes in a logical block.
    pub fn block_size(&self) -> io::Result<u32> {
        match self {
            Self::Image { .. } => Ok(512),
            Self::Block { sys, .. } => read_number(&sys.join("queue/logical_block_size")),
        }
    }

    /// Its bytes.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::Image { path } => Ok(fs::metadata(path)?.len()),
            Self::Block { sys, .. } => {
                Ok(read_number::<u64>(&sys.join("size"))?.saturating_mul(512))
            }
        }
    }

    /// Why it cannot carry a partition table, if it cannot.
    pub fn unfit(&self) -> Option<&'static str> {
        match self {
            Self::Block { sys, .. } if sys.join("partition").exists() => {
                Some("is a partition; give the whole disk")
            }
            Self::Block { sys, .. } if sys.join("dm").exists() => {
                Some("is a mapped device, which this version does not partition")
            }
            _ => None,
        }
    }

    /// Whether it is an array or a mapped device: made of other ones.
    pub fn is_made(&self) -> bool {
        match self {
            Self::Image { .. } => false,
            Self::Block { sys, .. } => sys.join("md").exists() || sys.join("dm").exists(),
        }
    }

    /// The label of the partition that it is.
    pub fn partition_label(&self) -> Option<String> {
        let Self::Block { sys, .. } = self else {
            return None;
        };
        let text = fs::read_to_string(sys.join("uevent")).ok()?;
        let label = text
            .lines()
            .find_map(|line| line.strip_prefix("PARTNAME="))?;
        Some(label.to_owned())
    }

    /// The partitions that the kernel has of it, by number.
    pub fn partitions(&self) -> io::Result<BTreeMap<u32, Known>> {
        let mut found = BTreeMap::new();
        for (number, directory) in self.partition_directories()? {
            let known = Known {
                start: read_number(&directory.join("start"))?,
                size: read_number(&directory.join("size"))?,
            };
            found.insert(number, known);
        }
        Ok(found)
    }

    fn partition_directories(&self) -> io::Result<BTreeMap<u32, PathBuf>> {
        let mut found = BTreeMap::new();
        if let Self::Block { sys, .. } = self {
            for entry in fs::read_dir(sys)? {
                let directory = entry?.path();
                if directory.join("partition").exists() {
                    found.insert(read_number(&directory.join("partition"))?, directory);
                }
            }
        }
        Ok(found)
    }
}

impl Kernel {
    /// What `path` leads to.
    pub fn device(&self, path: &Path) -> io::Result<Device> {
        let path = fs::canonicalize(path)?;
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            return Ok(Device::Image { path });
        }
        if !metadata.file_type().is_block_device() {
            let message = "neither a block device nor a disk image";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let number = metadata.rdev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let sys = fs::canonicalize(self.sys.join(format!("dev/block/{major}:{minor}")))?;
        Ok(Device::Block { path, sys })
    }

    /// The disk that `device` is a partition of, and its number there; None if it is
    /// no partition.
    pub fn disk_of(&self, device: &Device) -> io::Result<Option<(Device, u32)>> {
        let Device::Block { sys, .. } = device else {
            return Ok(None);
        };
        let partition = sys.join("partition");
        let (true, Some(disk)) = (partition.exists(), sys.parent()) else {
            return Ok(None);
        };
        let name = disk.file_name().unwrap_or_default();
        // In sysfs a name cannot have a slash.
        let name = name.to_string_lossy().replace('!', "/");
        let disk = Device::Block {
            path: self.dev.join(name),
            sys: disk.to_owned(),
        };
        Ok(Some((disk, read_number(&partition)?)))
    }

    /// What uses `device` as a whole, if something does.
    pub fn user(&self, device: &Device) -> io::Result<Option<String>> {
        match device {
            Device::Image { .. } => Ok(None),
            Device::Block { sys, .. } => self.user_of(sys),
        }
    }

    /// The partitions of `device` that are in use, and by what.
    pub fn users(&self, device: &Device) -> io::Result<BTreeMap<u32, String>> {
        let mut users = BTreeMap::new();
        for (number, directory) in device.partition_directories()? {
            if let Some(user) = self.user_of(&directory)? {
                users.insert(number, user);
            }
        }
        Ok(users)
    }

    /// Whether `device` is mapped under the name `name`.
    pub fn maps(&self, device: &Device, name: &str) -> bool {
        let Device::Block { sys, .. } = device else {
            return false;
        };
        let holders = fs::read_dir(sys.join("holders"))
            .into_iter()
            .flatten()
            .flatten();
        let names = holders.map(|holder| fs::read_to_string(holder.path().join("dm/name")));
        names.flatten().any(|found| found.trim_end() == name)
    }

    /// Where file systems are mounted: device number, mount point, source.
    pub fn mounts(&self) -> io::Result<Vec<Mounted>> {
        let text = fs::read_to_string(&self.mountinfo)?;
        Ok(text.lines().filter_map(mounted).collect())
    }

    fn user_of(&self, directory: &Path) -> io::Result<Option<String>> {
        let mut holders = fs::read_dir(directory.join("holders"))?;
        if let Some(holder) = holders.next() {
            let name = holder?.file_name();
            return Ok(Some(format!("it is in use by {}", name.display())));
        }
        let number = fs::read_to_string(directory.join("dev"))?;
        let name = directory.file_name();
        let mounts = self.mounts()?;
        // Some file systems (btrfs) have a device number of their own.
        let ours = |mount: &&Mounted| {
            let source = fs::canonicalize(&mount.source).ok();
            mount.number == number.trim()
                || (mount.source.starts_with("/dev")
                    && source.is_some_and(|source| source.file_name() == name))
        };
        let mount = mounts.iter().find(ours);
        Ok(mount.map(|mount| format!("it is mounted at {}", mount.point.display())))
    }
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Major and minor number, `8:1`.
    pub number: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// What is mounted there.
    pub source: PathBuf,
}

fn mounted(line: &str) -> Option<Mounted> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let number = fields.nth(2)?.to_owned();
    let point = unescape(fields.nth(1)?).into();
    let source = unescape(after.split(' ').nth(1)?).into();
    Some(Mounted {
        number,
        point,
        source,
    })
}

/// Spaces and the like are octal numbers after a backslash.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

fn read_number<T: std::str::FromStr>(path: &Path) -> io::Result<T> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| {
        let message = format!("{} holds {:?}, no number", path.display(), text.trim());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of two partitions: 1 is mounted, 2 is held by dm-0, 3 is free.
    fn disk(directory: &Path) -> (Kernel, Device) {
        let sys = directory.join("vdb");
        for (number, user) in [(1, None), (2, Some("dm-0")), (3, None)] {
            let part = sys.join(format!("vdb{number}"));
            fs::create_dir_all(part.join("holders")).unwrap();
            fs::write(part.join("partition"), format!("{number}\n")).unwrap();
            fs::write(part.join("start"), "2048\n").unwrap();
            fs::write(part.join("size"), "4096\n").unwrap();
            fs::write(part.join("dev"), format!("254:1{number}\n")).unwrap();
            if let Some(user) = user {
                fs::create_dir(part.join("holders").join(user)).unwrap();
            }
        }
        fs::create_dir_all(sys.join("holders")).unwrap();
        fs::create_dir_all(sys.join("queue")).unwrap();
        fs::write(sys.join("queue/logical_block_size"), "4096\n").unwrap();
        fs::write(sys.join("dev"), "254:16\n").unwrap();
        let mountinfo = directory.join("mountinfo");
        let text = "22 1 0:21 / /proc rw - proc proc rw\n\
            30 1 254:11 / /sys\\040root rw,relatime shared:1 - ext4 /dev/vdb1 rw\n";
        fs::write(&mountinfo, text).unwrap();
        let kernel = Kernel {
            sys: directory.to_owned(),
            dev: "/dev".into(),
            mountinfo,
        };
        let path = "/dev/vdb".into();
        (kernel, Device::Block { path, sys })
    }

    #[test]
    fn users_of_partitions_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, device) = disk(directory.path());
        let users = kernel.users(&device).unwrap();
        let expected = [
            (1, "it is mounted at /sys root"),
            (2, "it is in use by dm-0"),
        ];
        assert_eq!(users, expected.map(|(n, user)| (n, user.to_owned())).into());
        assert_eq!(kernel.user(&device).unwrap(), None);
        assert_eq!(device.block_size().unwrap(), 4096);
        assert_eq!(device.unfit(), None);
        let known = device.partitions().unwrap();
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((known[&3].start, known[&3].size), (2048, 4096));
        assert_eq!(kernel.disk_of(&device).unwrap(), None);
        let part = Device::Block {
            path: "/dev/disk/by-partlabel/x".into(),
            sys: device.place().join("vdb2"),
        };
        assert_eq!(kernel.disk_of(&part).unwrap(), Some((device, 2)));
    }

    #[test]
    fn partitions_and_mapped_devices_carry_no_table() {
        let directory = tempfile::tempdir().unwrap();
        let (_, device) = disk(directory.path());
        let Device::Block { sys, path } = device else {
            panic!("not a block device");
        };
        let part = Device::Block {
            sys: sys.join("vdb1"),
            path: path.clone(),
        };
        assert!(part.unfit().unwrap().contains("whole disk"));
        fs::create_dir(sys.join("dm")).unwrap();
        let mapped = Device::Block { sys, path };
        assert!(mapped.unfit().unwrap().contains("mapped"));
    }

    #[test]
    fn names_of_mappings_and_labels_of_partitions_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, device) = disk(directory.path());
        let sys = device.place().join("vdb2");
        fs::create_dir(sys.join("holders/dm-0/dm")).unwrap();
        fs::write(sys.join("holders/dm-0/dm/name"), "safe\n").unwrap();
        fs::write(sys.join("uevent"), "MAJOR=254\nPARTN=2\nPARTNAME=my data\n").unwrap();
        let path = "/dev/vdb2".into();
        let part = Device::Block { path, sys };
        assert!(kernel.maps(&part, "safe") && !kernel.maps(&part, "saf"));
        assert!(!kernel.maps(&device, "safe"));
        assert_eq!(part.partition_label().as_deref(), Some("my data"));
        assert_eq!(device.partition_label(), None);
        assert!(!part.is_made());
        fs::create_dir(part.place().join("md")).unwrap();
        assert!(part.is_made());
    }

    #[test]
    fn an_image_is_known_to_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let kernel = Kernel::default();
        let device = kernel.device(file.path()).unwrap();
        assert_eq!(kernel.users(&device).unwrap(), BTreeMap::new());
        assert!(device.partitions().unwrap().is_empty());
        let error = kernel.device(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("block device"));
    }
}
