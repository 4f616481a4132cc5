//! Small releases, disks that hold them, servers that serve them.

mod disk;
mod recorder;
mod server;

use bootloader::Slot;
use tokio::sync::watch;

use super::*;
use crate::release::{Boot, Usr};

pub use disk::*;
pub use recorder::*;
pub use server::*;

pub const SECTOR: usize = 512;

const SALT: Digest = Digest([0x3f; 32]);

/// A release with everything that a repository has of it.
#[derive(Clone)]
pub struct Built {
    pub descriptor: Verified<Descriptor>,
    pub usr: Vec<u8>,
    pub tree: Vec<u8>,
    pub boot: Vec<u8>,
    pub usr_file: Vec<u8>,
    pub boot_file: Vec<u8>,
}

/// Deterministic bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let block = |i: usize| Sha256::digest(format!("{seed} {i}")).to_vec();
    let mut bytes: Vec<u8> = (0..length.div_ceil(32)).flat_map(block).collect();
    bytes.truncate(length);
    bytes
}

/// An image of one block for every number: equal numbers, equal blocks; 0 is zeros.
pub fn image(blocks: &[u64]) -> Vec<u8> {
    let block = |seed: &u64| match seed {
        0 => vec![0; BLOCK],
        seed => noise(*seed, BLOCK),
    };
    blocks.iter().flat_map(block).collect()
}

/// A kernel image, as far as its headers say: `payload` in the kernel in it.
pub fn kernel(payload: &[u8]) -> Vec<u8> {
    program(".linux", &program(".text", payload))
}

/// A PE program of one section.
fn program(name: &str, content: &[u8]) -> Vec<u8> {
    let raw = content.len().next_multiple_of(SECTOR);
    let mut bytes = vec![0; SECTOR];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &240u16.to_le_bytes());
    put(0x58, &0x20bu16.to_le_bytes());
    put(0x58 + 60, &(SECTOR as u32).to_le_bytes());
    put(0x58 + 108, &[16]);
    let section = 0x40 + 24 + 240;
    put(section, name.as_bytes());
    put(section + 8, &(content.len() as u32).to_le_bytes());
    put(section + 16, &(raw as u32).to_le_bytes());
    put(section + 20, &(SECTOR as u32).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(SECTOR + raw, 0);
    bytes
}

/// Cuts an image into frames of `blocks` blocks.
fn pack(image: &[u8], blocks: usize) -> (Vec<Frame>, Vec<u8>) {
    let (mut frames, mut file) = (Vec::new(), Vec::new());
    for part in image.chunks(blocks * BLOCK) {
        let packed = zstd::bulk::compress(part, 1).unwrap();
        let count = part.len().div_ceil(BLOCK) as u32;
        frames.push(Frame(count, packed.len() as u32));
        file.extend(packed);
    }
    (frames, file)
}

/// A release of these images, cut into frames of `cut` blocks.
pub fn build(version: &str, usr: Vec<u8>, boot: Vec<u8>, cut: usize) -> Built {
    let tree = Tree::build(&usr, SALT, [7; 16]).unwrap();
    let (usr_frames, usr_file) = pack(&usr, cut);
    let (boot_frames, boot_file) = pack(&boot, cut);
    let descriptor = Descriptor {
        schema: release::SCHEMA,
        version: version.parse().unwrap(),
        architecture: "x86_64".into(),
        minimum_version: "0.1.0".parse().unwrap(),
        notes: None,
        usr: Usr {
            size: usr.len() as u64,
            root: tree.root(),
            salt: SALT,
            tree_size: tree.bytes().len() as u64,
            tree_sha256: crate::blocks::sha256(tree.bytes()),
            frames: usr_frames,
        },
        boot: Boot {
            size: boot.len() as u64,
            sha256: crate::blocks::sha256(&boot),
            blocks: hash_blocks(&[], &boot),
            frames: boot_frames,
        },
        patches: Vec::new(),
    };
    descriptor.check().unwrap();
    Built {
        descriptor: Verified::new(descriptor),
        usr,
        tree: tree.bytes().to_vec(),
        boot,
        usr_file,
        boot_file,
    }
}

/// A release that shares most of its blocks with those of other generations, at other
/// places; it has twins and zeros, and its kernel ends inside a block.
pub fn release(version: &str, generation: u64) -> Built {
    let shared = (100..118).map(|i| i + generation % 2 * 3);
    let own = (0..14).map(|i| 1000 * (generation + 1) + i);
    let twins = [0, 0, 7, 7, 0, 100, 1000 * (generation + 1)];
    let usr: Vec<u64> = shared.chain(own).chain(twins).collect();
    let mut payload = noise(generation, 2 * BLOCK + 100);
    payload.resize(3 * BLOCK - SECTOR, 0);
    payload.extend(noise(99, 6 * BLOCK + 1000));
    build(version, image(&usr), kernel(&payload), 4)
}

impl Built {
    pub fn root(&self) -> Digest {
        self.descriptor.usr.root
    }

    pub fn names(&self) -> Names {
        Names::of(self.descriptor.boot.sha256, self.root())
    }

    pub fn running(&self, slot: Slot) -> Running {
        let root = self.root();
        Running { slot, root }
    }

    pub fn release(&self) -> Release<'_> {
        Release {
            descriptor: &self.descriptor,
            tree: self.tree.clone(),
        }
    }

    pub fn content(&self, part: Part) -> &[u8] {
        match part {
            Part::Boot => &self.boot,
            Part::Tree => &self.tree,
            Part::Usr => &self.usr,
        }
    }
}

/// Options under which a small disk sees everything that a large one does.
pub fn options() -> Options {
    Options {
        limits: Limits {
            gap: 0,
            request: 8000,
        },
        flush_every: 32 << 10,
        ..Options::default()
    }
}

/// Someone who watches, and does not interfere.
pub fn watch() -> Watch {
    Watch::new(
        watch::Sender::new(Progress::default()),
        watch::Sender::new(false).subscribe(),
    )
}

/// Runs a future to its end on a clock that only moves while everybody waits: one that
/// waits for what never comes fails.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let done = runtime.block_on(async { tokio::time::timeout(day, work).await });
    done.expect("nobody is left who could go on")
}

/// Installs `new` while `old` runs in slot `a`.
pub fn run<D: Disk>(
    disk: &mut D,
    old: &Built,
    new: &Built,
    remote: &dyn Remote,
) -> Result<Report, InstallError> {
    run_with(disk, [old, new], remote, &options(), &watch())
}

/// Installs the second release while the first one runs in slot `a`.
pub fn run_with<D: Disk>(
    disk: &mut D,
    [old, new]: [&Built; 2],
    remote: &dyn Remote,
    options: &Options,
    watch: &Watch,
) -> Result<Report, InstallError> {
    let running = old.running(Slot::A);
    block_on(install(
        disk,
        running,
        new.release(),
        remote,
        options,
        watch,
    ))
}
