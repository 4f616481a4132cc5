//! Layers of the store: fetched bytes and the tree in them appear together, or not at all.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;
use serde::{Deserialize, Serialize};

use super::super::Error;
use super::super::digest::{Digest, Hashing};
use super::super::unpack::{Expected, Limits, Made, UnpackError, unpack};
use super::{Store, read_record};
use crate::durable;

/// What is known about a layer's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Entries of its archive.
    pub entries: u64,
    /// Bytes of its files, with their holes.
    pub bytes: u64,
    /// Directories of which the layer says neither owner nor permissions; a `/` between
    /// components, what is not UTF-8 replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implied: Vec<String>,
}

impl From<&Made> for LayerInfo {
    fn from(made: &Made) -> Self {
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        Self {
            entries: made.entries,
            bytes: made.bytes,
            implied: made.implied.iter().map(text).collect(),
        }
    }
}

/// Whoever has it is the only one who fetches a blob.
#[derive(Debug)]
pub struct LayerLock {
    file: File,
    path: PathBuf,
}

impl LayerLock {
    /// What was fetched of it before.
    pub fn fetched(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(Error::io("reading", &self.path))?.len())
    }

    /// The file that is being filled, once more.
    pub fn file(&self) -> Result<File, Error> {
        let copy = self.file.try_clone();
        copy.map_err(Error::io("opening", &self.path))
    }

    /// Throws away what was fetched.
    pub fn reset(&self) -> Result<(), Error> {
        let cut = self.file.set_len(0);
        cut.map_err(Error::io("emptying", &self.path))
    }

    /// Removes what was fetched; whoever waits begins anew.
    pub fn discard(self) -> Result<(), Error> {
        let removed = fs::remove_file(&self.path);
        removed.map_err(Error::io("removing", &self.path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Whether the layer is there, with its bytes and its tree.
    pub fn has_layer(&self, expected: &Expected) -> bool {
        self.has_tree(&expected.diff_id) && self.blob_path(&expected.digest).is_file()
    }

    /// Whether the tree is there.
    pub fn has_tree(&self, diff_id: &Digest) -> bool {
        self.layer_path(diff_id).is_dir()
    }

    /// What is known about a layer's tree.
    pub fn layer_info(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, Error> {
        read_record(&self.layer_path(diff_id).join("layer.json"))
    }

    /// Waits until nobody else fetches this blob, which `waiting` may tell. Then it may be
    /// there already.
    pub fn lock_layer(&self, digest: &Digest, waiting: impl Fn()) -> Result<LayerLock, Error> {
        let path = self.root.join("partial").join(digest.hex());
        loop {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let opened = options.mode(0o600).open(&path);
            let file = opened.map_err(Error::io("opening", &path))?;
            if file.try_lock().is_err() {
                waiting();
                file.lock().map_err(Error::io("locking", &path))?;
            }
            // Whoever had it may have moved it to where it belongs.
            let ours = file.metadata().map_err(Error::io("reading", &path))?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == ours.ino()) {
                return Ok(LayerLock { file, path });
            }
        }
    }

    /// Unpacks bytes that are being fetched into `lock`'s file, and puts them and the tree
    /// into the store if they are what they must be. A tree that is there is not made again.
    pub fn add_layer(
        &self,
        lock: &LayerLock,
        source: impl Read + Send,
        expected: &Expected,
        limits: &Limits,
    ) -> Result<(), Error> {
        let failed = |source| Error::layer(&expected.digest, &self.root, source);
        if self.has_tree(&expected.diff_id) {
            check_bytes(source, expected).map_err(failed)?;
            self.sync()?;
        } else {
            let temporary = self.temporary();
            let made = self.make_tree(&temporary, source, expected, limits);
            let kept = made.and_then(|()| self.keep_tree(&temporary, &expected.diff_id));
            if let Err(error) = kept {
                // What cannot be removed now is for the garbage collection.
                let _ = fs::remove_dir_all(&temporary);
                return Err(error);
            }
        }
        self.keep_blob(lock, &expected.digest)
    }

    /// Makes a tree again from the bytes that are in the store.
    pub fn unpack_again(&self, expected: &Expected, limits: &Limits) -> Result<(), Error> {
        let path = self.blob_path(&expected.digest);
        let file = File::open(&path).map_err(Error::io("opening", &path))?;
        let temporary = self.temporary();
        let made = self.make_tree(&temporary, file, expected, limits);
        let kept = made.and_then(|()| self.keep_tree(&temporary, &expected.diff_id));
        if kept.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        kept
    }

    /// Unpacks into a new directory, and puts everything on the disk.
    pub(super) fn make_tree(
        &self,
        directory: &Path,
        source: impl Read + Send,
        expected: &Expected,
        limits: &Limits,
    ) -> Result<(), Error> {
        let tree = directory.join("tree");
        let mut builder = DirBuilder::new();
        let built = builder.recursive(true).mode(0o755).create(&tree);
        built.map_err(Error::io("making", &tree))?;
        // Whatever the caller's umask is.
        fs::set_permissions(&tree, Permissions::from_mode(0o755))
            .map_err(Error::io("setting the permissions of", &tree))?;
        let root = File::open(&tree).map_err(Error::io("opening", &tree))?;
        let made = unpack(source, expected, OwnedFd::from(root), limits)
            .map_err(|source| Error::layer(&expected.digest, &self.root, source))?;
        durable::step("unpacked");
        let path = directory.join("layer.json");
        let info = serde_json::to_vec(&LayerInfo::from(&made)).map_err(|source| Error::Record {
            path: path.clone(),
            source,
        })?;
        let file = File::create(&path).and_then(|mut file| file.write_all(&info));
        file.map_err(Error::io("writing", &path))?;
        self.sync()
    }

    /// Everything that was written so far is on the disk: once per layer, and not per file.
    fn sync(&self) -> Result<(), Error> {
        let directory = File::open(&self.root).map_err(Error::io("opening", &self.root))?;
        let synced = syncfs(&directory).map_err(io::Error::from);
        synced.map_err(Error::io("writing to the disk of", &self.root))
    }

    fn keep_tree(&self, temporary: &Path, diff_id: &Digest) -> Result<(), Error> {
        let path = self.layer_path(diff_id);
        match durable::rename(temporary, &path) {
            // The same layer, compressed in another way, was faster.
            Err(error) if taken(&error) && self.has_tree(diff_id) => {
                let removed = fs::remove_dir_all(temporary);
                removed.map_err(Error::io("removing", temporary))
            }
            result => result.map_err(Error::io("making", &path)),
        }
    }

    fn keep_blob(&self, lock: &LayerLock, digest: &Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        durable::rename(&lock.path, &path).map_err(Error::io("making", &path))
    }
}

fn taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}

/// As unpacking does it, for bytes whose tree is there.
fn check_bytes(source: impl Read, expected: &Expected) -> Result<(), UnpackError> {
    let mut hashing = Hashing::new(source.take(expected.size.saturating_add(1)));
    io::copy(&mut hashing, &mut io::sink()).map_err(UnpackError::Read)?;
    let (digest, size) = hashing.finish();
    expected.check(digest, size)
}
