//! Any bytes as files that declare pods: no panic, and a file is good or says which line is not.
#![no_main]

use rocket::declared::parse::{Text, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A pod and what it refers to may be in different files.
    let texts: Vec<Text> = bytes
        .split(|byte| *byte == 0)
        .map(|bytes| Text {
            name: "a.yaml".into(),
            bytes: bytes.to_vec(),
        })
        .collect();
    for parsed in parse(&texts) {
        assert!(parsed.problems.is_empty() || parsed.pods.is_empty());
    }
});
