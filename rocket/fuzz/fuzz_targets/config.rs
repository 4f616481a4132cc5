//! Any bytes as an image's configuration: no panic, and never more layers than the manifest
//! has.
#![no_main]

use rocket::image::manifest::parse_config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let layers = usize::from(bytes.first().copied().unwrap_or(0) % 4);
    if let Ok((_, ids)) = parse_config(bytes, layers) {
        assert_eq!(ids.len(), layers);
    }
});
