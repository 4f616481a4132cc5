//! Any bytes as a manifest: no panic; a complaint says something.
#![no_main]

use rocket::image::manifest::{MAX_LAYERS, Manifest, parse};
use rocket::image::platform::Machine;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Manifest::Image(image)) => {
            assert!(image.layers.len() <= MAX_LAYERS);
            let _ = image.check_is_image();
        }
        Ok(Manifest::Index(index)) => {
            let _ = Machine::this().choose(&index.manifests);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
