//! Numbers in tar headers.

use super::entries::TarError;

/// Octal digits, or a big-endian number if the first bit is set. Blank is 0.
pub fn number(field: &[u8], name: &'static str) -> Result<u64, TarError> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field)
            .and_then(|value| u64::try_from(value).ok())
            .ok_or(TarError::Number(name)),
        _ => octal(field).ok_or(TarError::Number(name)),
    }
}

/// As [`number`]; times before 1970 are negative.
pub fn seconds(field: &[u8]) -> Result<i64, TarError> {
    let value = match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field).map(i128::from),
    };
    let value = value.and_then(|value| i64::try_from(value).ok());
    value.ok_or(TarError::Number("mtime"))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = field.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?.trim_matches(' ');
    match text {
        "" => Some(0),
        _ => u64::from_str_radix(text, 8).ok(),
    }
}

/// At most 12 bytes, of which the first has a bit for "binary" and then one for the sign.
fn binary(field: &[u8]) -> Option<i128> {
    let first = i128::from(*field.first()? & 0x7f);
    let negative = first & 0x40 != 0;
    let start = if negative { first - 0x80 } else { first };
    let more = field.get(1..)?.iter();
    Some(more.fold(start, |value, byte| value << 8 | i128::from(*byte)))
}
