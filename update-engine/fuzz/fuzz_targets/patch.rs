//! Any bytes as what is in a frame of a patch: applying them does not panic, asks for no
//! byte outside the earlier image, and makes only blocks that the frame stands for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use update_engine::patch::{PatchFault, Pieces};
use update_engine::release::BLOCK;

const BLOCKS: usize = 6;
const OLD: usize = 3 * BLOCK;

fuzz_target!(|data: &[u8]| {
    let Ok(mut pieces) = Pieces::open(data, BLOCKS, OLD as u64) else {
        return;
    };
    let (mut piece, mut end) = (Vec::new(), 0);
    let old = |at: u64, buffer: &mut [u8]| {
        assert!(at as usize + buffer.len() <= OLD);
        buffer.fill(at as u8);
        Ok::<(), PatchFault>(())
    };
    while let Ok(Some(first)) = pieces.next(&mut piece, old) {
        assert!(first >= end && !piece.is_empty());
        end = first + piece.len() / BLOCK;
        assert!(end <= BLOCKS && piece.len().is_multiple_of(BLOCK));
    }
});
