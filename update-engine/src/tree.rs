//! The dm-verity hash tree of `/usr`, as `veritysetup` writes it (cryptsetup's
//! "DMVerity" on-disk format, version 1).
//!
//! A superblock in the first block, then the levels, the top one first. A level is the
//! hashes of the blocks below it, 128 in a block, padded with zeros to whole blocks. The
//! root hash is that of the top level's only block, and nothing else vouches for
//! the tree: [`Tree::verify`] believes no hash before it led there.

use crate::blocks::{BlockHashes, DIGEST, hash, sha256};
use crate::release::{BLOCK, Digest, MAX_USR, Usr};

/// Hashes in a block of the tree.
const FAN_OUT: u64 = (BLOCK / DIGEST) as u64;

/// Most blocks of `/usr` that a tree may have. It keeps every length here, and the memory
/// that a tree takes, in bounds.
pub const MAX_BLOCKS: u64 = MAX_USR / BLOCK as u64;

/// The superblock's fields, and where they are.
const SIGNATURE: &[u8; 8] = b"verity\0\0";
const UUID: std::ops::Range<usize> = 16..32;
const ALGORITHM: std::ops::Range<usize> = 32..64;
const SALT_SIZE: usize = 80;
const SALT: std::ops::Range<usize> = 88..344;

/// Why bytes are not the tree that was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Too few or too many blocks, or a part of one.
    #[error("an image of {size} bytes: it must have 2 to {MAX_BLOCKS} whole blocks of {BLOCK}")]
    Size {
        /// Bytes of the image.
        size: u64,
    },
    /// A tree over so many blocks has another length.
    #[error("the tree has {found} bytes, one for {size} bytes of image has {expected}")]
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes of the image.
        size: u64,
        /// Bytes that belong there.
        expected: u64,
    },
    /// The whole is not what the descriptor says.
    #[error("the tree's SHA-256 is {found}, not {expected}")]
    Whole {
        /// Of the bytes that are there.
        found: Digest,
        /// In the descriptor.
        expected: Digest,
    },
    /// A field of the superblock.
    #[error("the superblock's {field} is not the release's")]
    Superblock {
        /// Name of the field.
        field: &'static str,
    },
    /// A block of hashes is not what the level above says.
    #[error("block {block} of the tree does not lead to the root {root}")]
    Hash {
        /// Number of the block in the tree, the superblock being 0.
        block: u64,
        /// The root hash.
        root: Digest,
    },
}

/// A hash tree that leads to its root hash, all of it.
#[derive(Debug, Clone)]
pub struct Tree {
    bytes: Vec<u8>,
    salt: Digest,
    shape: Shape,
}

impl Tree {
    /// Takes `bytes` as the tree that the descriptor names. Hashes all of them, twice.
    pub fn verify(bytes: Vec<u8>, usr: &Usr) -> Result<Self, TreeError> {
        let found = sha256(&bytes);
        if bytes.len() as u64 != usr.tree_size || found != usr.tree_sha256 {
            let expected = usr.tree_sha256;
            return Err(TreeError::Whole { found, expected });
        }
        Self::lead_to(bytes, usr.size, usr.salt, usr.root)
    }

    /// Takes `bytes` as the tree of an image of `size` bytes with the root hash `root`.
    pub fn lead_to(
        bytes: Vec<u8>,
        size: u64,
        salt: Digest,
        root: Digest,
    ) -> Result<Self, TreeError> {
        let shape = Shape::of(size)?;
        if bytes.len() as u64 != shape.bytes() {
            return Err(TreeError::Length {
                found: bytes.len() as u64,
                size,
                expected: shape.bytes(),
            });
        }
        let tree = Self { bytes, salt, shape };
        tree.check_superblock()?;
        tree.check_levels(root)?;
        Ok(tree)
    }

    /// Takes `bytes` as some tree of an image of `size` bytes, without any check of the
    /// hashes in it; `None` if the length is wrong.
    pub fn claim(bytes: Vec<u8>, size: u64, salt: Digest) -> Option<Self> {
        let shape = Shape::of(size).ok()?;
        let fits = bytes.len() as u64 == shape.bytes();
        fits.then_some(Self { bytes, salt, shape })
    }

