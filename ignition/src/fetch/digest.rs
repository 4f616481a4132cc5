//! Hashes as configs write them: `sha256-…`, `sha512-…`.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;
use sha2::{Sha256, Sha512};

/// What the contents of a resource must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    fn parts(self) -> (&'static str, usize) {
        match self {
            Self::Sha256 => ("sha256", 32),
            Self::Sha512 => ("sha512", 64),
        }
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let algorithm = match text.split_once('-') {
            Some(("sha256", _)) => Algorithm::Sha256,
            Some(("sha512", _)) => Algorithm::Sha512,
            _ => return Err("expected sha256-<hex> or sha512-<hex>".to_owned()),
        };
        let (name, size) = algorithm.parts();
        let value = text.get(name.len() + 1..).and_then(unhex);
        match value.filter(|value| value.len() == size) {
            Some(value) => Ok(Self { algorithm, value }),
            None => Err(format!(
                "expected {} hexadecimal digits after {name}-",
                size * 2
            )),
        }
    }
}

impl Digest {
    /// Whether it is a SHA-256.
    pub fn is_sha256(&self) -> bool {
        self.algorithm == Algorithm::Sha256
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.algorithm.parts().0, hex(&self.value))
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect()
}

/// Computes a digest of the same kind as an expected one.
pub enum Hasher {
    /// SHA-256
    Sha256(Sha256),
    /// SHA-512
    Sha512(Sha512),
}

impl Hasher {
    /// For comparison with `expected`.
    pub fn new(expected: &Digest) -> Self {
        match expected.algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        let (algorithm, value) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, hasher.finalize().to_vec()),
            Self::Sha512(hasher) => (Algorithm::Sha512, hasher.finalize().to_vec()),
        };
        Digest { algorithm, value }
    }
}
