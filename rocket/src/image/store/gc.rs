//! Listing what is in the store, and removing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::super::Error;
use super::super::digest::Digest;
use super::super::trust::Verified;
use super::{Name, Names, Store, file_names};
use crate::durable;

/// One image, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The digest of its manifest.
    pub id: Digest,
    /// Its names, each with the reason why it is trusted.
    pub names: Vec<ListedName>,
    /// Bytes that were fetched for it.
    pub size: u64,
    /// Bytes of its files.
    pub unpacked: u64,
    /// How many layers it has.
    pub layers: usize,
    /// When it was fetched.
    pub fetched: Timestamp,
}

/// One name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedName {
    /// As it is written.
    pub name: String,
    /// Why it was taken.
    pub verified: Verified,
}

/// The images of a store.
#[derive(Debug, Default)]
pub struct List {
    /// Those whose records can be read.
    pub images: Vec<Listed>,
    /// What is wrong with other records.
    pub damaged: Vec<Error>,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Collected {
    /// Images that nothing names any more.
    pub images: usize,
    /// Trees of layers.
    pub layers: usize,
    /// Manifests, configurations, layers as they were fetched.
    pub blobs: usize,
    /// What interrupted work left.
    pub leftovers: usize,
    /// Records that cannot be read, each with the reason. What they may mean has stayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

impl Store {
    /// All images, the one that was fetched last first.
    pub fn list(&self) -> Result<List, Error> {
        let Names { known, damaged } = self.names()?;
        let mut list = List {
            images: Vec::new(),
            damaged,
        };
        for id in self.image_ids()? {
            match self.listed(&id, &known) {
                Ok(listed) => list.images.extend(listed),
                Err(error) => list.damaged.push(error),
            }
        }
        list.images
            .sort_by(|one, other| other.fetched.cmp(&one.fetched).then(one.id.cmp(&other.id)));
        Ok(list)
    }

    fn listed(&self, id: &Digest, names: &BTreeMap<String, Name>) -> Result<Option<Listed>, Error> {
        let Some(record) = self.record(id)? else {
            return Ok(None);
        };
        let mut unpacked = 0;
        for layer in &record.layers {
            unpacked += self
                .layer_info(&layer.diff_id)?
                .map_or(0, |info| info.bytes);
        }
        let own = names.values().filter(|name| name.id == *id);
        let own = own.map(|name| ListedName {
            name: name.name.clone(),
            verified: name.verified.clone(),
        });
        Ok(Some(Listed {
            id: *id,
            names: own.collect(),
            size: record.layers.iter().map(|layer| layer.blob.size).sum(),
            unpacked,
            layers: record.layers.len(),
            fetched: record.fetched,
        }))
    }

    /// The ids of all images.
    pub fn image_ids(&self) -> Result<Vec<Digest>, Error> {
        let names = file_names(&self.root.join("images"))?;
        let ids = names.iter().filter_map(|name| Digest::from_hex(name).ok());
        Ok(ids.collect())
    }

    /// Removes a name. The image stays until [`Self::gc`] finds that nothing needs it.
    pub fn forget_name(&self, name: &str) -> Result<(), Error> {
        let path = self.name_path(name);
        durable::remove(&path).map_err(Error::io("removing", &path))
    }

    /// Removes what no name and no pod needs, and what interrupted work left. `in_use` says
    /// which images pods need; it is asked while nobody can begin to use another one. None
    /// if another rocket fetches: then everything stays. A record that cannot be read may
    /// mean any image or any content: as long as there is one, these stay.
    pub fn gc(
        &self,
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>, Error>,
    ) -> Result<Option<Collected>, Error> {
        let lock = self.open_lock()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("locking", &self.lock_path())(error));
            }
        }
        let mut collected = Collected::default();
        let kept = self.drop_images(&in_use()?, &mut collected)?;
        let trash = self.drop_content(&kept, &mut collected)?;
        // What is in the way of nobody any more can be removed while others fetch.
        drop(lock);
        for path in trash {
            match fs::remove_dir_all(&path) {
                // Another collection was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.map_err(Error::io("removing", &path))?,
            }
        }
        Ok(Some(collected))
    }

    /// Removes the records of images without a name and a pod. Returns the digests that the
    /// others need.
    fn drop_images(
        &self,
        in_use: &BTreeSet<Digest>,
        collected: &mut Collected,
    ) -> Result<Needed, Error> {
        let names = self.names()?;
        let named: BTreeSet<Digest> = names.known.values().map(|name| name.id).collect();
        let is_any_named = !names.damaged.is_empty();
        collected
            .damaged
            .extend(names.damaged.into_iter().map(told));
        let is_needed = |id: &Digest| is_any_named || named.contains(id) || in_use.contains(id);
        let mut needed = Needed::default();
        for id in self.image_ids()? {
            let record = match self.record(&id) {
                Ok(record) => record,
                Err(error) => {
                    needed.anything = true;
                    collected.damaged.push(told(error));
                    continue;
                }
            };
            if let Some(record) = record.filter(|_| is_needed(&id)) {
                needed.blobs.extend([id, record.config.digest]);
                needed.blobs.extend(record.index);
                let layers = record.layers.iter();
                needed
                    .blobs
                    .extend(layers.clone().map(|layer| layer.blob.digest));
                needed.layers.extend(layers.map(|layer| layer.diff_id));
            } else {
                let path = self.image_path(&id);
                durable::remove(&path).map_err(Error::io("removing", &path))?;
                collected.images += 1;
            }
        }
        Ok(needed)
    }

    /// Removes content that no image names. Trees are only put aside: returned is what is
    /// still to be removed.
    fn drop_content(
        &self,
        needed: &Needed,
        collected: &mut Collected,
    ) -> Result<Vec<PathBuf>, Error> {
        for (path, digest) in self.by_digest("blobs/sha256")? {
            if !needed.has(&needed.blobs, digest) {
                remove_file(&path)?;
                collected.blobs += 1;
            }
        }
        for (path, _) in self.by_digest("partial")? {
            remove_file(&path)?;
            collected.leftovers += 1;
        }
        for directory in ["names", "images"] {
            for name in file_names(&self.root.join(directory))? {
                if durable::is_unfinished(&name) {
                    remove_file(&self.root.join(directory).join(name))?;
                    collected.leftovers += 1;
                }
            }
        }
        let leftovers = self.by_digest("tmp")?;
        collected.leftovers += leftovers.len();
        let mut trash: Vec<PathBuf> = leftovers.into_iter().map(|(path, _)| path).collect();
        for (path, digest) in self.by_digest("layers")? {
            if !needed.has(&needed.layers, digest) {
                let aside = self.temporary();
                durable::rename(&path, &aside).map_err(Error::io("putting aside", &path))?;
                trash.push(aside);
                collected.layers += 1;
            }
        }
        self.split_trash(trash)
    }

    /// Files in `tmp` are removed at once; directories are returned.
    fn split_trash(&self, trash: Vec<PathBuf>) -> Result<Vec<PathBuf>, Error> {
        let mut directories = Vec::new();
        for path in trash {
            if path.is_dir() {
                directories.push(path);
            } else {
                remove_file(&path)?;
            }
        }
        Ok(directories)
    }

    fn by_digest(&self, directory: &str) -> Result<Vec<(PathBuf, Option<Digest>)>, Error> {
        let directory = self.root.join(directory);
        let names = file_names(&directory)?.into_iter();
        let entry = |name: String| (directory.join(&name), Digest::from_hex(&name).ok());
        Ok(names.map(entry).collect())
    }
}

/// What images that stay are made of.
#[derive(Debug, Default)]
struct Needed {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    /// Nobody knows of what else.
    anything: bool,
}

impl Needed {
    /// Content whose name is no digest is nobody's.
    fn has(&self, known: &BTreeSet<Digest>, digest: Option<Digest>) -> bool {
        digest.is_some_and(|digest| self.anything || known.contains(&digest))
    }
}

/// An error with its causes.
fn told(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    durable::step("before removing content");
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("removing", path)(error))
        }
        _ => Ok(()),
    }
}
