//! Small releases, and disks that hold one.

use bootloader::block::{BlockError, BlockIo, MemoryDisk};
use bootloader::gpt::{Geometry, Gpt, Guid, Partition, guid};
use bootloader::slot::{BOOT_PARTITION, Slot, SlotBits, SlotTable};
use sha2::{Digest as _, Sha256};
use update_engine::blocks::hash_blocks;
use update_engine::release::{BLOCK, Boot, Descriptor, Digest, Frame, SCHEMA, Usr};
use update_engine::slots::{Disk, Names, Part, Running, TREE_PARTITION, USR_PARTITION};
use update_engine::tree::Tree;

const SECTOR: usize = 512;
const SALT: Digest = Digest([0x3f; 32]);

/// A release with everything that a repository has of it.
pub struct Built {
    pub descriptor: Descriptor,
    pub tree: Vec<u8>,
    pub usr: Vec<u8>,
    pub boot: Vec<u8>,
    pub usr_file: Vec<u8>,
    pub boot_file: Vec<u8>,
}

/// Bytes that do not compress and are others for every seed.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let piece = |i: usize| Sha256::digest(format!("{seed} {i}")).to_vec();
    (0..length / 32).flat_map(piece).collect()
}

/// A kernel image, as far as its headers say, with one section of `payload`.
fn kernel(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 60, &512_u32.to_le_bytes());
    put(0x58 + 108, &[16]);
    let section = 0x40 + 24 + 240;
    put(section, b".linux");
    put(section + 8, &length);
    put(section + 16, &length);
    put(section + 20, &512_u32.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Cuts an image into frames of four blocks.
fn pack(image: &[u8]) -> (Vec<Frame>, Vec<u8>) {
    let (mut frames, mut file) = (Vec::new(), Vec::new());
    for part in image.chunks(4 * BLOCK) {
        let packed = zstd::bulk::compress(part, 1).unwrap();
        let blocks = u32::try_from(part.len().div_ceil(BLOCK)).unwrap();
        frames.push(Frame(blocks, u32::try_from(packed.len()).unwrap()));
        file.extend(packed);
    }
    (frames, file)
}

/// A release; another version holds other bytes everywhere.
pub fn build(version: &str) -> Built {
    let usr = noise(&format!("{version} usr"), 24 * BLOCK);
    let boot = kernel(&noise(&format!("{version} boot"), 6 * BLOCK));
    let tree = Tree::build(&usr, SALT, [7; 16]).unwrap();
    let (usr_frames, usr_file) = pack(&usr);
    let (boot_frames, boot_file) = pack(&boot);
    let sha256 = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
    let descriptor = Descriptor {
        schema: SCHEMA,
        version: version.parse().unwrap(),
        architecture: "x86_64".into(),
        minimum_version: "0.1.0".parse().unwrap(),
        notes: None,
        usr: Usr {
            size: usr.len() as u64,
            root: tree.root(),
            salt: SALT,
            tree_size: tree.bytes().len() as u64,
            tree_sha256: sha256(tree.bytes()),
            frames: usr_frames,
        },
        boot: Boot {
            size: boot.len() as u64,
            sha256: sha256(&boot),
            blocks: hash_blocks(&[], &boot),
            frames: boot_frames,
        },
        patches: Vec::new(),
    };
    Built {
        descriptor,
        tree: tree.bytes().to_vec(),
        usr,
        boot,
        usr_file,
        boot_file,
    }
}

impl Built {
    fn content(&self, part: Part) -> &[u8] {
        match part {
            Part::Boot => &self.boot,
            Part::Tree => &self.tree,
            Part::Usr => &self.usr,
        }
    }
}

/// A disk that remembers what was written to it.
pub struct Recording {
    disk: MemoryDisk,
    old: Built,
    /// Byte and content, in order.
    pub writes: Vec<(usize, Vec<u8>)>,
}

impl BlockIo for Recording {
    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn block_count(&self) -> u64 {
        self.disk.block_count()
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.disk.read(lba, buffer)
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let at = usize::try_from(lba).unwrap() * SECTOR;
        self.writes.push((at, data.to_vec()));
        self.disk.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.disk.flush()
    }
}

impl Disk for Recording {
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.disk.reread(lba, buffer)
    }
}

