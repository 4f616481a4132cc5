//! The store: images that were fetched, by content.
//!
//! ```text
//! store/lock              shared by who fetches or uses, taken alone by who removes
//! store/names/HASH        a name, the image it means, and why that one is trusted
//! store/images/HEX        an image: its configuration and its layers
//! store/blobs/sha256/HEX  manifests, configurations and layers as they were fetched
//! store/layers/HEX/       a layer's tree, by the digest of its archive, and its size
//! store/partial/HEX       what is being fetched, or was when a fetch ended early
//! store/tmp/              trees that are being made or removed
//! ```
//!
//! Whatever is under the first four was complete and on the disk before it got its name. A
//! process that is killed leaves files in `partial` and `tmp`, and content that no image
//! names: both are what [`Store::gc`] removes.

mod gc;
mod held;
mod layer;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::{Descriptor, MAX_CONFIG, parse_config};
use super::source::Source;
use super::trust::Verified;
use super::{Error, Image};
use crate::dirs::Dirs;
use crate::durable;
use crate::options::PullPolicy;

pub use gc::{Collected, List, Listed, ListedName};
pub use held::held_by_pods;
pub use layer::{LayerInfo, LayerLock};
pub use verify::Damage;

/// Longest record of a name or an image.
const MAX_RECORD: u64 = 4 << 20;

/// Where a pod's directory says which images it is made of: one empty file for each.
const HELD: &str = "images";

/// All that was fetched on this host.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    dirs: Dirs,
}

