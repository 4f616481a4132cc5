//! Specs as engines write them: from a file nobody has checked.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;

/// Bytes of one file.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a file of JSON. Errors name the place in it.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = bytes(path)?;
    parse(&bytes).with_context(|| format!("reading {}", path.display()))
}

/// The contents of a file that is not too large.
pub fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(reading)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("reading {}: more than 16 MiB", path.display());
    }
    Ok(bytes)
}

/// Parses JSON.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| anyhow::anyhow!("{}: {}", error.path(), error.inner()))?;
    deserializer.end().context("after the value")?;
    Ok(value)
}
