//! Where the files of an erofs image lie.
//!
//! Reads what `mkfs.erofs` writes without compression (kernel documentation,
//! `filesystems/erofs.rst`; `erofs_fs.h`): directories and regular files whose data are
//! one run of blocks, with or without a tail beside the inode. Used to cut frames and to
//! pair files of two releases; hosts never read this. No number is believed: every
//! range is checked against the image.

use std::collections::HashSet;

/// Bytes of a block; other sizes are refused.
const BLOCK: u64 = 4096;
const MAGIC: u32 = 0xe0f5_e1e2;
const SUPERBLOCK: u64 = 1024;
/// Features that move data elsewhere: other devices, 48-bit block numbers.
const REFUSED: u32 = 0x8 | 0x80;
const INODE: u64 = 32;
const DIRENT: usize = 12;
const DIRECTORY: u16 = 0o040_000;
const REGULAR: u16 = 0o100_000;
/// Files and directories that are looked at, at most.
const MAX_INODES: usize = 1 << 20;

/// One regular file with blocks of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileExtent {
    /// Path in the image, without a leading slash.
    pub path: String,
    /// First block.
    pub start: usize,
    /// Blocks, whole ones and a last one that is not full. A tail that lies beside the
    /// inode is not among them.
    pub blocks: usize,
    /// Bytes in these blocks.
    pub bytes: usize,
}

/// Why an image cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErofsError {
    /// Something else, or another kind of erofs.
    #[error("not an erofs image with blocks of {BLOCK} bytes and without extra devices")]
    Other,
    /// A number leads out of the image or contradicts another.
    #[error("{what} at byte {at} is damaged")]
    Damaged {
        /// What.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// A file is compressed or in chunks.
    #[error("a file at inode {nid} has data layout {layout}, not one run of blocks")]
    Layout {
        /// Number of the inode.
        nid: u64,
        /// Layout in the inode.
        layout: u16,
    },
    /// More than any real one.
    #[error("more than {MAX_INODES} files")]
    TooMany,
}

/// The regular files of an image, by where they start. Of hard links one is listed.
pub fn files(image: &[u8]) -> Result<Vec<FileExtent>, ErofsError> {
    let image = Image::open(image)?;
    let mut open = vec![(String::new(), image.root)];
    let mut seen = HashSet::from([image.root]);
    let mut files = Vec::new();
    while let Some((path, nid)) = open.pop() {
        let inode = image.inode(nid)?;
        match inode.mode & 0o170_000 {
            DIRECTORY => {
                for (name, child) in image.entries(&inode)? {
                    if seen.insert(child) {
                        open.push((join(&path, &name), child));
                    }
                }
                if seen.len() > MAX_INODES {
                    return Err(ErofsError::TooMany);
                }
            }
            REGULAR => files.extend(image.extent(path, &inode)?),
            _ => {}
        }
    }
    files.sort_by(|a, b| (a.start, &a.path).cmp(&(b.start, &b.path)));
    Ok(files)
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_string(),
        path => format!("{path}/{name}"),
    }
}

struct Image<'a> {
    bytes: &'a [u8],
    root: u64,
    /// First byte of the inodes.
    inodes: u64,
}

struct Inode {
    nid: u64,
    mode: u16,
    layout: u16,
    size: u64,
    /// First block of the data.
    start: u64,
    /// First byte behind the inode and its attributes.
    end: u64,
}