/// While it lives, nothing is removed from the store.
#[derive(Debug)]
pub struct InUse(#[allow(dead_code)] File);

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its manifest.
    pub manifest: Descriptor,
    /// The index that named the manifest, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// When it was fetched.
    pub fetched: Timestamp,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of its archive.
    pub diff_id: Digest,
    /// Its bytes, as they were fetched.
    pub blob: Descriptor,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// As it is written.
    pub name: String,
    /// The digest of the image's manifest.
    pub id: Digest,
    /// Why it was taken.
    pub verified: Verified,
    /// What the file was that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// Names of a store.
#[derive(Debug, Default)]
pub struct Names {
    /// What each means.
    pub known: BTreeMap<String, Name>,
    /// What is wrong with the others, of which nobody knows what they mean.
    pub damaged: Vec<Error>,
}

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Of an archive, or of the index of a layout.
    pub fn of(source: &Source) -> Option<Self> {
        let path = match source {
            Source::Layout(local) => local.path.join("index.json"),
            _ => source.local()?.path.clone(),
        };
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Store {
    /// The store of a host; its directories are made if they are not there.
    pub fn open(dirs: &Dirs) -> Result<Self, Error> {
        let store = Self {
            root: dirs.store(),
            dirs: dirs.clone(),
        };
        // The last one that is made tells whether all are there.
        if !store.tmp().is_dir() {
            store.make()?;
        }
        Ok(store)
    }

    /// Whose store it is; policies are beside it.
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    fn make(&self) -> Result<(), Error> {
        let blobs = self.root.join("blobs/sha256");
        let others = ["names", "images", "layers", "partial", "tmp"];
        let all = [blobs]
            .into_iter()
            .chain(others.map(|name| self.root.join(name)));
        for path in all {
            // Programs in layers may have set-user-id: nobody but root may get there.
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&path);
            made.map_err(Error::io("making", &path))?;
        }
        Ok(())
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn name_path(&self, name: &str) -> PathBuf {
        let hash = Digest::of(name.as_bytes());
        self.root.join("names").join(hash.hex())
    }

    fn image_path(&self, id: &Digest) -> PathBuf {
        self.root.join("images").join(id.hex())
    }

    /// Where content of this digest is, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    fn tree_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("tree")
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A path for something temporary, which nothing else uses.
    pub fn temporary(&self) -> PathBuf {
        self.tmp().join(uuid::Uuid::new_v4().to_string())
    }

    /// Keeps everything in the store until the value is dropped.
    pub fn in_use(&self) -> Result<InUse, Error> {
        let file = self.open_lock()?;
        let locked = file.lock_shared();
        locked.map_err(Error::io("locking", &self.lock_path()))?;
        Ok(InUse(file))
    }

    fn open_lock(&self) -> Result<File, Error> {
        let path = self.lock_path();
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        options.open(&path).map_err(Error::io("opening", &path))
    }

    /// What the store has for a source. Nothing is fetched; a file that has changed since
    /// it was taken in, or [`PullPolicy::Update`], is as if nothing was there.
    pub fn find(&self, source: &Source, pull: PullPolicy) -> Result<Option<Image>, Error> {
        if let Source::Stored(digits) = source {
            let id = self.complete(digits)?;
            let name = id.to_string();
            return self.load(&id, &name, Verified::Pinned);
        }
        if pull == PullPolicy::Update {
            return Ok(None);
        }
        let Some(name) = self.name(&source.to_string())? else {
            return Ok(None);
        };
        let changed = source.local().is_some() && name.stamp != Stamp::of(source);
        if changed && pull != PullPolicy::Never {
            return Ok(None);
        }
        self.load(&name.id, &name.name, name.verified)
    }

    /// The one image whose id begins so.
    fn complete(&self, digits: &str) -> Result<Digest, Error> {
        if let Ok(id) = Digest::from_hex(digits) {
            return Ok(id);
        }
        let names = file_names(&self.root.join("images"))?;
        let mut found = names.iter().filter(|name| name.starts_with(digits));
        match (found.next(), found.next()) {
            (Some(only), None) => Digest::from_hex(only).map_err(|_| Error::absent(digits)),
            (Some(_), Some(_)) => Err(Error::Ambiguous(digits.to_owned())),
            _ => Err(Error::absent(digits)),
        }
    }

    /// What a name means, if it is known.
    pub fn name(&self, name: &str) -> Result<Option<Name>, Error> {
        let record: Option<Name> = read_record(&self.name_path(name))?;
        Ok(record.filter(|record| record.name == name))
    }

    /// What an image is made of, if it is there.
    pub fn record(&self, id: &Digest) -> Result<Option<Record>, Error> {
        read_record(&self.image_path(id))
    }

    /// An image with everything that running it takes; none if something is missing, so
    /// that it is fetched again.
    pub fn load(
        &self,
        id: &Digest,
        name: &str,
        verified: Verified,
    ) -> Result<Option<Image>, Error> {
        let Some(record) = self.record(id)? else {
            return Ok(None);
        };
        let layers: Vec<PathBuf> = record
            .layers
            .iter()
            .map(|layer| self.tree_path(&layer.diff_id))
            .collect();
        let path = self.blob_path(&record.config.digest);
        let Some(bytes) = read_bounded(&path, MAX_CONFIG)? else {
            return Ok(None);
        };
        if !layers.iter().all(|tree| tree.is_dir()) {
            return Ok(None);
        }
        let (config, _) = parse_config(&bytes, layers.len())
            .map_err(|source| Error::Config(path.display().to_string(), source))?;
        Ok(Some(Image {
            id: *id,
            name: name.to_owned(),
            config,
            layers,
            verified,
        }))
    }

    /// Writes down that `pod`, a directory, is made of an image, which then stays in the
    /// store as long as the directory is there. Fails if it is gone already.
    pub fn hold(&self, image: &Image, pod: &Path) -> Result<(), Error> {
        let directory = pod.join(HELD);
        let _in_use = self.in_use()?;
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io("making", &directory)(error));
            }
            _ => {}
        }
        let path = directory.join(image.id.hex());
        File::create(&path).map_err(Error::io("making", &path))?;
        if self.image_path(&image.id).exists() {
            Ok(())
        } else {
            Err(Error::absent(&image.id.hex()))
        }
    }

    /// The images that a pod's directory holds.
    pub fn held(pod: &Path) -> Result<Vec<Digest>, Error> {
        let names = file_names(&pod.join(HELD))?;
        let digests = names.iter().filter_map(|name| Digest::from_hex(name).ok());
        Ok(digests.collect())
    }

    /// Puts small content in the store, by its digest.
    pub fn put_blob(&self, content: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(content);
        let path = self.blob_path(&digest);
        if !path.exists() {
            durable::replace(&path, content).map_err(Error::io("writing", &path))?;
        }
        Ok(digest)
    }

    /// Makes an image known, whose layers and configuration are in the store, and then the
    /// name that it has.
    pub fn put_image(&self, record: &Record, name: &Name) -> Result<(), Error> {
        let path = self.image_path(&record.manifest.digest);
        write_record(&path, record)?;
        write_record(&self.name_path(&name.name), name)
    }

    /// All names, in their order, and those that cannot be read.
    pub fn names(&self) -> Result<Names, Error> {
        let directory = self.root.join("names");
        let mut names = Names::default();
        for file in file_names(&directory)? {
            if durable::is_unfinished(&file) {
                continue;
            }
            match read_record::<Name>(&directory.join(&file)) {
                Ok(Some(name)) => {
                    names.known.insert(name.name.clone(), name);
                }
                Ok(None) => {}
                Err(error) => names.damaged.push(error),
            }
        }
        Ok(names)
    }
}

/// Names in a directory; none if it is not there.
fn file_names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("listing", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("listing", directory))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// What a file has; none if it is not there.
fn read_bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut content)?;
        match content.len() as u64 <= most {
            true => Ok(content),
            false => Err(ErrorKind::FileTooLarge.into()),
        }
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some).map_err(Error::io("reading", path)),
    }
}

fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(content) = read_bounded(path, MAX_RECORD)? else {
        return Ok(None);
    };
    let record = serde_json::from_slice(&content);
    record.map(Some).map_err(|source| Error::Record {
        path: path.to_owned(),
        source,
    })
}

fn write_record(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let content = serde_json::to_vec(record).map_err(|source| Error::Record {
        path: path.to_owned(),
        source,
    })?;
    durable::replace(path, &content).map_err(Error::io("writing", path))
}
