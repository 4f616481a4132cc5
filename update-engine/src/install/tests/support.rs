//! Small releases, disks that hold them, servers that serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bootloader::block::MemoryDisk;
use bootloader::gpt::{Geometry, Gpt, Guid, Partition, guid};
use bootloader::slot::{BOOT_PARTITION, SlotBits, SlotTable};
use bootloader::{BlockError, BlockIo, Slot};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use super::*;
use crate::release::{Boot, Usr};
use crate::remote::{ByteStream, RemoteError};
use crate::slots::{TREE_PARTITION, USR_PARTITION};

pub const SECTOR: usize = 512;

const SALT: Digest = Digest([0x3f; 32]);

/// Root, types and places of the real layout's partitions, in sectors. Small, and apart
/// from each other.
const ROOT_PARTITION: Guid = guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");

/// Sectors of the partitions: what the releases here need, and a little more.
#[derive(Clone, Copy)]
pub struct Layout {
    pub boot: u64,
    pub tree: u64,
    pub usr: u64,
    /// Entries of the partition table, used or not.
    pub entries: u32,
}

impl Layout {
    pub const SMALL: Self = Self {
        boot: 20 * 8,
        tree: 4 * 8,
        usr: 72 * 8,
        entries: 128,
    };
}

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

    fn content(&self, part: Part) -> &[u8] {
        match part {
            Part::Boot => &self.boot,
            Part::Tree => &self.tree,
            Part::Usr => &self.usr,
        }
    }
}

/// A disk in the real layout: `old` blessed in slot `a`, nothing in slot `b`.
pub fn disk_with(old: &Built) -> MemoryDisk {
    disk_of(Layout::SMALL, old)
}

pub fn disk_of(layout: Layout, old: &Built) -> MemoryDisk {
    let slot = [
        (BOOT_PARTITION, layout.boot),
        (TREE_PARTITION, layout.tree),
        (USR_PARTITION, layout.usr),
    ];
    let labels = Slot::ALL.map(|slot| Part::ALL.map(|part| part.label(slot)));
    let mut partitions = vec![(ESP, "esp", 8)];
    for labels in labels {
        for ((type_guid, sectors), label) in slot.into_iter().zip(labels) {
            partitions.push((type_guid, label, sectors));
        }
    }
    partitions.push((ROOT_PARTITION, "root", 8));
    let sectors: u64 = partitions.iter().map(|p| p.2).sum();
    let geometry = Geometry {
        block_size: SECTOR as u32,
        block_count: sectors + 2 * 34 + 6,
    };
    let mut disk = MemoryDisk::new(SECTOR as u32, geometry.block_count as usize);
    let mut gpt = Gpt::new(geometry, Guid::from_bytes([0xd1; 16]), layout.entries).unwrap();
    let mut first_lba = gpt.usable().0.next_multiple_of(8);
    for (index, (type_guid, name, sectors)) in partitions.into_iter().enumerate() {
        let partition = Partition {
            number: index as u32 + 1,
            type_guid,
            guid: Guid::from_bytes([index as u8 + 1; 16]),
            first_lba,
            last_lba: first_lba + sectors - 1,
            attributes: 0,
            name: name.into(),
        };
        gpt.set_partition(&partition).unwrap();
        first_lba += sectors;
    }
    gpt.format(&mut disk).unwrap();
    let blessed = SlotBits {
        priority: 1,
        tries: 0,
        successful: true,
    };
    put(&mut disk, Slot::A, old, blessed);
    disk
}

/// Puts a release into a slot, below any code under test.
pub fn put(disk: &mut MemoryDisk, slot: Slot, built: &Built, bits: SlotBits) {
    let mut gpt = Gpt::read(disk).unwrap();
    let names = built.names();
    for part in Part::ALL {
        let partition = find(&gpt, slot, part);
        let at = partition.first_lba as usize * SECTOR;
        let content = built.content(part);
        disk.bytes_mut()[at..at + content.len()].copy_from_slice(content);
        let guid = match part {
            Part::Boot => names.boot,
            Part::Tree => names.tree,
            Part::Usr => names.usr,
        };
        gpt.set_guid(partition.number, guid).unwrap();
        if part == Part::Boot {
            let attributes = bits.into_attributes(0);
            gpt.set_attributes(partition.number, attributes).unwrap();
        }
    }
    gpt.commit(disk).unwrap();
}

pub fn find(gpt: &Gpt, slot: Slot, part: Part) -> Partition {
    let label = part.label(slot);
    gpt.partitions().find(|p| p.name == label).unwrap()
}

/// A disk that is only looked at.
struct View<'a>(&'a [u8]);

