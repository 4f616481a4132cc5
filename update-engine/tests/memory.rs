//! How much memory an installation takes. Alone in its program: the kernel counts for the
//! whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bootloader::block::FileDisk;
use bootloader::gpt::{Geometry, Gpt, Guid, Partition};
use bootloader::slot::{BOOT_PARTITION, Slot, SlotBits};
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use update_engine::blocks::hash_blocks;
use update_engine::install::{self, Options, Progress, Release, Watch};
use update_engine::release::{self, BLOCK, Boot, Descriptor, Digest, Frame, Usr};
use update_engine::remote::{ByteStream, Remote, RemoteError};
use update_engine::slots::{HostDisk, Names, Part, Running, TREE_PARTITION, USR_PARTITION};
use update_engine::tree::Tree;
use update_engine::verified::Verified;

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;

/// Bytes of `/usr`, and of the kernel in the kernel image.
const USR: usize = 256 * MIB;
const KERNEL: usize = 32 * MIB;

/// What an update may take at most.
const BUDGET: usize = 64 * MIB;

/// Sectors of a boot, tree and usr partition.
const PARTITIONS: [(Part, Guid, usize); 3] = [
    (Part::Boot, BOOT_PARTITION, 40 * MIB / SECTOR),
    (Part::Tree, TREE_PARTITION, 16 * MIB / SECTOR),
    (Part::Usr, USR_PARTITION, USR / SECTOR),
];

/// Bytes that do not compress, the same for the same seed (xorshift64*).
fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed;
    for word in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let value = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

/// A kernel image as far as its headers say: one section of noise.
fn kernel(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR + KERNEL];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &240u16.to_le_bytes());
    put(0x58, &0x20bu16.to_le_bytes());
    put(0x58 + 60, &(SECTOR as u32).to_le_bytes());
    put(0x58 + 108, &[16]);
    put(0x148, b".linux");
    put(0x148 + 8, &(KERNEL as u32).to_le_bytes());
    put(0x148 + 16, &(KERNEL as u32).to_le_bytes());
    put(0x148 + 20, &(SECTOR as u32).to_le_bytes());
    noise(seed, &mut bytes[SECTOR..]);
    bytes
}

/// Cuts `image` into the largest frames there may be, in a file at `path`.
fn pack(image: &[u8], path: &Path) -> Vec<Frame> {
    let file = File::create(path).unwrap();
    let (mut frames, mut at) = (Vec::new(), 0);
    for part in image.chunks(release::MAX_FRAME_BLOCKS as usize * BLOCK) {
        let packed = zstd::bulk::compress(part, 1).unwrap();
        file.write_all_at(&packed, at).unwrap();
        at += packed.len() as u64;
        frames.push(Frame(
            part.len().div_ceil(BLOCK) as u32,
            packed.len() as u32,
        ));
    }
    frames
}

/// A release without its images.
struct Built {
    descriptor: Verified<Descriptor>,
    tree: Vec<u8>,
}

fn build(version: &str, usr: &[u8], boot: &[u8], files: &Path) -> Built {
    let salt = Digest([0x3f; 32]);
    let tree = Tree::build(usr, salt, [7; 16]).unwrap();
    let descriptor = Descriptor {
        schema: release::SCHEMA,
        version: version.parse().unwrap(),
        architecture: "x86_64".into(),
        minimum_version: "0.1.0".parse().unwrap(),
        notes: None,
        usr: Usr {
            size: usr.len() as u64,
            root: tree.root(),
            salt,
            tree_size: tree.bytes().len() as u64,
            tree_sha256: Digest(Sha256::digest(tree.bytes()).into()),
            frames: pack(usr, &files.join(release::USR_FRAMES)),
        },
        boot: Boot {
            size: boot.len() as u64,
            sha256: Digest(Sha256::digest(boot).into()),
            blocks: hash_blocks(&[], boot),
            frames: pack(boot, &files.join(release::BOOT_FRAMES)),
        },
        patches: Vec::new(),
    };
    descriptor.check().unwrap();
    Built {
        descriptor: Verified::assume(descriptor),
        tree: tree.bytes().to_vec(),
    }
}