impl<'a> Image<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, ErofsError> {
        let image = Self {
            bytes,
            root: 0,
            inodes: 0,
        };
        let read = |at| image.u32(SUPERBLOCK + at).map_err(|_| ErofsError::Other);
        let block_bits = image.u16(SUPERBLOCK + 12).map_err(|_| ErofsError::Other)? & 0xff;
        if read(0)? != MAGIC || 1_u64 << (block_bits & 31) != BLOCK || read(80)? & REFUSED != 0 {
            return Err(ErofsError::Other);
        }
        let root = image.u16(SUPERBLOCK + 14).map_err(|_| ErofsError::Other)?;
        Ok(Self {
            bytes,
            root: root.into(),
            inodes: u64::from(read(40)?) * BLOCK,
        })
    }

    fn inode(&self, nid: u64) -> Result<Inode, ErofsError> {
        let damaged = ErofsError::Damaged {
            what: "an inode",
            at: self.inodes,
        };
        let place = nid
            .checked_mul(INODE)
            .and_then(|at| at.checked_add(self.inodes));
        let at = place.ok_or(damaged)?;
        let format = self.u16(at)?;
        let (size, head) = match format & 1 {
            0 => (u64::from(self.u32(at + 8)?), 32),
            _ => (self.u64(at + 8)?, 64),
        };
        let attributes = match u64::from(self.u16(at + 2)?) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        };
        Ok(Inode {
            nid,
            mode: self.u16(at + 4)?,
            layout: format >> 1 & 7,
            size,
            start: self.u32(at + 16)?.into(),
            end: at + head + attributes,
        })
    }

    /// The run of blocks of an inode's data: whole blocks, and what of the last one is
    /// there; then the tail beside the inode.
    fn data(&self, inode: &Inode) -> Result<(&'a [u8], &'a [u8]), ErofsError> {
        let tail = match inode.layout {
            0 => 0,
            2 => inode.size % BLOCK,
            layout => {
                let nid = inode.nid;
                return Err(ErofsError::Layout { nid, layout });
            }
        };
        // Without whole blocks, the number of the first one means nothing.
        let blocks = match inode.size - tail {
            0 => &[],
            length => self.slice(inode.start * BLOCK, length, "a file")?,
        };
        Ok((blocks, self.slice(inode.end, tail, "the end of a file")?))
    }

    fn extent(&self, path: String, inode: &Inode) -> Result<Option<FileExtent>, ErofsError> {
        let (blocks, _) = self.data(inode)?;
        Ok((!blocks.is_empty()).then(|| FileExtent {
            path,
            start: inode.start as usize,
            blocks: blocks.len().div_ceil(BLOCK as usize),
            bytes: blocks.len(),
        }))
    }

    /// Names and inodes in a directory, without itself and its parent.
    fn entries(&self, inode: &Inode) -> Result<Vec<(String, u64)>, ErofsError> {
        let (blocks, tail) = self.data(inode)?;
        let mut entries = Vec::new();
        for block in blocks.chunks(BLOCK as usize).chain([tail]) {
            let damaged = ErofsError::Damaged {
                what: "a directory",
                at: inode.end,
            };
            entries.extend(entries_of(block).ok_or(damaged)?);
        }
        Ok(entries)
    }

    fn slice(&self, at: u64, length: u64, what: &'static str) -> Result<&'a [u8], ErofsError> {
        let range = || {
            let start = usize::try_from(at).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            self.bytes.get(start..end)
        };
        range().ok_or(ErofsError::Damaged { what, at })
    }

    fn number<const N: usize>(&self, at: u64) -> Result<[u8; N], ErofsError> {
        let bytes = self.slice(at, N as u64, "a field")?;
        let mut number = [0; N];
        number.copy_from_slice(bytes);
        Ok(number)
    }

    fn u16(&self, at: u64) -> Result<u16, ErofsError> {
        self.number(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Result<u32, ErofsError> {
        self.number(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Result<u64, ErofsError> {
        self.number(at).map(u64::from_le_bytes)
    }
}

/// The entries of one block of a directory: fixed parts, the first of which tells how
/// many there are, then names. `None` if they contradict each other.
fn entries_of(block: &[u8]) -> Option<Vec<(String, u64)>> {
    if block.is_empty() {
        return Some(Vec::new());
    }
    let name_at = |index: usize| {
        let at = block.get(index * DIRENT + 8..index * DIRENT + 10)?;
        Some(usize::from(u16::from_le_bytes(at.try_into().ok()?)))
    };
    let first = name_at(0)?;
    if first == 0 || !first.is_multiple_of(DIRENT) || first > block.len() {
        return None;
    }
    let count = first / DIRENT;
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let nid = block.get(index * DIRENT..index * DIRENT + 8)?;
        let end = match index + 1 {
            next if next < count => name_at(next)?,
            _ => block.len(),
        };
        let name = block.get(name_at(index)?..end)?;
        let name = name.split(|byte| *byte == 0).next()?;
        if name != b"." && name != b".." {
            let name = String::from_utf8_lossy(name).into_owned();
            entries.push((name, u64::from_le_bytes(nid.try_into().ok()?)));
        }
    }
    Some(entries)
}

#[cfg(test)]
mod tests;
