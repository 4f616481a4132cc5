//! Configs as people break them, and what they are told.
//!
//! `broken/NAME` is a config, `broken/NAME.expected` all that
//! `ignition validate --strict --files-dir files NAME` prints about it. To write the
//! expected texts anew, run the test with `WRITE_EXPECTED=1`, and read the
//! difference: somebody has to act on each of these messages.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn configs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let config = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("yaml" | "ign"))
    };
    let mut configs: Vec<PathBuf> = paths.filter(config).collect();
    configs.sort();
    configs
}

#[test]
fn every_broken_config_gets_a_message_to_act_on() {
    let configs = configs();
    assert!(configs.len() >= 20, "only {} configs found", configs.len());
    let mut wrong = Vec::new();
    for config in configs {
        let name = config.file_name().unwrap().to_str().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ignition"))
            .args(["validate", "--strict", "--files-dir", "files", name])
            .current_dir(config.parent().unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{name} is not refused");
        assert_eq!(output.stderr, b"", "{name}");
        let expected = config.with_file_name(format!("{name}.expected"));
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(&expected, &output.stdout).unwrap();
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        let found = String::from_utf8(output.stdout).unwrap();
        assert!(found.starts_with(&format!("{name}:")), "{found}");
        if found != known {
            wrong.push(format!("{name}: expected\n{known}\nfound\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
