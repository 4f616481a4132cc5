//! Any bytes as the body of a FleetLock request, or of an answer that is no: reading them
//! does not panic, and what is accepted is bounded and fit for a terminal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locksmith::fleet_lock::{ClientParams, Rejection};

fuzz_target!(|data: &[u8]| {
    if let Ok(params) = ClientParams::parse(data) {
        assert!(!params.id.is_empty() && params.id.len() <= 117);
        let bytes = params.print().expect("writing what was read");
        assert_eq!(ClientParams::parse(&bytes).ok(), Some(params));
    }
    if let Some(Rejection { kind, value }) = Rejection::parse(data) {
        for text in [kind, value] {
            assert!(text.len() <= 256 && !text.chars().any(char::is_control));
        }
    }
});
