//! Where contents come from: data URLs, compression, hashes.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::Case;

/// Compressed and as a data URL.
pub fn packed(bytes: &[u8]) -> String {
    format!("data:;base64,{}", STANDARD.encode(gzip(bytes)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The hash of `bytes` as a config writes it.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256-{hex}")
}

fn sha512(bytes: &[u8]) -> String {
    let hex: String = Sha512::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha512-{hex}")
}

pub fn cases() -> Vec<Case> {
    [urls(), compression(), hashes()].concat()
}

fn case(name: &str, contents: Value) -> Case {
    let file = json!({"path": "/opt/f", "contents": contents});
    Case::new(name, json!({"storage": {"files": [file]}}))
}

fn urls() -> Vec<Case> {
    let sources = [
        ("plain", "data:,text"),
        ("empty", "data:,"),
        ("percent", "data:,a%20b%0Ac%25%2F"),
        ("percent_lower_case", "data:,%c3%a4"),
        ("percent_not_utf8", "data:,%ff%00%fe"),
        ("percent_wrong", "data:,a%zzb"),
        ("percent_cut", "data:,a%2"),
        ("plus_is_plus", "data:,a+b"),
        ("comma_in_data", "data:,a,b,c"),
        ("question_mark", "data:,a?b"),
        ("fragment", "data:,a#b"),
        ("slashes", "data:,/a//b"),
        ("quotes", "data:,\"a'b\""),
        ("space", "data:,a b"),
        ("letters", "data:,naïve"),
        ("newline", "data:,a\nb"),
        ("media_type", "data:text/plain,text"),
        ("media_type_charset", "data:text/plain;charset=utf-8,text"),
        (
            "media_type_several_parameters",
            "data:text/plain;a=b;c=d,text",
        ),
        (
            "media_type_quoted_parameter",
            "data:text/plain;a=\"b,c\",text",
        ),
        ("media_type_wrong", "data:nonsense,text"),
        ("base64", "data:;base64,aGVsbG8K"),
        ("base64_media_type", "data:text/plain;base64,aGVsbG8K"),
        (
            "base64_charset",
            "data:text/plain;charset=utf-8;base64,aGVsbG8K",
        ),
        ("base64_empty", "data:;base64,"),
        ("base64_padding", "data:;base64,YQ=="),
        ("base64_padding_missing", "data:;base64,YQ"),
        ("base64_padding_percent", "data:;base64,YQ%3D%3D"),
        ("base64_url_alphabet", "data:;base64,_-8="),
        ("base64_wrong", "data:;base64,%%%"),
        ("base64_spaces", "data:;base64,aGVs bG8K"),
        ("base64_upper_case", "data:;BASE64,aGVsbG8K"),
        ("scheme_upper_case", "DATA:,text"),
        ("no_comma", "data:text"),
        ("only_scheme", "data:"),
        ("two_slashes", "data://,text"),
    ];
    let named =
        |(name, source): (&str, &str)| case(&format!("url_{name}"), json!({"source": source}));
    sources.map(named).to_vec()
}

fn compression() -> Vec<Case> {
    let long = vec![b'x'; 100_000];
    let twice = [gzip(b"one\n"), gzip(b"two\n")].concat();
    let members = format!("data:;base64,{}", STANDARD.encode(twice));
    let cut = format!("data:;base64,{}", STANDARD.encode(&gzip(&long)[..40]));
    let tail = [gzip(b"one\n"), b"garbage".to_vec()].concat();
    let tail = format!("data:;base64,{}", STANDARD.encode(tail));
    vec![
        case(
            "gzip",
            json!({"source": packed(b"text"), "compression": "gzip"}),
        ),
        case(
            "gzip_empty",
            json!({"source": packed(b""), "compression": "gzip"}),
        ),
        case(
            "gzip_long",
            json!({"source": packed(&long), "compression": "gzip"}),
        ),
        case(
            "gzip_members",
            json!({"source": members, "compression": "gzip"}),
        ),
        case("gzip_cut", json!({"source": cut, "compression": "gzip"})),
        case("gzip_tail", json!({"source": tail, "compression": "gzip"})),
        case(
            "gzip_of_what_is_not",
            json!({"source": "data:,text", "compression": "gzip"}),
        ),
        case(
            "gzip_of_nothing",
            json!({"source": "data:,", "compression": "gzip"}),
        ),
        case("gzip_not_said", json!({"source": packed(b"text")})),
        case(
            "compression_empty",
            json!({"source": "data:,text", "compression": ""}),
        ),
        case(
            "compression_null",
            json!({"source": "data:,text", "compression": null}),
        ),
        case(
            "compression_unknown",
            json!({"source": "data:,text", "compression": "xz"}),
        ),
        case(
            "compression_upper_case",
            json!({"source": packed(b"text"), "compression": "GZIP"}),
        ),
        case("compression_without_source", json!({"compression": "gzip"})),
    ]
}

fn hashes() -> Vec<Case> {
    let hashed =
        |source: &str, hash: &str| json!({"source": source, "verification": {"hash": hash}});
    let upper = sha256(b"text").replace("sha256-", "").to_uppercase();
    let zipped = |of: &[u8]| {
        let verification = json!({"hash": sha256(of)});
        json!({"source": packed(b"text"), "compression": "gzip", "verification": verification})
    };
    vec![
        case("hash_sha256", hashed("data:,text", &sha256(b"text"))),
        case("hash_sha512", hashed("data:,text", &sha512(b"text"))),
        case("hash_wrong", hashed("data:,text", &sha256(b"other"))),
        case("hash_wrong_sha512", hashed("data:,text", &sha512(b"other"))),
        case("hash_of_the_empty", hashed("data:,", &sha256(b""))),
        case("hash_of_unpacked", zipped(b"text")),
        case("hash_of_packed", zipped(&gzip(b"text"))),
        case(
            "hash_upper_case",
            hashed("data:,text", &format!("sha256-{upper}")),
        ),
        case(
            "hash_function_upper_case",
            hashed("data:,text", &format!("SHA256-{upper}")),
        ),
        case(
            "hash_unknown_function",
            hashed("data:,text", "md5-1cb251ec0d568de6a929b520c4aed8d1"),
        ),
        case("hash_short", hashed("data:,text", "sha256-abcd")),
        case(
            "hash_of_the_other_length",
            hashed("data:,text", &sha512(b"text").replace("512", "256")),
        ),
        case(
            "hash_not_hexadecimal",
            hashed("data:,text", &format!("sha256-{}", "z".repeat(64))),
        ),
        case(
            "hash_no_dash",
            hashed("data:,text", &sha256(b"text").replace('-', "")),
        ),
        case(
            "hash_two_dashes",
            hashed("data:,text", &sha256(b"text").replace('-', "--")),
        ),
        case("hash_empty", hashed("data:,text", "")),
        case(
            "hash_null",
            json!({"source": "data:,text", "verification": {"hash": null}}),
        ),
        case(
            "hash_without_source",
            json!({"verification": {"hash": sha256(b"text")}}),
        ),
        case(
            "verification_empty",
            json!({"source": "data:,text", "verification": {}}),
        ),
    ]
}