    /// The tree of `image`, whose length is a multiple of the block size.
    pub fn build(image: &[u8], salt: Digest, uuid: [u8; 16]) -> Result<Self, TreeError> {
        let shape = Shape::of(image.len() as u64)?;
        let mut bytes = vec![0; shape.bytes() as usize];
        bytes[..BLOCK].copy_from_slice(&superblock(shape.data, salt, uuid));
        let mut below = crate::blocks::hash_blocks(&salt.0, image);
        for level in shape.levels.iter().rev() {
            let at = level.first as usize * BLOCK;
            bytes[at..at + below.len()].copy_from_slice(&below);
            let whole = level.blocks as usize * BLOCK;
            below = crate::blocks::hash_blocks(&salt.0, &bytes[at..at + whole]);
        }
        Ok(Self { bytes, salt, shape })
    }

    /// The tree as it lies in its partition.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tree as it lies in its partition, no longer vouched for.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes of the image below the tree.
    pub fn image_size(&self) -> u64 {
        self.shape.data * BLOCK as u64
    }

    /// The root hash.
    pub fn root(&self) -> Digest {
        Digest(hash(&self.salt.0, self.block(1)))
    }

    /// The hash of every block of the image.
    pub fn leaves(&self) -> BlockHashes<'_> {
        let start = self.shape.leaves() as usize * BLOCK;
        let end = start + self.shape.data as usize * DIGEST;
        let digests = self.bytes.get(start..end).unwrap_or_default();
        BlockHashes::new(&self.salt.0, digests)
    }

    fn block(&self, number: u64) -> &[u8] {
        let at = number as usize * BLOCK;
        self.bytes.get(at..at + BLOCK).unwrap_or_default()
    }

    /// The UUID is the only field that is free.
    fn check_superblock(&self) -> Result<(), TreeError> {
        let found = self.block(0);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&found[UUID]);
        let expected = superblock(self.shape.data, self.salt, uuid);
        match (0..BLOCK).find(|i| found[*i] != expected[*i]) {
            None => Ok(()),
            Some(at) => Err(TreeError::Superblock { field: field(at) }),
        }
    }

    /// Every block of the tree against the level above it, the top one against `root`.
    fn check_levels(&self, root: Digest) -> Result<(), TreeError> {
        let mut above: &[u8] = &root.0;
        for level in &self.shape.levels {
            for (i, digest) in (0..level.blocks).zip(above.chunks_exact(DIGEST)) {
                let block = level.first + i;
                if hash(&self.salt.0, self.block(block)) != digest {
                    return Err(TreeError::Hash { block, root });
                }
            }
            let at = level.first as usize * BLOCK;
            above = &self.bytes[at..at + level.blocks as usize * BLOCK];
        }
        Ok(())
    }
}

