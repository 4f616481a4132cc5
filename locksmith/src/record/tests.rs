use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    "\\PC{0,20}".prop_map(|text| Text::clip(&text))
}

fn id() -> impl Strategy<Value = HolderId> {
    "[a-z0-9]{1,8}".prop_map(|id| HolderId::new(id).unwrap())
}

fn release() -> impl Strategy<Value = Version> {
    (0u64..9, 0u64..9, "(rc\\.[1-9])?").prop_map(|(major, minor, pre)| {
        let mut version = Version::new(major, minor, 0);
        version.pre = pre.parse().unwrap();
        version
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_i64, 0..1_000_000_000_i32).prop_map(|(s, ns)| Timestamp::new(s, ns).unwrap())
}

/// Fields of a later release: of any shape, with names that are not ours.
fn other() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("\\PC{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    vec(("x-\\PC{0,5}", value), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

fn claim() -> impl Strategy<Value = Claim> {
    (
        id(),
        text(),
        text(),
        text(),
        option::of(release()),
        option::of(release()),
    )
        .prop_map(|(id, host, boot_id, reason, from, to)| Claim {
            id,
            host,
            boot_id,
            reason,
            from,
            to,
        })
}

fn holder() -> impl Strategy<Value = Holder> {
    (claim(), time(), time(), any::<u64>(), other()).prop_map(
        |(claim, since, seen, signs, other)| Holder {
            claim,
            since,
            seen,
            signs,
            other,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    (id(), text(), text(), time()).prop_map(|(id, host, reason, at)| Report {
        id,
        host,
        reason,
        at,
    })
}

fn reports() -> impl Strategy<Value = Reports> {
    (release(), vec(report(), 0..4), other()).prop_map(|(version, reports, other)| Reports {
        version,
        reports,
        other,
    })
}

fn expired() -> impl Strategy<Value = Expired> {
    (id(), text(), id(), time()).prop_map(|(id, host, by, at)| Expired { id, host, by, at })
}

fn migrated() -> impl Strategy<Value = Migrated> {
    (text(), time()).prop_map(|(from, at)| Migrated { from, at })
}

/// Any document that may be written.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    let parts = (
        0..=MAX_HOLDERS,
        vec(holder(), 0..6),
        vec(reports(), 0..4),
        vec(expired(), 0..3),
        option::of(migrated()),
        other(),
    );
    parts.prop_map(|(max, mut holders, brakes, expired, migrated, other)| {
        holders.sort_by(|a, b| a.claim.id.cmp(&b.claim.id));
        holders.dedup_by(|a, b| a.claim.id == b.claim.id);
        Document {
            format: FORMAT,
            max,
            holders,
            brakes,
            expired,
            migrated,
            other,
        }
    })
}

proptest! {
    #[test]
    fn what_was_printed_is_read_as_it_was(document in document()) {
        let bytes = document.print().unwrap();
        prop_assert_eq!(Document::parse(&bytes).unwrap(), document);
    }

    #[test]
    fn entries_of_the_queue_are_read_as_they_were(claim in claim(), since in time()) {
        let waiter = Waiter { claim, since };
        prop_assert_eq!(Waiter::parse(&waiter.print().unwrap()).unwrap(), waiter);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (Document::parse(&bytes), Waiter::parse(&bytes));
    }

    #[test]
    fn no_damage_is_too_odd(
        document in document(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = document.print().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = Document::parse(&bytes) {
            prop_assert_eq!(Document::parse(&read.print().unwrap()).unwrap(), read);
        }
    }
}

#[test]
fn the_format_is_as_documented() {
    let bytes = br#"{
        "format": 1, "max": 2,
        "holders": [{
            "id": "a1", "host": "node-1", "boot_id": "b", "reason": "update",
            "from": "1.0.0", "to": "1.1.0",
            "since": "2026-11-22T10:00:00Z", "seen": "2026-11-22T10:05:00Z", "signs": 3,
            "rack": {"row": 7}
        }],
        "brakes": [{"version": "1.0.9", "reports": [{
            "id": "a2", "host": "node-2", "reason": "boot failed", "at": "2026-11-21T00:00:00Z"
        }]}],
        "later": [1.5, null]
    }"#;
    let document = Document::parse(bytes).unwrap();
    assert_eq!(document.max, 2);
    assert_eq!(document.holders[0].claim.to, Some(Version::new(1, 1, 0)));
    assert_eq!(document.holders[0].other["rack"]["row"], 7);
    assert_eq!(document.brakes[0].reports[0].id.as_str(), "a2");
    assert_eq!(document.other["later"], json!([1.5, null]));
    let printed: Value = serde_json::from_slice(&document.print().unwrap()).unwrap();
    let given: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(printed, given);
}

fn refused(text: &str) -> String {
    let error = Document::parse(text.as_bytes()).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn a_newer_format_is_refused_by_name_whatever_else_it_has() {
    let said = refused(r#"{"format": 2, "max": "many"}"#);
    assert!(said.contains("format 2"), "{said}");
}

#[test]
fn damage_is_named() {
    for (text, word) in [
        ("", "EOF"),
        ("null", "null"),
        ("{}", "format"),
        (r#"{"format": 0}"#, "format is 0"),
        (r#"{"format": 1}"#, "max"),
        (r#"{"format": 1, "max": -1}"#, "-1"),
        (r#"{"format": 1, "max": 1001}"#, "1001"),
        (
            r#"{"format": 1, "max": 1, "holders": [{"id": "a/b", "since": "2026-11-22T10:00:00Z", "seen": "2026-11-22T10:00:00Z"}]}"#,
            "'/'",
        ),
        (r#"{"format": 1, "max": 1, "max": 2}"#, "duplicate"),
    ] {
        let said = refused(text);
        assert!(said.contains(word), "{text}: {said}");
    }
    let twice = r#"{"id":"a","since":"2026-11-22T10:00:00Z","seen":"2026-11-22T10:00:00Z"}"#;
    let said = refused(&format!(
        r#"{{"format":1,"max":1,"holders":[{twice},{twice}]}}"#
    ));
    assert!(said.contains("twice"), "{said}");
    let long = format!(
        r#"{{"format":1,"max":1,"brakes":[{{"version":"1.0.0-{}","reports":[]}}]}}"#,
        "x".repeat(200)
    );
    assert!(refused(&long).contains("206 bytes"), "{}", refused(&long));
}

/// The bounds of all parts together keep a document below what etcd takes.
#[test]
fn the_largest_document_can_be_written() {
    let version = Version::parse(&format!("1.0.0-{}", "x".repeat(122))).unwrap();
    let quote = |n| "\"".repeat(n);
    let time = Timestamp::MAX;
    let name = |n: u32| HolderId::new(format!("{n:0>128}")).unwrap();
    let holder = |n| Holder {
        claim: Claim {
            id: name(n),
            host: Text::clip(&"h".repeat(253)),
            boot_id: Text::clip(&"b".repeat(64)),
            reason: Text::clip(&quote(64)),
            from: Some(version.clone()),
            to: Some(version.clone()),
        },
        since: time,
        seen: time,
        signs: u64::MAX,
        other: Map::new(),
    };
    let report = |n| Report {
        id: name(n),
        host: Text::clip(&"h".repeat(253)),
        reason: Text::clip(&quote(256)),
        at: time,
    };
    let brake = Reports {
        version: version.clone(),
        reports: (0..16).map(report).collect(),
        other: Map::new(),
    };
    let document = Document {
        max: MAX_HOLDERS,
        holders: (0..MAX_HOLDERS).map(holder).collect(),
        brakes: vec![brake; MAX_BRAKES],
        ..Document::default()
    };
    let length = document.print().unwrap().len();
    assert!(length > 1_000_000, "{length}");
}