impl BlockIo for View<'_> {
    fn block_size(&self) -> u32 {
        SECTOR as u32
    }

    fn block_count(&self) -> u64 {
        (self.0.len() / SECTOR) as u64
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let at = lba as usize * SECTOR;
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        unreachable!("nobody writes while looking")
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        unreachable!("nobody writes while looking")
    }
}

pub fn gpt(disk: &MemoryDisk) -> Gpt {
    Gpt::read(&mut View(disk.bytes())).unwrap()
}

/// The first bytes of a partition.
pub fn content<'a>(
    disk: &'a MemoryDisk,
    gpt: &Gpt,
    slot: Slot,
    part: Part,
    length: usize,
) -> &'a [u8] {
    let at = find(gpt, slot, part).first_lba as usize * SECTOR;
    &disk.bytes()[at..at + length]
}

/// Byte for byte, and by the name of every partition.
pub fn assert_holds(disk: &MemoryDisk, slot: Slot, built: &Built) {
    let gpt = gpt(disk);
    for part in Part::ALL {
        let expected = built.content(part);
        let found = content(disk, &gpt, slot, part, expected.len());
        assert!(found == expected, "{} is wrong", part.label(slot));
    }
    let guid = |part| find(&gpt, slot, part).guid;
    let names = Names {
        boot: guid(Part::Boot),
        tree: guid(Part::Tree),
        usr: guid(Part::Usr),
    };
    assert_eq!(names, built.names());
}

pub fn table(disk: &MemoryDisk) -> SlotTable {
    SlotTable::from_gpt(&gpt(disk)).unwrap()
}

pub fn bits(disk: &MemoryDisk, slot: Slot) -> SlotBits {
    table(disk).bits(slot)
}

/// The slot that the selector tries first.
pub fn chosen(disk: &MemoryDisk) -> Slot {
    bootloader::choose(&table(disk)).first.slot
}