/// A disk with the running release in slot `a`, in a file at `path`.
fn install_first(path: &Path, built: &Built, usr: &[u8], boot: &[u8]) {
    let sectors: usize = PARTITIONS.iter().map(|(_, _, sectors)| 2 * sectors).sum();
    let geometry = Geometry {
        block_size: SECTOR as u32,
        block_count: (sectors + 4096) as u64,
    };
    let file = File::create(path).unwrap();
    file.set_len(geometry.block_count * SECTOR as u64).unwrap();
    let mut gpt = Gpt::new(geometry, Guid::from_bytes([0xd1; 16]), 128).unwrap();
    let descriptor = &built.descriptor;
    let names = Names::of(descriptor.boot.sha256, descriptor.usr.root);
    let blessed = SlotBits {
        priority: 1,
        tries: 0,
        successful: true,
    };
    let (mut number, mut first_lba) = (0, 2048);
    for slot in Slot::ALL {
        for (part, type_guid, sectors) in PARTITIONS {
            number += 1;
            let (guid, content) = match part {
                Part::Boot => (names.boot, boot),
                Part::Tree => (names.tree, &built.tree[..]),
                Part::Usr => (names.usr, usr),
            };
            let runs = slot == Slot::A;
            if runs {
                let at = first_lba * SECTOR as u64;
                file.write_all_at(content, at).unwrap();
            }
            let partition = Partition {
                number,
                type_guid,
                guid: if runs {
                    guid
                } else {
                    Guid::from_bytes([number as u8; 16])
                },
                first_lba,
                last_lba: first_lba + sectors as u64 - 1,
                attributes: match (runs, part) {
                    (true, Part::Boot) => blessed.into_attributes(0),
                    _ => 0,
                },
                name: part.label(slot).into(),
            };
            gpt.set_partition(&partition).unwrap();
            first_lba += sectors as u64;
        }
    }
    gpt.format(&mut FileDisk::open(path, SECTOR as u32).unwrap())
        .unwrap();
}

/// Serves files as a network does: in small pieces, as fast as they are taken.
struct Files<'a>(&'a Path);

#[async_trait::async_trait]
impl Remote for Files<'_> {
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError> {
        let range = range.expect("a range");
        let file = File::open(self.0.join(target.rsplit('/').next().unwrap())).unwrap();
        let pieces = stream::unfold((file, range), |(file, rest)| async move {
            let length = (rest.end - rest.start).min(64 << 10) as usize;
            if length == 0 {
                return None;
            }
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, rest.start).unwrap();
            let rest = rest.start + length as u64..rest.end;
            Some((Ok(Bytes::from(piece)), (file, rest)))
        });
        Ok(Box::pin(pieces))
    }
}

/// Forgets the process's peak of memory so far.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel forgets the peak");
}

/// The most memory that was resident since then.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .unwrap();
    number.parse::<usize>().unwrap() << 10
}

#[test]
fn an_update_of_256_mib_takes_less_memory_than_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let (old, new) = {
        let mut usr = vec![0; USR];
        noise(1, &mut usr);
        let boot = kernel(2);
        let old = build("1.0.0", &usr, &boot, dir.path());
        install_first(&disk, &old, &usr, &boot);
        // A third is copied, a third of that from another place; the rest is fetched.
        usr.copy_within(USR / 9..USR / 3, 0);
        noise(3, &mut usr[USR / 3..]);
        (old, build("2.0.0", &usr, &kernel(4), dir.path()))
    };
    let running = Running {
        slot: Slot::A,
        root: old.descriptor.usr.root,
    };
    drop(old);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();

    forget_peak();
    let release = Release {
        descriptor: &new.descriptor,
        tree: new.tree,
    };
    let mut disk = HostDisk::open(&disk).unwrap();
    let (progress, cancel) = (
        watch::Sender::new(Progress::default()),
        watch::Sender::new(false),
    );
    let watch = Watch::new(progress, cancel.subscribe());
    let (files, options) = (Files(dir.path()), Options::default());
    let installing = install::install(&mut disk, running, release, &files, &options, &watch);
    let report = runtime.block_on(installing).unwrap();
    let peak = peak();

    assert_eq!(report.slot, Slot::B);
    let progress = report.progress;
    assert_eq!(progress.in_place(), progress.total);
    assert!(progress.fetched > progress.total / 2, "{progress:?}");
    assert!(peak < BUDGET, "{} MiB", peak / MIB);
}
