//! Any datagrams as a TFTP server's: no panic, and what is taken is in order.
#![no_main]

use ignition::fetch::tftp::{Packet, Step, Transfer};

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (options, datagrams) = input;
    let mut transfer = Transfer::new(options);
    let mut expected: u16 = 1;
    for datagram in &datagrams {
        let Ok(packet) = Packet::parse(datagram) else {
            continue;
        };
        if let Step::Take { bytes, block, .. } = transfer.on(packet) {
            assert_eq!(block, expected);
            assert!(bytes.len() <= datagram.len());
            expected = expected.wrapping_add(1);
        }
    }
});
