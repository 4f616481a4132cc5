use std::fs;

use proptest::prelude::*;
use update_engine::blocks::hash_blocks;
use update_engine::patch::{PatchFault, Pieces, decompress};

use super::*;

/// A word repeated, for every word: what a program's code is to these tests.
fn image(words: &[u16]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| (0..900_u32).map(move |i| (i * i) as u8 ^ *word as u8))
        .collect();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn known(old: &[u8], new: &[u8]) -> Vec<bool> {
    let old: HashSet<&[u8]> = old.chunks(BLOCK).collect();
    new.chunks(BLOCK).map(|block| old.contains(block)).collect()
}

/// The file of the patch, and what it makes: blocks by number.
fn patch(old: &[u8], new: &[u8]) -> Option<(Made, Vec<u8>)> {
    let hashes = hash_blocks(&[], new);
    let (digests, _) = hashes.as_chunks::<32>();
    let images = Images {
        old,
        new,
        digests,
        known: &known(old, new),
    };
    let dir = tempfile::tempdir().unwrap();
    let made = make(&images, dir.path()).unwrap()?;
    let bytes = fs::read(made.file.path()).unwrap();
    assert_eq!(bytes.len() as u64, made.size);
    assert_eq!(made.sha256.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
    Some((made, bytes))
}

/// What a host has after it applied the patch and copied what the earlier image has.
fn apply(old: &[u8], new: &[u8], made: &Made, file: &[u8]) -> Vec<u8> {
    let mut result = vec![0; new.len()];
    for (block, known) in known(old, new).into_iter().enumerate() {
        if known {
            let at = block * BLOCK..(block + 1) * BLOCK;
            result[at.clone()].copy_from_slice(&new[at]);
        }
    }
    let mut zstd = zstd::bulk::Decompressor::new().unwrap();
    let (mut content, mut piece, mut at, mut first) = (Vec::new(), Vec::new(), 0, 0);
    for Frame(blocks, bytes) in &made.frames {
        let frame = &file[at..at + *bytes as usize];
        decompress(&mut zstd, frame, &mut content).unwrap();
        assert!((content.len() + frame.len()) as u64 <= made.memory);
        let mut pieces = Pieces::open(&content, *blocks as usize, old.len() as u64).unwrap();
        while let Some(block) = pieces
            .next(&mut piece, |at, buffer: &mut [u8]| {
                buffer.copy_from_slice(&old[at as usize..at as usize + buffer.len()]);
                Ok::<(), PatchFault>(())
            })
            .unwrap()
        {
            result[(first + block) * BLOCK..][..piece.len()].copy_from_slice(&piece);
        }
        at += frame.len();
        first += *blocks as usize;
    }
    assert_eq!((at, first * BLOCK), (file.len(), new.len()));
    // Of equal blocks one is enough.
    for block in 0..new.len() / BLOCK {
        let bytes = block * BLOCK..(block + 1) * BLOCK;
        let twin = new.chunks(BLOCK).position(|b| b == &new[bytes.clone()]);
        let twin = twin.unwrap() * BLOCK;
        result.copy_within(twin..twin + BLOCK, bytes.start);
    }
    result
}

#[test]
fn a_shifted_image_is_a_small_patch() {
    let words: Vec<u16> = (0..200).collect();
    let old = image(&words);
    let mut new = [b"something new".to_vec(), old.clone()].concat();
    new.truncate(old.len());
    let (made, file) = patch(&old, &new).unwrap();
    assert!(file.len() < 500, "{}", file.len());
    assert_eq!(apply(&old, &new, &made, &file), new);
}

#[test]
fn equal_images_need_no_patch() {
    let old = image(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(patch(&old, &old).is_none());
    assert!(patch(&old, &old[..BLOCK]).is_none());
}

#[test]
fn what_does_not_compress_is_cut_into_frames_that_hosts_take() {
    let old = image(&[1]);
    let noise = (0..6_u32 << 15).flat_map(|i| Sha256::digest(i.to_le_bytes()));
    let new: Vec<u8> = noise.collect();
    let (made, file) = patch(&old, &new).unwrap();
    assert!(made.frames.len() > 2);
    assert!(
        made.frames
            .iter()
            .all(|frame| frame.1 as usize <= MAX_FRAME)
    );
    assert_eq!(apply(&old, &new, &made, &file), new);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_image_is_made_out_of_any_other(
        old in prop::collection::vec(0_u16..20, 1..60),
        new in prop::collection::vec(0_u16..20, 1..60),
    ) {
        let (old, new) = (image(&old), image(&new));
        if let Some((made, file)) = patch(&old, &new) {
            prop_assert_eq!(apply(&old, &new, &made, &file), new);
        }
    }
}
