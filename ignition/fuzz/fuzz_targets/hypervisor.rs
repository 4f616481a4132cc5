//! Any bytes as what hypervisors tell their guests: no panic, and what is kept
//! of Hyper-V's pairs is read again as it was.
#![no_main]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ignition::fetch::{Fetcher, Network};
use ignition::provider::hyperv::Pairs;
use ignition::provider::vmware::Guestinfo;
use ignition::provider::{Provider, VmWare};

/// Every variable has the same value, but for its encoding.
#[derive(Debug)]
struct Host {
    value: Vec<u8>,
    encoding: &'static str,
}

impl Guestinfo for Host {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(if name.ends_with("encoding") {
            self.encoding.as_bytes().to_vec()
        } else if name.ends_with("data") {
            Vec::new()
        } else {
            self.value.clone()
        }))
    }
}

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>)| {
    let (kind, value) = input;
    if let Ok(pairs) = Pairs::decode(&value) {
        assert_eq!(Pairs::decode(&pairs.encode()), Ok(pairs));
    }
    let encodings = ["", "base64", "gzip", "gzip+base64"];
    let encoding = encodings[usize::from(kind) % encodings.len()];
    let fetcher = Fetcher::new(Network::Absent, Duration::ZERO);
    let _ = VmWare::new(Arc::new(Host { value, encoding })).config(&fetcher);
});
