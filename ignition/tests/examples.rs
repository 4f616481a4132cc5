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

/// Checks the name and content of each example with this extension; fails also if one is
/// not explained.
fn each_example(extension: &str, check: impl Fn(&str, &[u8])) {
    let explained = fs::read_to_string(examples().join("README.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|found| found != extension) {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        check(name, &fs::read(&path).unwrap());
        assert!(explained.contains(&format!("## {name}")), "{name}");
        count += 1;
    }
    assert!(count >= 3, "only {count} examples found");
}

#[test]
fn every_example_is_accepted_and_explained() {
    each_example("ign", |name, text| {
        let parsed = parse(name, text)
            .unwrap_or_else(|invalid| panic!("{invalid}"))
            .unwrap();
        assert_eq!(parsed.warnings, []);
    });
}

#[cfg(feature = "tools")]
#[test]
fn every_example_in_yaml_is_translated_without_a_warning_and_explained() {
    use ignition::tools::butane::{Files, translate};

    each_example("yaml", |name, text| {
        let translation = translate(name, text, &mut Files::default());
        assert_eq!(translation.found.errors, []);
        assert_eq!(translation.found.warnings, []);
        let json = translation.json.unwrap().to_string();
        let parsed = parse(name, json.as_bytes()).unwrap().unwrap();
        assert_eq!(Some(parsed.config), translation.config);
    });
}

#[cfg(feature = "tools")]
#[test]
fn minimal_is_the_same_in_both_languages() {
    use ignition::tools::butane::{Files, translate};

    let read = |name: &str| fs::read(examples().join(name)).unwrap();
    let json = parse("minimal.ign", &read("minimal.ign")).unwrap().unwrap();
    let yaml = translate("minimal.yaml", &read("minimal.yaml"), &mut Files::default());
    assert_eq!(yaml.config, Some(json.config));
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
