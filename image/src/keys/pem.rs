//! Private keys in files: Ed25519, PKCS#8, PEM, as `openssl genpkey` writes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use pem::{EncodeConfig, LineEnding, Pem};
use tough::key_source::KeySource;
use tough::schema::RoleType;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::sign::Sign;

use crate::durable::{self, Existing};

const TAG: &str = "PRIVATE KEY";
const EXTENSION: &str = "pem";

/// A key that is not on the disk yet.
pub struct NewKey {
    pub role: RoleType,
    pub id: Decoded<Hex>,
    pub public: Key,
    text: String,
}

impl NewKey {
    /// Makes a key for `role`.
    pub fn generate(role: RoleType) -> Result<Self> {
        let random = SystemRandom::new();
        let Ok(document) = Ed25519KeyPair::generate_pkcs8v1(&random) else {
            bail!("making a key: the system gives no random numbers");
        };
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let pair = read_pkcs8(document.as_ref())?;
        let public = pair.tuf_key();
        Ok(Self {
            role,
            id: public.key_id().context("naming a key")?,
            public,
            text: pem::encode_config(&Pem::new(TAG, document.as_ref()), config),
        })
    }

    /// Writes it to its own file in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let id: String = self.id.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let path = dir.join(format!("{}-{id}.{EXTENSION}", self.role));
        durable::write(&path, self.text.as_bytes(), 0o600, Existing::Refuse)
    }
}

fn read_pkcs8(der: &[u8]) -> Result<Ed25519KeyPair> {
    match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        Ok(pair) => Ok(pair),
        Err(error) => bail!("no Ed25519 key in PKCS#8: {error}"),
    }
}

/// A key in a file.
#[derive(Debug)]
pub struct PemKey(PathBuf);

impl PemKey {
    /// Every key file in `dir` and `also`.
    pub fn all(dir: &Path, also: &[PathBuf]) -> Result<Vec<Box<dyn KeySource>>> {
        let mut keys: Vec<Box<dyn KeySource>> = Vec::new();
        for dir in [dir].into_iter().chain(also.iter().map(PathBuf::as_path)) {
            let context = || format!("reading directory {}", dir.display());
            for entry in fs::read_dir(dir).with_context(context)? {
                let path = entry.with_context(context)?.path();
                if path.extension().is_some_and(|e| e == EXTENSION) {
                    keys.push(Box::new(Self(path)));
                }
            }
        }
        Ok(keys)
    }

    fn read(&self) -> Result<Ed25519KeyPair> {
        let mode = fs::metadata(&self.0)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("others may read it: take it as known to others, or `chmod 600` it");
        }
        let pem = pem::parse(fs::read(&self.0)?)?;
        if pem.tag() != TAG {
            bail!("it holds a {}, not a {TAG}", pem.tag());
        }
        read_pkcs8(pem.contents())
    }
}

#[async_trait]
impl KeySource for PemKey {
    async fn as_sign(
        &self,
    ) -> Result<Box<dyn Sign>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        let pair = self
            .read()
            .with_context(|| format!("reading key {}", self.0.display()))?;
        Ok(Box::new(pair))
    }

    async fn write(
        &self,
        _value: &str,
        _key_id_hex: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Err(format!("key {} is never overwritten", self.0.display()).into())
    }
}