/// How many bytes of a tree partition to read for the tree whose superblock is at the
/// start of `first`, what image it is of, and with which salt. Nothing of it is checked.
pub fn claimed(first: &[u8]) -> Option<(u64, u64, Digest)> {
    let number = |at: usize| {
        let bytes = first.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let blocks = number(72).filter(|blocks| *blocks <= MAX_BLOCKS)?;
    let size = blocks * BLOCK as u64;
    let salt = first
        .get(SALT.start..SALT.start + DIGEST)?
        .try_into()
        .ok()?;
    let is_tree = first.starts_with(SIGNATURE);
    let shape = Shape::of(size).ok().filter(|_| is_tree)?;
    Some((shape.bytes(), size, Digest(salt)))
}

/// Where the levels lie.
#[derive(Debug, Clone)]
struct Shape {
    /// Blocks of the image.
    data: u64,
    /// The top level first; of more than one block of data there is at least one.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    first: u64,
    blocks: u64,
}

impl Shape {
    fn of(size: u64) -> Result<Self, TreeError> {
        let data = size / BLOCK as u64;
        if !size.is_multiple_of(BLOCK as u64) || !(2..=MAX_BLOCKS).contains(&data) {
            return Err(TreeError::Size { size });
        }
        let mut counts = Vec::new();
        let mut below = data;
        while below > 1 {
            below = below.div_ceil(FAN_OUT);
            counts.push(below);
        }
        let mut first = 1;
        let levels = counts.into_iter().rev().map(|blocks| {
            let level = Level { first, blocks };
            first += blocks;
            level
        });
        let levels = levels.collect();
        Ok(Self { data, levels })
    }

    fn leaves(&self) -> u64 {
        self.levels.last().map_or(1, |level| level.first)
    }

    fn bytes(&self) -> u64 {
        let end = self.levels.last().map_or(1, |l| l.first + l.blocks);
        end * BLOCK as u64
    }
}

fn superblock(data_blocks: u64, salt: Digest, uuid: [u8; 16]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let block_size = (BLOCK as u32).to_le_bytes();
    put(0, SIGNATURE);
    // Version of the superblock, and of how salt and block are put together.
    put(8, &1u32.to_le_bytes());
    put(12, &1u32.to_le_bytes());
    put(UUID.start, &uuid);
    put(ALGORITHM.start, b"sha256");
    put(64, &block_size);
    put(68, &block_size);
    put(72, &data_blocks.to_le_bytes());
    put(SALT_SIZE, &(DIGEST as u16).to_le_bytes());
    put(SALT.start, &salt.0);
    block
}

fn field(at: usize) -> &'static str {
    match at {
        0..8 => "signature",
        8..12 => "version",
        12..16 => "hash type",
        32..64 => "hash algorithm",
        64..72 => "block size",
        72..80 => "number of blocks",
        80..82 => "salt size",
        88..344 => "salt",
        _ => "padding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT_OF_RELEASES: &str =
        "3f5b1f0c8a2e4d7796b0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516";
    const UUID: [u8; 16] = [
        0x0f, 0x7a, 0xd8, 0xee, 0x98, 0xa1, 0x4b, 0x6a, 0x8d, 0xf0, 0x9a, 0x8a, 0x4f, 0x6c, 0x5a,
        0x02,
    ];

    /// Block `i` is the SHA-256 of `block i`, 128 times.
    fn image(blocks: usize) -> Vec<u8> {
        (0..blocks)
            .flat_map(|i| sha256(format!("block {i}").as_bytes()).0.repeat(128))
            .collect()
    }

    fn tree(blocks: usize) -> Tree {
        Tree::build(&image(blocks), SALT_OF_RELEASES.parse().unwrap(), UUID).unwrap()
    }

    fn again(tree: &Tree, bytes: Vec<u8>) -> Result<Tree, TreeError> {
        Tree::lead_to(bytes, tree.image_size(), tree.salt, tree.root())
    }

    #[test]
    fn a_tree_is_what_veritysetup_writes() {
        // veritysetup format --data-block-size=4096 --hash-block-size=4096 --salt=…
        // --uuid=… of cryptsetup 2.7.5, over `image(300)`.
        let tree = tree(300);
        assert_eq!(
            tree.root().to_string(),
            "f2dce3a9cef7ada1e899680961e8ffddb6458fd5ddb8e1358659b3f5da1dd3df"
        );
        assert_eq!(
            sha256(tree.bytes()).to_string(),
            "aeb170e91417e32f624f855b3850379a09b547ac5e27a89473a951a0f778a079"
        );
    }

    #[test]
    fn trees_of_all_heights_lead_to_their_roots() {
        for blocks in [2, 127, 128, 129, 300, 128 * 128, 128 * 128 + 1] {
            let tree = tree(blocks);
            let read = again(&tree, tree.bytes.clone()).unwrap();
            let expected = crate::release::tree_size(tree.image_size());
            assert_eq!(tree.bytes.len() as u64, expected);
            assert_eq!(read.leaves().count(), blocks);
            assert!(
                read.leaves()
                    .matches(blocks - 1, &image(blocks)[(blocks - 1) * BLOCK..])
            );
            let (bytes, size, salt) = claimed(&tree.bytes[..BLOCK]).unwrap();
            assert_eq!((bytes, size), (tree.bytes.len() as u64, tree.image_size()));
            assert_eq!(salt, tree.salt);
        }
    }

    #[test]
    fn any_other_byte_is_refused() {
        let tree = tree(300);
        for at in (0..tree.bytes.len()).filter(|at| !super::UUID.contains(at)) {
            // Every byte of the superblock's fields, some of all the others.
            if at > 400 && at % 61 != 0 {
                continue;
            }
            let mut bytes = tree.bytes.clone();
            bytes[at] ^= 1;
            assert!(again(&tree, bytes).is_err(), "byte {at} was changed");
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read() {
        let tree = tree(300);
        let shorter = tree.bytes[..tree.bytes.len() - 1].to_vec();
        assert!(matches!(
            again(&tree, shorter),
            Err(TreeError::Length { .. })
        ));
        for size in [0, BLOCK as u64, 5000, u64::MAX, u64::MAX - 4095] {
            let refused = Tree::lead_to(Vec::new(), size, tree.salt, tree.root());
            assert_eq!(refused.unwrap_err(), TreeError::Size { size });
        }
        let mut endless = tree.bytes[..BLOCK].to_vec();
        endless[72..80].fill(0xff);
        assert_eq!(claimed(&endless), None);
        assert_eq!(claimed(&tree.bytes[..100]), None);
        assert_eq!(claimed(&[0; BLOCK]), None);
    }
}
