//! The ESP that the machine was started from: the file with the arguments, and the
//! state of their trial in the partition's entry.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bootloader::Gpt;
use bootloader::block::FileDisk;
use bootloader::gpt::{GptError, Partition};
use bootloader::kargs::FILE_BYTES;
use bootloader::slot::SlotBits;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::durable::{self, Attributes};
use crate::log;
use crate::program;

use super::super::disks::Kernel;
use super::error::io;
use super::{KargsError, Store};

/// Where it is mounted while this stage runs.
const POINT: &str = "/run/ignition/esp";

/// How long its device is waited for.
const WAIT: &str = "--timeout=60";

/// The directory and the file below it, as [`bootloader::kargs::FILE`] has them.
const DIRECTORY: &str = "EFI/ballast";
const NAME: &str = "kargs";

/// The ESP.
pub struct Esp {
    disk: PathBuf,
    block_size: u32,
    number: u32,
    files: Mounted,
}

impl Esp {
    /// Mounts the partition with this UUID, for as long as the result lives.
    pub fn open(kernel: &Kernel, uuid: &str) -> Result<Self, KargsError> {
        let path = kernel.dev.join("disk/by-partuuid").join(uuid);
        if !path.exists() {
            let arguments = ["wait", WAIT, &path.display().to_string()].map(str::to_owned);
            program::run("udevadm", &arguments)?;
        }
        let fail = |source| io("looking at", &path, source);
        let device = kernel.device(&path).map_err(fail)?;
        let no_partition = || fail(io::Error::other("not a partition"));
        let (disk, number) = kernel
            .disk_of(&device)
            .map_err(fail)?
            .ok_or_else(no_partition)?;
        Ok(Self {
            block_size: disk.block_size().map_err(fail)?,
            disk: disk.path().to_owned(),
            number,
            files: Mounted::new(device.path(), Path::new(POINT))?,
        })
    }

    fn table(&self, source: GptError) -> KargsError {
        KargsError::Table {
            disk: self.disk.clone(),
            source: Box::new(source),
        }
    }

    fn entry(&self, gpt: &Gpt) -> Result<Partition, KargsError> {
        gpt.partition(self.number).ok_or_else(|| KargsError::Gone {
            disk: self.disk.clone(),
            number: self.number,
        })
    }
}

impl Store for Esp {
    fn read(&self) -> Result<Option<Vec<u8>>, KargsError> {
        read(&self.files.directory().join(NAME))
    }

    fn trial(&self) -> Result<SlotBits, KargsError> {
        let open = FileDisk::open_read_only(&self.disk, self.block_size);
        let mut disk = open.map_err(|source| io("opening", &self.disk, source))?;
        let gpt = Gpt::read(&mut disk).map_err(|source| self.table(source))?;
        Ok(SlotBits::from_attributes(self.entry(&gpt)?.attributes))
    }

    fn set_trial(&mut self, trial: SlotBits) -> Result<(), KargsError> {
        let opening = |source| io("opening", &self.disk, source);
        let lock = File::open(&self.disk).map_err(opening)?;
        // udev leaves a disk alone while it is locked.
        let _lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| io("locking", &self.disk, error.into()))?;
        let mut disk = FileDisk::open(&self.disk, self.block_size).map_err(opening)?;
        let mut gpt = Gpt::read(&mut disk).map_err(|source| self.table(source))?;
        gpt.repair(&mut disk).map_err(|source| self.table(source))?;
        let attributes = trial.into_attributes(self.entry(&gpt)?.attributes);
        gpt.set_attributes(self.number, attributes)
            .map_err(|source| KargsError::Edit {
                disk: self.disk.clone(),
                source,
            })?;
        gpt.commit(&mut disk).map_err(|source| self.table(source))
    }

    fn write(&mut self, text: &str) -> Result<(), KargsError> {
        write(&self.files.point, &self.files.directory(), text)
    }

    fn remove(&mut self) -> Result<(), KargsError> {
        remove(&self.files.directory())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, KargsError> {
    let mut bytes = Vec::new();
    let limit = FILE_BYTES as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io("reading", path, source)),
    }
}

