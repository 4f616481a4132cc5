//! Digests: what content is named by.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a SHA-256.
const LENGTH: usize = 32;

/// The SHA-256 of some content. The specification has other algorithms; what is named by
/// one of them is refused, because nothing publishes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; LENGTH]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another algorithm, or none.
    #[error("{0:?} is not a digest of the kind sha256:HEX")]
    Kind(String),
    /// Not 64 digits of lowercase hex.
    #[error("{0:?} is not sha256: and 64 lowercase hexadecimal digits")]
    Digits(String),
}

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self::from_slice(digest(&SHA256, content).as_ref())
    }

    /// Its 64 digits, as they are in paths.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
        let pair = |byte: &u8| [digit(byte >> 4), digit(*byte)];
        self.0.iter().flat_map(pair).collect()
    }

    /// The digest that `digits` are; the opposite of [`Self::hex`].
    pub fn from_hex(digits: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError::Digits(digits.chars().take(100).collect());
        if digits.len() != LENGTH * 2 {
            return Err(wrong());
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let [high, low] = [pair[0], pair[1]].map(nibble);
            *byte = high.ok_or_else(wrong)? << 4 | low.ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }

    fn from_slice(slice: &[u8]) -> Self {
        let mut bytes = [0; LENGTH];
        for (to, from) in bytes.iter_mut().zip(slice) {
            *to = *from;
        }
        Self(bytes)
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", digits)) => Self::from_hex(digits),
            _ => Err(DigestError::Kind(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Passes bytes on, and knows how many there were and what their digest is.
pub struct Hashing<R> {
    inner: R,
    context: Context,
    length: u64,
}

impl<R: Read> Hashing<R> {
    /// Nothing was read yet.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            context: Context::new(&SHA256),
            length: 0,
        }
    }

    /// Digest and length of everything that was read.
    pub fn finish(self) -> (Digest, u64) {
        let digest = Digest::from_slice(self.context.finish().as_ref());
        (digest, self.length)
    }

    /// How many bytes were read.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        let json = serde_json::to_string(&Digest::of(b"")).unwrap();
        assert_eq!(
            serde_json::from_str::<Digest>(&json).unwrap(),
            Digest::of(b"")
        );
    }

    #[test]
    fn what_could_be_a_path_or_another_spelling_is_no_digest() {
        let upper = EMPTY.replace('e', "E");
        for text in [
            "",
            "sha256:",
            "sha256:../../etc",
            "sha512:00",
            &upper,
            &EMPTY[..70],
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn hashing_passes_everything_on() {
        let mut hashing = Hashing::new(&b"abc"[..]);
        let mut copy = Vec::new();
        hashing.read_to_end(&mut copy).unwrap();
        assert_eq!(copy, b"abc");
        assert_eq!(hashing.finish(), (Digest::of(b"abc"), 3));
    }
}
