//! Any bytes as a config in YAML: no panic; what comes out is what a machine
//! reads, and planning it does not panic either.
#![no_main]

use ignition::config::{Problem, parse};
use ignition::tools::butane::{Files, translate};
use ignition::tools::plan::{Disks, plan};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let translation = translate("fuzz", bytes, &mut Files::default());
    let shown = |problem: &Problem| !problem.message.is_empty();
    assert!(translation.found.errors.iter().all(shown));
    assert_eq!(
        translation.json.is_some(),
        translation.found.errors.is_empty()
    );
    let (Some(json), Some(config)) = (translation.json, translation.config) else {
        return;
    };
    // A section that this version refuses is translated all the same.
    if let Ok(parsed) = parse("fuzz", json.to_string().as_bytes()) {
        assert_eq!(parsed.map(|parsed| parsed.config).as_ref(), Some(&config));
    }
    let _ = plan(config, &Disks::default());
});
