//! Any file as a classic semaphore: reading it does not panic, and what is accepted can be
//! taken over, once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locksmith::classic::Classic;
use locksmith::record::Document;
use locksmith::semaphore;

fuzz_target!(|data: &[u8]| {
    let Ok(classic) = Classic::parse(data) else {
        return;
    };
    let now = "2026-11-22T00:00:00Z".parse().expect("a good time");
    let empty = Document::default();
    let taken = semaphore::migrate(&empty, &classic, "file", now);
    let (document, holders) = taken.expect("nothing was taken over before");
    assert_eq!(holders, classic.holders);
    assert_eq!((document.max, document.holders.len()), (classic.max, holders.len()));
    if let Ok(bytes) = document.print() {
        assert_eq!(Document::parse(&bytes).ok().as_ref(), Some(&document));
    }
    assert!(semaphore::migrate(&document, &classic, "file", now).is_err());
});
