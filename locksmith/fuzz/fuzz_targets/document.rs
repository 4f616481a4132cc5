//! Any bytes as a group's document or an entry of its queue: reading them does not panic,
//! what is accepted is the same after it was written and read again, and a claim on it is
//! decided within the number of places.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locksmith::lock::{Claim, HolderId, Text};
use locksmith::record::{Document, Waiter};
use locksmith::semaphore::{self, Asked, Place, Verdict};

fn claim() -> Claim {
    Claim {
        id: HolderId::new("fuzz").expect("a good name"),
        host: Text::default(),
        boot_id: Text::default(),
        reason: Text::default(),
        from: None,
        to: None,
    }
}

fn decide(document: &Document) {
    let claim = claim();
    let asked = Asked {
        claim: &claim,
        place: Place::Front,
        now: "2026-11-22T00:00:00Z".parse().expect("a good time"),
        threshold: 1,
        gone: &[],
    };
    if let Verdict::Grant { document: after, .. } = semaphore::claim(document, &asked) {
        let was_held = document.holder(&claim.id).is_some();
        assert!(was_held || after.holders.len() <= after.max as usize);
        let (free, holder) = semaphore::release(&after, &claim.id);
        assert!(holder.is_some() && free.holder(&claim.id).is_none());
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(document) = Document::parse(data) {
        // Escaping can make it longer than it was.
        if let Ok(bytes) = document.print() {
            assert_eq!(Document::parse(&bytes).ok().as_ref(), Some(&document));
        }
        decide(&document);
    }
    if let Ok(waiter) = Waiter::parse(data)
        && let Ok(bytes) = waiter.print()
    {
        assert_eq!(Waiter::parse(&bytes).ok(), Some(waiter));
    }
});
