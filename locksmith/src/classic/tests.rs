use proptest::prelude::*;

use super::*;

fn ids(names: &[&str]) -> Vec<HolderId> {
    names.iter().map(|id| HolderId::new(*id).unwrap()).collect()
}

/// As classic locksmith writes them (`lock/semaphore.go`): new, given back, held, and held
/// when `max` was lowered.
#[test]
fn what_classic_locksmith_writes_is_read() {
    let fresh = Classic::parse(include_bytes!("fixtures/fresh.json")).unwrap();
    assert_eq!(
        fresh,
        Classic {
            max: 1,
            holders: ids(&[])
        }
    );
    let held = Classic::parse(include_bytes!("fixtures/held.json")).unwrap();
    let holder = "cb35b356f1a84d0e9a1a0bd5d5ba9e8a";
    assert_eq!(
        held,
        Classic {
            max: 1,
            holders: ids(&[holder])
        }
    );
    let lowered = Classic::parse(include_bytes!("fixtures/lowered.json")).unwrap();
    let holders = ids(&["69d27b356a94476da859461d3a3bc6fd", holder]);
    assert_eq!(lowered, Classic { max: 1, holders });
    let emptied = Classic::parse(include_bytes!("fixtures/emptied.json")).unwrap();
    assert_eq!(emptied, fresh);
}

#[test]
fn what_cannot_be_taken_over_is_named() {
    for (text, word) in [
        ("", "not the JSON"),
        ("{}", "not the JSON"),
        (r#"{"semaphore":1,"max":-1,"holders":[]}"#, "-1"),
        (r#"{"semaphore":1,"max":1001,"holders":[]}"#, "1001"),
        (r#"{"semaphore":1,"max":1,"holders":["a/b"]}"#, "a/b"),
        (r#"{"semaphore":1,"max":2,"holders":["a","a"]}"#, "twice"),
    ] {
        let said = Classic::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(word), "{text}: {said}");
    }
    assert!(matches!(
        Classic::parse(&vec![b' '; 300_000]),
        Err(ClassicError::Large(_))
    ));
}

#[test]
fn keys_are_those_of_classic_locksmith() {
    let group = GroupName::new("workers").unwrap();
    let key = "coreos.com/updateengine/rebootlock/groups/workers/semaphore";
    assert_eq!(keys(&group), [format!("/{key}"), key.to_owned()]);
    let group = GroupName::new("default").unwrap();
    assert_eq!(
        keys(&group)[1],
        "coreos.com/updateengine/rebootlock/semaphore"
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Classic::parse(&bytes);
    }
}
