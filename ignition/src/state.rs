//! What the stages hand on to each other, next to the config cache.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{self, Attributes};

/// A cache or state file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not what a stage of this program wrote.
    #[error("understanding {}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("writing {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A config that was fetched (upstream's shape).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedConfig {
    /// `user` or `base`.
    pub kind: String,
    /// Provider, or where a referenced config came from.
    pub source: String,
    /// Whether another config referred to it.
    pub referenced: bool,
}

/// State between stages.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// All configs that were fetched.
    #[serde(default)]
    pub fetched_configs: Vec<FetchedConfig>,
    /// For entries of the merged config (`storage.files.0`): where they were
    /// written, for messages.
    #[serde(default)]
    pub origins: BTreeMap<String, String>,
    /// Stages that came to their end, of those that others depend on.
    #[serde(default)]
    pub finished: BTreeSet<String>,
    /// UUIDs of encrypted volumes, by name.
    #[serde(default)]
    pub volumes: BTreeMap<String, String>,
}

impl State {
    /// Reads the state; an absent file is the initial state.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Parse {
                path: path.to_owned(),
                source,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(StateError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes the state, readable by root only.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        save(path, self)
    }

    /// Whether a user's config (and not just a default) was found.
    pub fn user_config_provided(&self) -> bool {
        self.fetched_configs.iter().any(|c| c.kind == "user")
    }

    /// Where the entry that `key` is or lies in was written.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.origins.get(key).map(String::as_str)
    }

    /// The same for messages: `key` itself if it is not known where it was written.
    pub fn place(&self, key: &str) -> String {
        match self.origin(key) {
            Some(origin) => origin.to_owned(),
            None => format!("key {key}"),
        }
    }
}

/// Writes `value` as JSON, readable by root only; makes the directory.
pub fn save(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        durable::replace(path, &serde_json::to_vec(value)?, Attributes::own(0o600))
    };
    write().map_err(|source| StateError::Write {
        path: path.to_owned(),
        source,
    })
}
