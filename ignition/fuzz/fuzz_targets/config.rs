//! Any bytes as a config: no panic; what is accepted survives the cache and
//! merging with the empty config.
#![no_main]

use ignition::config::{empty, merge, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse("fuzz", bytes) {
        Ok(Some(parsed)) => {
            let text = serde_json::to_vec(&parsed.config).expect("a config is JSON");
            let again = serde_json::from_slice(&text).expect("the cache can be read");
            assert_eq!(parsed.config, again);
            let merged = merge(&empty(), &parsed.config).expect("configs merge");
            assert_eq!(parsed.config, merged);
        }
        Ok(None) => {}
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
});
