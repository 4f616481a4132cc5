//! Any bytes as a bundle's config.json: no panic, and an error says something.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = rocket::oci::check(bytes) {
        assert!(!format!("{error:#}").is_empty());
    }
});
