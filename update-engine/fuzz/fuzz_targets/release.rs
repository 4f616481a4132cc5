//! Any file: reading it as a descriptor or a channel does not panic, and what is
//! accepted is consistent and the same after it was written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use update_engine::release::{BLOCK, Channel, Descriptor, Frame};

fn blocks(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| u64::from(frame.0)).sum()
}

fuzz_target!(|data: &[u8]| {
    if let Ok(release) = Descriptor::parse(data) {
        assert_eq!(blocks(&release.usr.frames) * BLOCK as u64, release.usr.size);
        let boot = release.boot.size.div_ceil(BLOCK as u64);
        assert_eq!(blocks(&release.boot.frames), boot);
        assert_eq!(release.boot.blocks.len() as u64, boot * 32);
        let written = serde_json::to_vec(&release).expect("writing what was read");
        assert_eq!(Descriptor::parse(&written).ok(), Some(release));
    }
    if let Ok(channel) = Channel::parse(data) {
        let written = serde_json::to_vec(&channel).expect("writing what was read");
        assert_eq!(Channel::parse(&written).ok(), Some(channel));
    }
});
