//! Any text as an image's name: no panic; what is a name is read as it is written.
#![no_main]

use rocket::image::name::Reference;
use rocket::image::source::Source;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Source::parse(text);
    if let Ok(name) = text.parse::<Reference>() {
        let written = name.to_string();
        let again: Reference = written.parse().expect("a name");
        assert_eq!(again.to_string(), written);
    }
});
