//! Any partition content: looking for a kernel image in it does not panic, and its
//! length does not depend on what follows the headers.

#![no_main]

use bootloader::uki::{Uki, total_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(size) = total_size(data, 1 << 30) {
        assert!(size <= 1 << 30);
        let mut longer = data.to_vec();
        longer.push(0xff);
        assert_eq!(total_size(&longer, 1 << 30), Ok(size));
    }
    if let Ok(uki) = Uki::parse(data) {
        if let Ok(version) = uki.version() {
            assert!(version.bytes().all(|b| b.is_ascii_graphic()));
        }
        let _ = (uki.os_release(), uki.command_line(), uki.check_kernel());
    }
});
