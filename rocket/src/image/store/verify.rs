//! Whether an image in the store still is what its digests say.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::Error;
use super::super::digest::{Digest, Hashing};
use super::super::unpack::{Expected, Limits};
use super::Store;
use crate::durable;

/// Most complaints about one layer.
const MAX_DAMAGES: usize = 20;

/// Something that is not what it was when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file or directory, below the store.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// Whether it was put right.
    pub repaired: bool,
}

impl Store {
    /// Compares everything that belongs to an image with its digests: the bytes that were
    /// fetched, and the trees with what these bytes unpack to. With `repair`, a tree that
    /// differs is replaced; bytes that differ are only removed, to be fetched again.
    pub fn verify(&self, id: &Digest, repair: bool, limits: &Limits) -> Result<Vec<Damage>, Error> {
        let _in_use = self.in_use()?;
        let record = self.record(id)?.ok_or_else(|| Error::absent(&id.hex()))?;
        let mut damages = Vec::new();
        for digest in [*id, record.config.digest].into_iter().chain(record.index) {
            self.verify_blob(&digest, repair, &mut damages)?;
        }
        for layer in &record.layers {
            let digest = layer.blob.digest;
            if !self.verify_blob(&digest, repair, &mut damages)? {
                continue;
            }
            let expected = Expected {
                digest,
                size: layer.blob.size,
                diff_id: layer.diff_id,
            };
            self.verify_tree(&expected, repair, limits, &mut damages)?;
        }
        Ok(damages)
    }

    /// Whether content is what its name says.
    fn verify_blob(
        &self,
        digest: &Digest,
        repair: bool,
        damages: &mut Vec<Damage>,
    ) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        let what = match digest_of(&path) {
            Ok(found) if found == *digest => return Ok(true),
            Ok(found) => format!("its content has the digest {found}"),
            Err(error) => error.to_string(),
        };
        if repair {
            durable::remove(&path).map_err(Error::io("removing", &path))?;
        }
        damages.push(Damage {
            path: self.below(&path),
            what,
            repaired: false,
        });
        Ok(false)
    }

    fn verify_tree(
        &self,
        expected: &Expected,
        repair: bool,
        limits: &Limits,
        damages: &mut Vec<Damage>,
    ) -> Result<(), Error> {
        let fresh = self.temporary();
        let compared = self.compare(&fresh, expected, repair, limits, damages);
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("removing", &fresh)(error))
            }
            _ => compared,
        }
    }

    fn compare(
        &self,
        fresh: &Path,
        expected: &Expected,
        repair: bool,
        limits: &Limits,
        damages: &mut Vec<Damage>,
    ) -> Result<(), Error> {
        let blob = self.blob_path(&expected.digest);
        let file = File::open(&blob).map_err(Error::io("opening", &blob))?;
        self.make_tree(fresh, file, expected, limits)?;
        let here = self.layer_path(&expected.diff_id);
        let mut differences = Vec::new();
        let tree = self.tree_path(&expected.diff_id);
        differ(&fresh.join("tree"), &tree, &mut differences);
        let repaired = repair && !differences.is_empty();
        if repaired {
            let aside = self.temporary();
            if here.exists() {
                durable::rename(&here, &aside).map_err(Error::io("putting aside", &here))?;
            }
            durable::rename(fresh, &here).map_err(Error::io("making", &here))?;
            // Pods that run keep what they have open; the rest is for the collection.
            let _ = fs::remove_dir_all(&aside);
        }
        damages.extend(differences.into_iter().map(|(path, what)| Damage {
            path: self.below(&path),
            what,
            repaired,
        }));
        Ok(())
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hashing = Hashing::new(File::open(path)?);
    io::copy(&mut hashing, &mut io::sink())?;
    Ok(hashing.finish().0)
}

/// Notes how what is at `there` differs from `should`.
fn differ(should: &Path, there: &Path, found: &mut Vec<(PathBuf, String)>) {
    if found.len() >= MAX_DAMAGES {
        return;
    }
    match difference(should, there) {
        Ok(None) => {}
        Ok(Some(what)) => {
            found.push((there.to_owned(), what));
            return;
        }
        Err(error) => {
            found.push((there.to_owned(), error.to_string()));
            return;
        }
    }
    if should.is_symlink() || !should.is_dir() {
        return;
    }
    match (names(should), names(there)) {
        (Ok(one), Ok(other)) => {
            for name in one.symmetric_difference(&other) {
                let what = match one.contains(name) {
                    true => "it is missing",
                    false => "it does not belong there",
                };
                found.push((there.join(name), what.to_owned()));
            }
            for name in one.intersection(&other) {
                differ(&should.join(name), &there.join(name), found);
            }
        }
        (_, Err(error)) | (Err(error), _) => found.push((there.to_owned(), error.to_string())),
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

fn difference(should: &Path, there: &Path) -> io::Result<Option<String>> {
    let (one, other) = (fs::symlink_metadata(should)?, fs::symlink_metadata(there)?);
    type Property = (&'static str, fn(&Metadata) -> u64);
    let properties: [Property; 5] = [
        ("kind or permissions", |m| u64::from(m.mode())),
        ("owner", |m| u64::from(m.uid())),
        ("group", |m| u64::from(m.gid())),
        ("device number", |m| m.rdev()),
        (
            "number of links",
            |m| if m.is_dir() { 0 } else { m.nlink() },
        ),
    ];
    for (what, property) in properties {
        if property(&one) != property(&other) {
            return Ok(Some(format!("its {what} changed")));
        }
    }
    if (one.mtime(), one.mtime_nsec()) != (other.mtime(), other.mtime_nsec()) {
        return Ok(Some("its time changed".to_owned()));
    }
    let kind = one.file_type();
    let same = if kind.is_symlink() {
        fs::read_link(should)? == fs::read_link(there)?
    } else if kind.is_file() {
        one.len() == other.len() && same_content(should, there)?
    } else {
        true
    };
    if !same {
        return Ok(Some("its content changed".to_owned()));
    }
    let has_attributes = !kind.is_symlink() && !kind.is_char_device() && !kind.is_block_device();
    if has_attributes && attributes(should)? != attributes(there)? {
        return Ok(Some("its extended attributes changed".to_owned()));
    }
    Ok(None)
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// Those that unpacking sets.
fn attributes(path: &Path) -> io::Result<BTreeSet<(OsString, Vec<u8>)>> {
    let ours = |name: &OsStr| {
        let name = name.as_bytes();
        name.starts_with(b"user.")
            || name == b"security.capability"
            || name == b"trusted.overlay.opaque"
    };
    let mut all = BTreeSet::new();
    for name in xattr::list(path)? {
        if ours(&name)
            && let Some(value) = xattr::get(path, &name)?
        {
            all.insert((name, value));
        }
    }
    Ok(all)
}
