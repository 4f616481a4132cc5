//! PAX records: what does not fit into a tar header.

use super::entries::TarError;

/// Where extended attributes are.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Records of one entry.
#[derive(Debug, Default)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// `LENGTH KEY=VALUE\n`, one after the other; the length counts all of it. None if
    /// they are damaged.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut records = Vec::new();
        let mut rest = bytes.as_slice();
        // Some tools fill up with zeros.
        while let Some(first) = rest.first()
            && *first != 0
        {
            let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
            let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            records.push((key.to_vec(), value.to_vec()));
            rest = &rest[length..];
        }
        Some(Self(records))
    }

    /// The value of a key; the last one counts, and an empty one is none.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let mut found = self.0.iter().rev().filter(|(k, _)| k == key.as_bytes());
        let (_, value) = found.next()?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether any key begins so.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let prefix = prefix.as_bytes();
        self.0.iter().any(|(key, _)| key.starts_with(prefix))
    }

    /// A number that must be one, if it is there.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, TarError> {
        let number = |value| {
            let text = std::str::from_utf8(value).ok()?;
            text.parse().ok()
        };
        match self.get(key) {
            None => Ok(None),
            Some(value) => number(value).map(Some).ok_or(TarError::Number(key)),
        }
    }

    /// Seconds and nanoseconds of a time with any number of decimals.
    pub fn time(&self, key: &'static str) -> Result<Option<(i64, u32)>, TarError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => time(value).map(Some).ok_or(TarError::Number(key)),
        }
    }

    /// Extended attributes; of one that is there twice, the last counts.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let xattr = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let name = key.strip_prefix(XATTR)?;
            Some((name.to_vec(), value.clone()))
        };
        self.0.iter().filter_map(xattr).collect()
    }
}

fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // The fraction of a negative time goes further into the past; the kernel's goes forward.
    match (text.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length += 1;
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend(value);
        record.push(b'\n');
        record
    }

    #[test]
    fn values_may_have_any_bytes() {
        let mut bytes = record("SCHILY.xattr.security.capability", b"\x01\n=\x00\n");
        bytes.extend(record("path", "a/\u{e4}".as_bytes()));
        bytes.extend([0; 5]);
        let records = Records::parse(bytes).unwrap();
        assert_eq!(records.get("path"), Some("a/\u{e4}".as_bytes()));
        let xattr = (b"security.capability".to_vec(), b"\x01\n=\x00\n".to_vec());
        assert_eq!(records.xattrs(), [xattr]);
    }

    #[test]
    fn damaged_records_are_found() {
        for bytes in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"6 a=bc\n",
            b"x a=b\n",
            b"5 ab\n",
        ] {
            assert!(Records::parse(bytes.to_vec()).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn times_keep_their_fraction() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-0.25"), Some((-1, 750_000_000)));
        assert_eq!(time(b"1.x"), None);
    }
}
