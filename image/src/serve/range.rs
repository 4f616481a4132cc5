//! Which bytes a `Range` header asks for (RFC 9110, section 14).

use std::ops::Range;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The whole file: no header, or one that is passed over as the RFC allows.
    All,
    /// A part that is not empty.
    Part(Range<u64>),
    /// A part that the file does not have.
    Nothing,
}

/// Reads the header for a file of `length` bytes. Several ranges are answered with the
/// whole file.
pub fn wanted(header: Option<&[u8]>, length: u64) -> Wanted {
    let spec = header
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .and_then(|spec| spec.trim().split_once('-'));
    let Some((first, last)) = spec else {
        return Wanted::All;
    };
    let part = match (number(first), number(last)) {
        (Some(Some(first)), Some(None)) => first..length,
        (Some(Some(first)), Some(Some(last))) if first <= last => {
            first..last.saturating_add(1).min(length)
        }
        (Some(None), Some(Some(count))) => length.saturating_sub(count)..length,
        _ => return Wanted::All,
    };
    if part.is_empty() {
        Wanted::Nothing
    } else {
        Wanted::Part(part)
    }
}

/// `Some(None)` for no text, `None` for text that is no number. Numbers that are too
/// large for us are larger than any file.
fn number(text: &str) -> Option<Option<u64>> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = || text.parse().unwrap_or(u64::MAX);
    Some((!text.is_empty()).then(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        let wanted = |text: &str| wanted(Some(text.as_bytes()), 100);
        assert_eq!(wanted("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(wanted("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(wanted("bytes=90-"), Wanted::Part(90..100));
        assert_eq!(wanted("bytes=90-1000"), Wanted::Part(90..100));
        assert_eq!(wanted("bytes=-30"), Wanted::Part(70..100));
        assert_eq!(wanted("bytes=-300"), Wanted::Part(0..100));
        for beyond in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(wanted(beyond), Wanted::Nothing, "{beyond}");
        }
        for other in [
            "bytes=5-4",
            "bytes=-",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,3-4",
            "",
            "bytes=+1-2",
        ] {
            assert_eq!(wanted(other), Wanted::All, "{other}");
        }
        assert_eq!(super::wanted(Some(b"bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(super::wanted(None, 0), Wanted::All);
    }
}
