//! Any bytes as what metadata services give: no panic, and what becomes part
//! of a request cannot add lines to it.
#![no_main]

use ignition::fetch::{keys_of, token_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let keys = keys_of(bytes);
    let words = keys.into_iter().flat_map(|keys| [Some(keys.id), keys.session]);
    for word in words.flatten().chain(token_of(bytes)) {
        assert!(word.bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
