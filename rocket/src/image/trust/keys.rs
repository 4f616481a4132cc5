//! Public keys as cosign and OpenSSL write them, and signatures made with them.

use std::fmt;
use std::io;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::super::digest::Digest;

/// Beginning of a SubjectPublicKeyInfo of each kind of key, up to the key itself.
const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\
    \xce\x3d\x03\x01\x07\x03\x42\x00";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\
    \x00\x22\x03\x62\x00";
const ED: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// What names RSA within one: `rsaEncryption` with no parameters.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// Largest key that is taken, in bytes of DER.
const MAX_DER: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// A key that signs images.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// As aws-lc-rs takes it.
    key: Vec<u8>,
    fingerprint: String,
}

/// What is wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("reading it")]
    Read(#[source] io::Error),
    /// No PEM.
    #[error("it is not in PEM")]
    Pem(#[source] pem::PemError),
    /// A certificate, a private key.
    #[error("it is a {0:?}; a public key (\"PUBLIC KEY\") is needed")]
    Tag(String),
    /// No kind that is known.
    #[error("it is none of ECDSA P-256, ECDSA P-384, Ed25519 and RSA from 2048 bits")]
    Kind,
}

impl PublicKey {
    /// Reads a key in PEM, `PUBLIC KEY`.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(KeyError::Pem)?;
        if pem.tag() != "PUBLIC KEY" {
            return Err(KeyError::Tag(pem.tag().chars().take(40).collect()));
        }
        Self::from_der(pem.contents())
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_DER {
            return Err(KeyError::Kind);
        }
        let exact = |prefix: &[u8], length: usize| {
            let key = der.strip_prefix(prefix)?;
            (key.len() == length).then(|| key.to_vec())
        };
        let (kind, key) = if let Some(key) = exact(P256, 65) {
            (Kind::P256, key)
        } else if let Some(key) = exact(P384, 97) {
            (Kind::P384, key)
        } else if let Some(key) = exact(ED, 32) {
            (Kind::Ed25519, key)
        } else {
            // After the sequence's length of up to four bytes.
            let is_rsa = der.windows(RSA.len()).take(6).any(|window| window == RSA);
            let rsa = is_rsa.then(|| der.to_vec()).ok_or(KeyError::Kind)?;
            (Kind::Rsa, rsa)
        };
        let fingerprint = Digest::of(der).to_string();
        Ok(Self {
            kind,
            key,
            fingerprint,
        })
    }

    /// SHA-256 of the key's DER, as `openssl pkey -pubin -outform DER | sha256sum` has it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Kind of the key, for people.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "ECDSA P-256",
            Kind::P384 => "ECDSA P-384",
            Kind::Ed25519 => "Ed25519",
            Kind::Rsa => "RSA",
        }
    }

    /// Whether this key has signed the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            Kind::P256 => &ECDSA_P256_SHA256_ASN1,
            Kind::P384 => &ECDSA_P384_SHA384_ASN1,
            Kind::Ed25519 => &ED25519,
            Kind::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.key);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each made with `openssl genpkey`, the message signed with `openssl pkeyutl`.
    #[test]
    fn only_public_keys_are_keys() {
        for text in [
            "",
            "ssh-ed25519 AAAA",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(PublicKey::from_pem(text).is_err(), "{text}");
        }
    }
}