/// Answers with other bytes than it has.
type Lie = Box<dyn Fn(&str, Range<u64>, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// A server in memory.
pub struct Server {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes of a piece in which answers come.
    pub piece: usize,
    pub ranges: bool,
    /// What it makes of the bytes of an answer.
    pub lie: Option<Lie>,
    /// After every so many bytes the connection is lost.
    pub breaks_after: Option<usize>,
    log: Mutex<Vec<Asked>>,
    sent: Arc<AtomicU64>,
}

/// A request.
pub type Asked = (String, Option<Range<u64>>);

impl Server {
    pub fn of(built: &Built) -> Self {
        let name = |file| release::target_name(&built.descriptor.version, file);
        let files = [
            (name(release::USR_FRAMES), built.usr_file.clone()),
            (name(release::BOOT_FRAMES), built.boot_file.clone()),
        ];
        Self {
            files: files.into(),
            piece: 1000,
            ranges: true,
            lie: None,
            breaks_after: None,
            log: Mutex::default(),
            sent: Arc::default(),
        }
    }

    pub fn size_of(&self, built: &Built) -> u64 {
        (built.usr_file.len() + built.boot_file.len()) as u64
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// Bytes that were taken from answers.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn lost(target: &str) -> RemoteError {
        RemoteError::Transport {
            target: target.into(),
            source: "connection reset".into(),
        }
    }
}

#[async_trait::async_trait]
impl Remote for Server {
    async fn read(
        &self,
        target: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, RemoteError> {
        self.log
            .lock()
            .unwrap()
            .push((target.into(), range.clone()));
        if range.is_some() && !self.ranges {
            let target = target.into();
            return Err(RemoteError::NoRanges { target });
        }
        let file = &self.files[target];
        let range = range.unwrap_or(0..file.len() as u64);
        let mut bytes = file[range.start as usize..range.end as usize].to_vec();
        if let Some(lie) = &self.lie {
            bytes = lie(target, range, bytes);
        }
        let broken = self.breaks_after.filter(|most| *most < bytes.len());
        bytes.truncate(broken.unwrap_or(bytes.len()));
        let pieces = bytes.chunks(self.piece).map(Bytes::copy_from_slice);
        let mut answers: Vec<_> = pieces.map(Ok).collect();
        if broken.is_some() {
            answers.push(Err(Self::lost(target)));
        }
        let sent = Arc::clone(&self.sent);
        let counted = stream::iter(answers).inspect(move |answer| {
            let length = answer.as_ref().map_or(0, Bytes::len);
            sent.fetch_add(length as u64, Ordering::Relaxed);
        });
        Ok(Box::pin(counted))
    }
}

/// One thing that a disk was made to do.
#[derive(Clone, Debug)]
pub enum Step {
    Write(u64, Vec<u8>),
    Flush,
}

/// A disk that remembers what it was made to do, and may stop writing.
pub struct Recorder {
    pub disk: MemoryDisk,
    pub steps: Vec<Step>,
    /// Writes until it refuses them.
    pub writes_left: usize,
    /// It says that it writes to this block, and does not.
    pub forgets: Option<u64>,
}

impl Recorder {
    pub fn new(disk: MemoryDisk) -> Self {
        Self {
            disk,
            steps: Vec::new(),
            writes_left: usize::MAX,
            forgets: None,
        }
    }
}

impl BlockIo for Recorder {
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
        use bootloader::block::Operation;
        let Some(left) = self.writes_left.checked_sub(1) else {
            let why = "no more writes";
            return Err(BlockError::new(Operation::Write, lba, data.len(), why));
        };
        self.writes_left = left;
        self.steps.push(Step::Write(lba, data.to_vec()));
        let end = lba + (data.len() / SECTOR) as u64;
        if self.forgets.is_some_and(|at| (lba..end).contains(&at)) {
            return Ok(());
        }
        self.disk.write(lba, data)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.steps.push(Step::Flush);
        self.disk.flush()
    }
}

impl Disk for Recorder {
    fn reread(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let durable = matches!(self.steps.last(), Some(Step::Flush));
        assert!(durable, "read back what may still be in a cache");
        self.disk.reread(lba, buffer)
    }
}

/// Every write to the partitions of slot `b` is what `new` has in that place, and to
/// those of slot `a` there is none.
pub fn assert_only_signed_writes(recorder: &Recorder, new: &Built) {
    let gpt = gpt(&recorder.disk);
    for step in &recorder.steps {
        let Step::Write(lba, data) = step else {
            continue;
        };
        let inside = |p: &Partition| (p.first_lba..=p.last_lba).contains(lba);
        for part in Part::ALL {
            assert!(!inside(&find(&gpt, Slot::A, part)), "wrote to slot a");
            let partition = find(&gpt, Slot::B, part);
            if inside(&partition) {
                let at = (lba - partition.first_lba) as usize * SECTOR;
                let mut expected = new.content(part)[at..].to_vec();
                expected.resize(expected.len().max(data.len()), 0);
                assert!(expected.starts_with(data), "{}: {at}", part.label(Slot::B));
            }
        }
    }
}

/// The frames of `target` that any request covered, with their numbers.
pub fn frames_asked(server: &Server, target: &str, frames: &[Frame]) -> Vec<usize> {
    let table = FrameTable::new(frames);
    let asked = server.asked();
    let covers = |frame: usize| {
        let bytes = table.bytes(frame..frame + 1);
        asked.iter().any(|(name, range)| match range {
            Some(range) => name == target && range.start < bytes.end && bytes.start < range.end,
            None => name == target,
        })
    };
    (0..table.count()).filter(|frame| covers(*frame)).collect()
}

/// Fails if a frame was asked for of which the disk had every block before: in its place
/// in slot `b`, as a twin there, or anywhere in the same partition of slot `a`.
pub fn assert_nothing_needless(before: &MemoryDisk, old: &Built, new: &Built, server: &Server) {
    let descriptor = &new.descriptor;
    let parts = [
        (Part::Usr, release::USR_FRAMES, &descriptor.usr.frames),
        (Part::Boot, release::BOOT_FRAMES, &descriptor.boot.frames),
    ];
    let gpt = gpt(before);
    for (part, file, frames) in parts {
        let target = release::target_name(&descriptor.version, file);
        let wanted = padded(new.content(part));
        let there = content(before, &gpt, Slot::B, part, wanted.len());
        let active = padded(old.content(part));
        let mut had: BTreeSet<&[u8]> = active.chunks(BLOCK).collect();
        let pairs = there.chunks(BLOCK).zip(wanted.chunks(BLOCK));
        had.extend(pairs.filter(|(a, b)| a == b).map(|(block, _)| block));
        let table = FrameTable::new(frames);
        for frame in frames_asked(server, &target, frames) {
            let blocks = table.blocks(frame);
            let mut blocks = wanted[blocks.start * BLOCK..blocks.end * BLOCK].chunks(BLOCK);
            assert!(
                blocks.any(|block| !had.contains(block)),
                "frame {frame} of {target} was fetched although every block was there"
            );
        }
    }
}

fn padded(image: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    image
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

/// Runs a future to its end on a clock that does not wait.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// Installs `new` while `old` runs in slot `a`.
pub fn run<D: Disk>(
    disk: &mut D,
    old: &Built,
    new: &Built,
    remote: &dyn Remote,
) -> Result<Report, InstallError> {
    let release = Release {
        descriptor: &new.descriptor,
        tree: new.tree.clone(),
    };
    let (running, options, watch) = (old.running(Slot::A), options(), watch());
    block_on(install(disk, running, release, remote, &options, &watch))
}
