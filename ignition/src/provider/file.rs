//! A local file, for tests and for trying a config out.

use std::path::PathBuf;

use crate::fetch::Fetcher;

use super::{Provider, ProviderError, Raw};

/// The config in a file, which must exist.
#[derive(Debug, Clone)]
pub struct FileProvider {
    path: PathBuf,
}

impl FileProvider {
    /// The file `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file that `IGNITION_CONFIG_FILE` names, else `config.ign` in the
    /// working directory (as upstream).
    pub fn from_environment() -> Self {
        let named = std::env::var_os("IGNITION_CONFIG_FILE");
        Self::new(named.map_or_else(|| PathBuf::from("config.ign"), PathBuf::from))
    }
}

impl Provider for FileProvider {
    fn name(&self) -> &'static str {
        "file"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let bytes = std::fs::read(&self.path).map_err(|source| ProviderError::Read {
            path: self.path.clone(),
            source,
        })?;
        Ok(Some(Raw {
            source: format!("file {}", self.path.display()),
            bytes,
        }))
    }
}