/// Writes the file; its directory is made below `top`, durably too.
fn write(top: &Path, directory: &Path, text: &str) -> Result<(), KargsError> {
    let make = || {
        fs::create_dir_all(directory)?;
        sync(directory)?;
        let above = directory.ancestors().skip(1);
        above
            .take_while(|above| above.starts_with(top))
            .try_for_each(sync)
    };
    make().map_err(|source| io("making", directory, source))?;
    let path = directory.join(NAME);
    durable::replace(&path, text.as_bytes(), Attributes::own(0o700))
        .map_err(|source| io("writing", &path, source))
}

fn remove(directory: &Path) -> Result<(), KargsError> {
    let path = directory.join(NAME);
    let remove = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        sync(directory)
    };
    remove().map_err(|source| io("removing", &path, source))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A mounted file system.
struct Mounted {
    point: PathBuf,
}

impl Mounted {
    fn new(device: &Path, point: &Path) -> Result<Self, KargsError> {
        let mut directory = DirBuilder::new();
        let made = directory.recursive(true).mode(0o700).create(point);
        made.map_err(|source| io("making", point, source))?;
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let options = Some("umask=0077");
        mount(Some(device), point, Some("vfat"), flags, options)
            .map_err(|error| io("mounting the ESP,", device, error.into()))?;
        let point = point.to_owned();
        Ok(Self { point })
    }

    fn directory(&self) -> PathBuf {
        self.point.join(DIRECTORY)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let undone = umount2(&self.point, MntFlags::UMOUNT_NOFOLLOW);
        if let Err(error) = undone {
            log::warn(&format!("unmounting {}: {error}", self.point.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootloader::kargs::{self, confirmed, untried};

    #[test]
    fn it_is_the_file_that_the_selector_reads() {
        let path = format!("/{DIRECTORY}/{NAME}");
        assert_eq!(path.replace('/', "\\"), kargs::FILE);
    }

    #[test]
    fn the_file_is_written_replaced_and_removed() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join(DIRECTORY);
        let path = directory.join(NAME);
        assert_eq!(read(&path).unwrap(), None);
        remove(&directory).unwrap();
        write(top.path(), &directory, "+a\n").unwrap();
        write(top.path(), &directory, "+b\n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"+b\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        remove(&directory).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        // Not read without end.
        fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len(), FILE_BYTES + 1);
        let error = write(top.path(), &path.join("x"), "").unwrap_err();
        assert!(error.to_string().starts_with("making "), "{error}");
    }

    #[test]
    fn the_trial_is_in_the_entry_of_the_partition_and_nothing_else_changes() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let mut disk = FileDisk::open(image.path(), 512).unwrap();
        let geometry = bootloader::gpt::Geometry {
            block_size: 512,
            block_count: 2048,
        };
        let guid = |byte| bootloader::gpt::Guid::from_bytes([byte; 16]);
        let mut gpt = Gpt::new(geometry, guid(9), 128).unwrap();
        let first_lba = gpt.usable().0;
        let partition = |number: u32| Partition {
            number,
            type_guid: guid(1),
            guid: guid(number as u8 + 1),
            first_lba: first_lba + u64::from(number),
            last_lba: first_lba + u64::from(number),
            attributes: 0x0100_0000_0000_0005,
            name: "x".to_owned(),
        };
        gpt.set_partition(&partition(1)).unwrap();
        gpt.set_partition(&partition(2)).unwrap();
        gpt.format(&mut disk).unwrap();
        let mut esp = Esp {
            disk: image.path().to_owned(),
            block_size: 512,
            number: 1,
            files: Mounted {
                point: "/does/not/exist".into(),
            },
        };
        for trial in [untried(), confirmed()] {
            esp.set_trial(trial).unwrap();
            assert_eq!(esp.trial().unwrap(), trial);
        }
        let gpt = Gpt::read(&mut disk).unwrap();
        assert!(gpt.health().is_good());
        assert_eq!(gpt.partition(2).unwrap(), partition(2));
        assert_eq!(gpt.partition(1).unwrap().attributes, 0x0100_0000_0000_0005);
        esp.number = 3;
        let error = esp.set_trial(untried()).unwrap_err();
        assert!(error.to_string().contains("no partition 3"), "{error}");
    }
}
