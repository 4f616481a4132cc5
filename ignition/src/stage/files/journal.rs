//! What every path of the config held before this stage touched it.
//!
//! Written durably before the first entry is made. A second run finds here
//! what the first one found, and so does not take the first run's own work
//! for the host's: a file is not "already there", a fragment is not appended
//! twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};

use crate::durable::Attributes;
use crate::log;
use crate::root::{Kind, Root};

use super::{FilesError, WORK};

/// What a path held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// Nothing.
    Absent,
    /// Something that is not changed in place.
    Present,
    /// A file that is appended to; its copy has this number.
    Saved(u32),
}

/// The journal of this and all earlier attempts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    paths: BTreeMap<String, Before>,
}

impl Journal {
    /// Reads the journal of earlier attempts and adds `paths` that are new;
    /// of those in `appended`, existing files are saved. Removes temporary
    /// files that a cut left.
    pub fn open(
        root: &Root,
        paths: &BTreeSet<String>,
        appended: &BTreeSet<String>,
    ) -> Result<Self, FilesError> {
        let file = format!("{WORK}/journal.json");
        let mut journal: Self = match root.read(&file)? {
            None => Self::default(),
            Some(bytes) => {
                log::info("an earlier attempt was cut off; starting again");
                let parsed = serde_json::from_slice(&bytes);
                parsed.map_err(|source| FilesError::Journal {
                    path: file.clone(),
                    source,
                })?
            }
        };
        for path in journal.paths.keys() {
            root.clean_up_beside(path)?;
        }
        for path in paths {
            if !journal.paths.contains_key(path) {
                let before = journal.look(root, path, appended.contains(path))?;
                journal.paths.insert(path.clone(), before);
            }
        }
        let bytes = serde_json::to_vec(&journal).map_err(|source| FilesError::Journal {
            path: file.clone(),
            source,
        })?;
        root.write_bytes(&file, &bytes, Attributes::own(0o600))?;
        Ok(journal)
    }

    /// What `path` held before; it must be one that was given to `open`.
    pub fn before(&self, path: &str) -> Before {
        self.paths.get(path).copied().unwrap_or(Before::Present)
    }

    /// Path of the copy with this number.
    pub fn saved(number: u32) -> String {
        format!("{WORK}/saved-{number}")
    }

    fn look(&self, root: &Root, path: &str, appended: bool) -> Result<Before, FilesError> {
        let Some(entry) = root.entry(path)? else {
            return Ok(Before::Absent);
        };
        if !appended || entry.kind != Kind::File {
            return Ok(Before::Present);
        }
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        let Some(mut original) = root.open_file(path)? else {
            return Ok(Before::Absent);
        };
        root.write(&Self::saved(number), entry.attributes, |copy| {
            io::copy(&mut original, copy)
                .map(drop)
                .map_err(|source| crate::root::RootError {
                    operation: "saving",
                    path: path.to_owned(),
                    root: root.path().to_owned(),
                    source,
                })
        })?;
        Ok(Before::Saved(number))
    }
}
