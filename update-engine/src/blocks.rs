//! Images as lists of block hashes.

use sha2::{Digest as _, Sha256};

use crate::release::{BLOCK, Digest};

/// Bytes of one SHA-256 value.
pub(crate) const DIGEST: usize = 32;

/// The hash of every block of an image, in order.
///
/// A hash is SHA-256(salt ‖ block): of `/usr` the leaves of its verity tree, of the
/// kernel image the list in its release's descriptor, without salt.
#[derive(Clone, Copy, Debug)]
pub struct BlockHashes<'a> {
    salt: &'a [u8],
    digests: &'a [[u8; DIGEST]],
}

impl<'a> BlockHashes<'a> {
    /// `digests` one after the other; a last incomplete one is not part of the list.
    pub fn new(salt: &'a [u8], digests: &'a [u8]) -> Self {
        let (digests, _) = digests.as_chunks();
        Self { salt, digests }
    }

    /// Blocks of the image.
    pub fn count(&self) -> usize {
        self.digests.len()
    }

    /// What blocks are hashed with.
    pub fn salt(&self) -> &'a [u8] {
        self.salt
    }

    /// All hashes, in the order of the blocks.
    pub fn digests(&self) -> &'a [[u8; DIGEST]] {
        self.digests
    }

    /// The hash of block `index`, if the image has it.
    pub fn get(&self, index: usize) -> Option<&'a [u8; DIGEST]> {
        self.digests.get(index)
    }

    /// The hash that an image like this one has for `block`.
    pub fn hash(&self, block: &[u8]) -> [u8; DIGEST] {
        hash(self.salt, block)
    }

    /// Is `block` what belongs at `index`?
    pub fn matches(&self, index: usize, block: &[u8]) -> bool {
        self.get(index)
            .is_some_and(|digest| block.len() == BLOCK && *digest == self.hash(block))
    }

    /// The images hash equal blocks to equal values.
    pub fn comparable(&self, other: &BlockHashes<'_>) -> bool {
        self.salt == other.salt
    }
}

/// SHA-256(salt ‖ block).
pub(crate) fn hash(salt: &[u8], block: &[u8]) -> [u8; DIGEST] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(block)
        .finalize()
        .into()
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The hashes of all blocks of `image`, one after the other; behind its end count
/// zeros.
pub fn hash_blocks(salt: &[u8], image: &[u8]) -> Vec<u8> {
    let (blocks, rest) = image.as_chunks::<BLOCK>();
    let mut digests: Vec<u8> = blocks.iter().flat_map(|block| hash(salt, block)).collect();
    if !rest.is_empty() {
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        digests.extend(hash(salt, &last));
    }
    digests
}
