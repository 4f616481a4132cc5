//! Compressions, and bytes that are not what was promised.

use super::*;

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn every_compression_is_found_by_its_bytes() {
    let archive = Archive::new().file("a", b"content").bytes();
    let gzipped = gzip(&archive);
    let (first, second) = archive.split_at(700);
    let members = [gzip(first), gzip(second)].concat();
    let zstd = zstd::encode_all(&archive[..], 3).unwrap();
    for bytes in [&archive, &gzipped, &members, &zstd] {
        let (outer, made) = unpack_bytes(bytes, &archive);
        made.unwrap();
        assert_eq!(fs::read(outer.path().join("tree/a")).unwrap(), b"content");
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn bytes_that_are_not_what_was_promised_are_told_apart() {
    let archive = Archive::new().file("a", b"content").bytes();
    let fetched = gzip(&archive);
    let good = Expected {
        digest: Digest::of(&fetched),
        size: fetched.len() as u64,
        diff_id: Digest::of(&archive),
    };
    let other = Digest::of(b"other");
    let limits = Limits::default();
    let fails =
        |bytes: &[u8], expected: &Expected| unpack_as(bytes, expected, &limits).1.unwrap_err();

    let wrong = Expected {
        digest: other,
        ..good.clone()
    };
    assert!(matches!(
        fails(&fetched, &wrong),
        UnpackError::Digest { .. }
    ));
    let wrong = Expected {
        diff_id: other,
        ..good.clone()
    };
    assert!(matches!(
        fails(&fetched, &wrong),
        UnpackError::DiffId { .. }
    ));
    let half = &fetched[..fetched.len() / 2];
    assert!(matches!(fails(half, &good), UnpackError::Size { .. }));
    let more = [&fetched[..], b"more"].concat();
    assert!(matches!(fails(&more, &good), UnpackError::Size { .. }));
    let mut flipped = fetched.clone();
    flipped[20] ^= 0x40;
    assert!(matches!(fails(&flipped, &good), UnpackError::Digest { .. }));
    let (_, cut) = unpack_bytes(half, &archive);
    assert!(matches!(cut.unwrap_err(), UnpackError::Decompress(..)));
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_is_behind_the_end_is_hashed_too() {
    let mut archive = Archive::new().file("a", b"content").bytes();
    archive.extend(b"behind the end");
    let (_, made) = unpack_bytes(&archive, &archive);
    made.unwrap();
    let (_, made) = unpack_bytes(&archive, &archive[..archive.len() - 1]);
    assert!(matches!(made.unwrap_err(), UnpackError::DiffId { .. }));
}
