//! Any archive: indexing it does not panic, and what it names is a plain relative path
//! within the archive.
//!
//! A fuzzer does not find checksums by itself, so every block that could be a header
//! gets the right one when the first byte asks for it.

#![no_main]

use std::io::Cursor;
use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use update_engine::server::tar::Index;

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

fn seal(archive: &mut [u8]) {
    for header in archive.chunks_exact_mut(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            continue;
        }
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((how, archive)) = data.split_first() else {
        return;
    };
    let mut archive = archive.to_vec();
    if how & 1 == 1 {
        seal(&mut archive);
    }
    if let Ok(index) = Index::read(Cursor::new(&archive)) {
        for (name, place) in index.files() {
            let plain = |part| matches!(part, Component::Normal(_));
            assert!(Path::new(name).components().all(plain));
            assert!(place.offset + place.length <= archive.len() as u64);
        }
    }
});
