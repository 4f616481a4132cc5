//! Any file on the ESP and any command line: reading and merging do not panic, what
//! comes of it is as wanted, and what runs stays the release's choice.

#![no_main]

use bootloader::kargs::{Kargs, LINE_BYTES, protects, words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &str)| {
    let (file, line) = data;
    let Ok(change) = Kargs::parse(file) else {
        return;
    };
    assert_eq!(Kargs::parse(change.render().as_bytes()).as_ref(), Ok(&change));
    let quotes = line.bytes().filter(|b| *b == b'"').count();
    if let Ok(changed) = change.apply(line)
        && quotes % 2 == 0
    {
        assert!(changed.len() <= LINE_BYTES);
        assert_eq!(change.unmet(&changed).count(), 0);
        let ours = |word: &&str| protects(word).is_some();
        assert!(words(line).filter(ours).eq(words(&changed).filter(ours)));
    }
});
