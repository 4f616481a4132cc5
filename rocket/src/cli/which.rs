//! Which pods a verb is about.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::pod::{Pod, Pods};

/// One pod or several.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// UUIDs, or their beginnings
    #[arg(required_unless_present = "uuid_file", value_name = "UUID")]
    uuids: Vec<String>,
    /// Reads a UUID from this file, as --uuid-file-save wrote it
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

impl Which {
    /// UUIDs, or their beginnings, as they were given.
    ///
    /// # Errors
    /// A file cannot be read, or there is none in it.
    pub fn uuids(&self) -> anyhow::Result<Vec<String>> {
        let mut uuids = self.uuids.clone();
        if let Some(path) = &self.uuid_file {
            uuids.push(read(path)?);
        }
        Ok(uuids)
    }

    /// The only one.
    ///
    /// # Errors
    /// There are several, or there is no such pod.
    pub fn only(&self, pods: &Pods) -> anyhow::Result<Pod> {
        match self.uuids()?.as_slice() {
            [uuid] => Ok(pods.find(uuid)?),
            several => bail!("{} pods were named, this is about one", several.len()),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    match text.trim() {
        "" => bail!("{} is empty, it should have a UUID", path.display()),
        uuid => Ok(uuid.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        which: Which,
    }

    #[test]
    fn pods_are_named_by_words_and_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("uuid");
        fs::write(&file, "c0ffee\n").unwrap();
        let path = file.to_str().unwrap();
        let line = Line::try_parse_from(["x", "a", "b", "--uuid-file", path]).unwrap();
        assert_eq!(line.which.uuids().unwrap(), ["a", "b", "c0ffee"]);
        assert!(Line::try_parse_from(["x"]).is_err());
        fs::write(&file, "\n").unwrap();
        assert!(
            line.which
                .uuids()
                .unwrap_err()
                .to_string()
                .contains("uuid is empty")
        );
    }
}
