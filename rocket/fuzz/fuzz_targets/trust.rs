//! Any text as a policy of trust, and as what somebody has signed: no panic, and nothing is
//! taken for signed.
#![no_main]

use std::path::Path;

use rocket::image::trust::cosign::Claim;
use rocket::image::trust::{judge, policy};
use rocket::image::{Digest, Source};

const POLICY: &str = "[[policy]]\nprefix = \"example.com\"\nkeys = [\"\"\"\n\
    -----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n\"\"\"]";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = policy::parse(Path::new("/nowhere/fuzz.toml"), text);
    }
    let policies = policy::parse(Path::new("/nowhere/a.toml"), POLICY).expect("a policy");
    let source = Source::parse("example.com/app").expect("a name");
    let (payload, signature) = bytes.split_at(bytes.len() / 2);
    let claims = [
        Claim::Bundle(bytes.to_vec()),
        Claim::Payload {
            payload: payload.to_vec(),
            signature: signature.to_vec(),
        },
    ];
    for policy in &policies {
        assert!(judge(policy, &source, &[Digest::of(b"")], &claims).is_err());
    }
});