impl Recording {
    /// A disk in the real layout: a release runs in slot `a` and is blessed, slot `b` is
    /// empty.
    pub fn new() -> Self {
        let old = build("0.1.0");
        let mut disk = laid_out();
        let mut gpt = Gpt::read(&mut disk).unwrap();
        let names = Names::of(old.descriptor.boot.sha256, old.descriptor.usr.root);
        for part in Part::ALL {
            let partition = find(&gpt, Slot::A, part);
            let at = usize::try_from(partition.first_lba).unwrap() * SECTOR;
            let content = old.content(part);
            disk.bytes_mut()[at..at + content.len()].copy_from_slice(content);
            let name = match part {
                Part::Boot => names.boot,
                Part::Tree => names.tree,
                Part::Usr => names.usr,
            };
            gpt.set_guid(partition.number, name).unwrap();
        }
        let blessed = SlotBits {
            priority: 1,
            tries: 0,
            successful: true,
        };
        let number = find(&gpt, Slot::A, Part::Boot).number;
        gpt.set_attributes(number, blessed.into_attributes(0))
            .unwrap();
        gpt.commit(&mut disk).unwrap();
        Self {
            disk,
            old,
            writes: Vec::new(),
        }
    }

    pub fn running(&self) -> Running {
        Running {
            slot: Slot::A,
            root: self.old.descriptor.usr.root,
        }
    }

    /// The slot that the selector starts.
    pub fn chosen(&self) -> Slot {
        let gpt = Gpt::read(&mut self.disk.clone()).unwrap();
        bootloader::choose(&SlotTable::from_gpt(&gpt).unwrap())
            .first
            .slot
    }

    /// Whatever was written into a slot is what was signed, in its place, and in the
    /// slot that does not run. Returns how many bytes that were.
    pub fn assert_only_holds_parts_of(&self, new: &Built) -> usize {
        let gpt = Gpt::read(&mut self.disk.clone()).unwrap();
        let mut sum = 0;
        for (at, data) in &self.writes {
            // What is in no slot's partition is the partition table.
            let Some((slot, part, start)) = place(&gpt, *at) else {
                continue;
            };
            assert_eq!(slot, Slot::B, "the running slot was written to");
            let mut expected = new.content(part).to_vec();
            expected.resize(expected.len().next_multiple_of(BLOCK), 0);
            let here = at - start;
            assert!(
                expected[here..here + data.len()] == data[..],
                "{part:?} at {here}"
            );
            sum += data.len();
        }
        sum
    }

    /// The whole release, byte for byte.
    pub fn assert_holds(&self, new: &Built) {
        let gpt = Gpt::read(&mut self.disk.clone()).unwrap();
        for part in Part::ALL {
            let at = usize::try_from(find(&gpt, Slot::B, part).first_lba).unwrap() * SECTOR;
            let content = new.content(part);
            assert!(
                self.disk.bytes()[at..at + content.len()] == *content,
                "{part:?}"
            );
        }
    }
}

/// Which partition of which slot a byte lies in, and where that begins.
fn place(gpt: &Gpt, at: usize) -> Option<(Slot, Part, usize)> {
    let all = Slot::ALL
        .into_iter()
        .flat_map(|s| Part::ALL.map(|p| (s, p)));
    let places = all.map(|(slot, part)| {
        let partition = find(gpt, slot, part);
        let sectors = partition.first_lba..partition.last_lba + 1;
        (slot, part, sectors)
    });
    let lba = (at / SECTOR) as u64;
    let mut hits = places.filter(|(.., sectors)| sectors.contains(&lba));
    let (slot, part, sectors) = hits.next()?;
    Some((slot, part, usize::try_from(sectors.start).unwrap() * SECTOR))
}

fn find(gpt: &Gpt, slot: Slot, part: Part) -> Partition {
    let label = part.label(slot);
    gpt.partitions().find(|p| p.name == label).unwrap()
}

/// An empty disk with all partitions.
fn laid_out() -> MemoryDisk {
    const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    const ROOT: Guid = guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    let kinds = [
        (BOOT_PARTITION, 160),
        (TREE_PARTITION, 32),
        (USR_PARTITION, 320),
    ];
    let mut partitions = vec![(ESP, "esp", 8)];
    for slot in Slot::ALL {
        let labels = Part::ALL.map(|part| part.label(slot));
        let slot = kinds.into_iter().zip(labels);
        partitions.extend(slot.map(|((kind, sectors), label)| (kind, label, sectors)));
    }
    partitions.push((ROOT, "root", 8));
    let geometry = Geometry {
        block_size: 512,
        block_count: partitions.iter().map(|p| p.2).sum::<u64>() + 80,
    };
    let mut disk = MemoryDisk::new(512, usize::try_from(geometry.block_count).unwrap());
    let mut gpt = Gpt::new(geometry, Guid::from_bytes([0xd1; 16]), 128).unwrap();
    let mut first_lba = gpt.usable().0.next_multiple_of(8);
    for (number, (type_guid, name, sectors)) in (1_u8..).zip(partitions) {
        let partition = Partition {
            number: number.into(),
            type_guid,
            guid: Guid::from_bytes([number; 16]),
            first_lba,
            last_lba: first_lba + sectors - 1,
            attributes: 0,
            name: name.into(),
        };
        gpt.set_partition(&partition).unwrap();
        first_lba += sectors;
    }
    gpt.format(&mut disk).unwrap();
    disk
}
