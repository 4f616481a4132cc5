//! The configs in `examples/` are accepted without a warning.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use ignition::config::parse;
use ignition::fetch::hex;
use sha2::Digest as _;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[test]
fn every_example_is_accepted_and_explained() {
    let explained = fs::read_to_string(examples().join("README.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ign") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let parsed = parse(name, &fs::read(&path).unwrap())
            .unwrap_or_else(|invalid| panic!("{invalid}"))
            .unwrap();
        assert_eq!(parsed.warnings, []);
        assert!(explained.contains(&format!("## {name}")), "{name}");
        count += 1;
    }
    assert!(count >= 3, "only {count} examples found");
}

#[test]
fn the_merged_example_has_the_right_hash() {
    let child = fs::read(examples().join("single-host.ign")).unwrap();
    let parent = fs::read_to_string(examples().join("http-merge.ign")).unwrap();
    let hash = hex(&sha2::Sha256::digest(child));
    assert!(
        parent.contains(&format!("sha256-{hash}")),
        "put sha256-{hash} into http-merge.ign"
    );
}
