//! Any bytes as a layer: no panic, no memory without bounds, and nothing beside the tree.
//! Needs root, as unpacking does.
#![no_main]

use std::fs::{File, create_dir, read_dir};

use rocket::image::Digest;
use rocket::image::unpack::{Expected, Limits, unpack};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let outer = tempfile::tempdir().expect("a directory");
    let tree = outer.path().join("tree");
    create_dir(&tree).expect("a tree");
    let root = File::open(&tree).expect("the tree").into();
    let expected = Expected {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        diff_id: Digest::of(bytes),
    };
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1000,
        devices: false,
        ..Limits::default()
    };
    let _ = unpack(bytes, &expected, root, &limits);
    assert_eq!(read_dir(outer.path()).expect("a directory").count(), 1);
});
