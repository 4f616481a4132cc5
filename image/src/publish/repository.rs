//! A TUF repository in a directory, with consistent snapshots.
//!
//! Whoever reads it while it changes sees the old state or the new one: files of targets
//! come first, under names that hold their hash, then metadata under names that hold
//! their version, and in the end `timestamp.json` is replaced in one step.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::rand::SystemRandom;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tough::TargetName;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{
    Hashes, KeyHolder, Metafile, Role, Signed, Snapshot, Target, Targets, Timestamp,
};
use update_engine::release::Digest;

use crate::durable::{self, Existing};
use crate::keys::{self, KeyStore, SPEC_VERSION};

/// Days until the metadata of a role is no longer believed.
///
/// Hosts refuse a repository whose metadata expired: somebody might be withholding newer
/// releases. Publishing, also of nothing new, starts the time again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Of the list of targets.
    pub targets: u32,
    /// Of the snapshot.
    pub snapshot: u32,
    /// Of the timestamp: how long a host can be shown an old state, at most.
    pub timestamp: u32,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            targets: 365,
            snapshot: 90,
            timestamp: 30,
        }
    }
}

/// The signed state of a repository.
struct Metadata {
    targets: Signed<Targets>,
    snapshot: Signed<Snapshot>,
    timestamp: Signed<Timestamp>,
}

/// A repository, locked against other publishers. Changes count from [`commit`] on.
///
/// [`commit`]: Repository::commit
pub struct Repository<'a> {
    dir: PathBuf,
    store: &'a KeyStore,
    metadata: Option<Metadata>,
    targets: HashMap<TargetName, Target>,
    _lock: File,
}

impl<'a> Repository<'a> {
    /// Opens the repository in `dir`, or begins one.
    ///
    /// Fails if its metadata was not signed by keys of `store`.
    pub fn open(dir: &Path, store: &'a KeyStore) -> Result<Self> {
        let dir =
            std::path::absolute(dir).with_context(|| format!("resolving {}", dir.display()))?;
        for part in ["metadata", "targets"] {
            durable::create_dirs(&dir.join(part))?;
        }
        keys::outside(store.dir(), &dir, "the repository that is published")?;
        let lock = lock(&dir)?;
        check_roots(&dir.join("metadata"), store)?;
        let metadata = read_metadata(&dir.join("metadata"), store)?;
        let targets = metadata.as_ref().map(|m| m.targets.signed.targets.clone());
        Ok(Self {
            dir,
            store,
            metadata,
            targets: targets.unwrap_or_default(),
            _lock: lock,
        })
    }

    /// Names of all targets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(TargetName::raw)
    }

    /// Where files of the target `name` are written, for [`durable::partial`].
    pub fn dir_of(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join("targets").join(name);
        let dir = path.parent().unwrap_or(&self.dir).to_path_buf();
        durable::create_dirs(&dir)?;
        Ok(dir)
    }

    /// The content of the target `name`, checked; `None` if there is no such target.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(target) = self.targets.get(&TargetName::new(name)?) else {
            return Ok(None);
        };
        let path = self.path(name, &digest(target)?);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            bytes.len() as u64 == target.length && sha256(&bytes) == digest(target)?,
            "{} is damaged: restore it from a copy of the repository",
            path.display()
        );
        Ok(Some(bytes))
    }

    /// Adds the target `name`, or gives it new content.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = durable::partial(&self.dir_of(name)?)?;
        std::io::Write::write_all(&mut file, content).with_context(|| format!("writing {name}"))?;
        self.add_file(name, file, content.len() as u64, sha256(content))
    }

    /// The same with content that lies in a file in [`Repository::dir_of`] already.
    pub fn add_file(
        &mut self,
        name: &str,
        file: NamedTempFile,
        length: u64,
        sha256: Digest,
    ) -> Result<()> {
        durable::keep(file, &self.path(name, &sha256), 0o644, Existing::Replace)?;
        let target = Target {
            length,
            hashes: Hashes {
                sha256: sha256.0.to_vec().into(),
                _extra: HashMap::new(),
            },
            custom: HashMap::new(),
            _extra: HashMap::new(),
        };
        self.targets.insert(TargetName::new(name)?, target);
        Ok(())
    }

    /// TUF, 5.7.3: the hash is put before the last part of the name.
    fn path(&self, name: &str, sha256: &Digest) -> PathBuf {
        let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
        let dir = self.dir.join("targets").join(dir);
        dir.join(format!("{sha256}.{file}"))
    }

    /// Whether [`commit`](Self::commit) would say something new to hosts: other targets,
    /// or another root.
    pub fn is_changed(&self) -> bool {
        let root = &self.store.newest().signed.signed;
        self.metadata.as_ref().is_none_or(|had| {
            had.targets.signed.targets != self.targets
                || root.verify_role(&had.targets).is_err()
                || root.verify_role(&had.snapshot).is_err()
                || root.verify_role(&had.timestamp).is_err()
                || !self.root_path(root.version).exists()
        })
    }

    fn root_path(&self, version: NonZeroU64) -> PathBuf {
        self.dir
            .join("metadata")
            .join(format!("{version}.root.json"))
    }

    /// Signs the state and makes it the one that hosts see, valid for `expiry` from now.
    ///
    /// The list of targets is signed anew only if it changed, comes near its expiry or
    /// was signed by a key that no longer counts: renewing a repository does not need
    /// the targets key.
    pub fn commit(self, expiry: &Expiry) -> Result<()> {
        let sources = self.store.sources()?;
        let signer = Signer::new(self.store, &sources);
        let dir = self.dir.join("metadata");
        let targets = self.sign_targets(&signer, expiry.targets)?;
        let had = self.metadata.as_ref();
        let mut snapshot = Snapshot::new(
            SPEC_VERSION.to_string(),
            after(had.map(|had| had.snapshot.signed.version))?,
            keys::in_days(expiry.snapshot)?,
        );
        let meta = metafile(targets.version, &targets.bytes);
        snapshot.meta.insert("targets.json".to_string(), meta);
        let snapshot = signer.sign(snapshot)?;
        let mut timestamp = Timestamp::new(
            SPEC_VERSION.to_string(),
            after(had.map(|had| had.timestamp.signed.version))?,
            keys::in_days(expiry.timestamp)?,
        );
        let meta = metafile(snapshot.version, &snapshot.bytes);
        timestamp.meta.insert("snapshot.json".to_string(), meta);
        let timestamp = signer.sign(timestamp)?;
        // Until the last line, a version that was left by an interrupted run may be
        // replaced: no timestamp ever named it.
        targets.write(&dir)?;
        snapshot.write(&dir)?;
        for root in self.store.roots() {
            let path = self.root_path(root.version());
            if !path.exists() {
                durable::write(&path, &root.bytes, 0o644, Existing::Replace)?;
            }
        }
        timestamp.write(&dir)
    }

    fn sign_targets(&self, signer: &Signer<'_>, days: u32) -> Result<Output> {
        let had = self.metadata.as_ref().map(|had| &had.targets);
        let fresh = keys::in_days(days / 3)?;
        let root = &self.store.newest().signed.signed;
        if let Some(had) = had.filter(|had| {
            had.signed.targets == self.targets
                && had.signed.expires > fresh
                && root.verify_role(had).is_ok()
        }) {
            let name = had.signed.filename(true);
            let path = self.dir.join("metadata").join(&name);
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            return Ok(Output {
                name,
                version: had.signed.version,
                bytes,
            });
        }
        let version = after(had.map(|had| had.signed.version))?;
        let expires = keys::in_days(days)?;
        let mut targets = Targets::new(SPEC_VERSION.to_string(), version, expires);
        targets.delegations = None;
        targets.targets = self.targets.clone();
        signer.sign(targets)
    }
}

/// The version after `version`, or the first.
fn after(version: Option<NonZeroU64>) -> Result<NonZeroU64> {
    let next = version.map_or(Some(NonZeroU64::MIN), |v| v.checked_add(1));
    next.context("counting versions of metadata")
}

/// A file of metadata, signed.
struct Output {
    name: String,
    version: NonZeroU64,
    bytes: Vec<u8>,
}

impl Output {
    fn write(&self, dir: &Path) -> Result<()> {
        durable::write(&dir.join(&self.name), &self.bytes, 0o644, Existing::Replace)
    }
}

/// Signs with the keys at hand, for the newest root.
struct Signer<'a> {
    store: &'a KeyStore,
    sources: &'a [Box<dyn KeySource>],
}

impl<'a> Signer<'a> {
    fn new(store: &'a KeyStore, sources: &'a [Box<dyn KeySource>]) -> Self {
        Self { store, sources }
    }

    fn sign<T: Role + Serialize>(&self, role: T) -> Result<Output> {
        let root = &self.store.newest().signed.signed;
        let (name, version) = (role.filename(true), role.version());
        let holder = KeyHolder::Root(root.clone());
        let random = SystemRandom::new();
        let signed = keys::block_on(SignedRole::new(role, &holder, self.sources, &random))?;
        let signed = signed.with_context(|| {
            let role = T::TYPE;
            format!(
                "signing {name}: root {} wants more {role} keys than are in {} (lend them \
                 with --also DIR)",
                root.version,
                self.store.dir().display()
            )
        })?;
        Ok(Output {
            name,
            version,
            bytes: signed.buffer().clone(),
        })
    }
}

fn metafile(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes {
            sha256: sha256(bytes).0.to_vec().into(),
            _extra: HashMap::new(),
        }),
        version,
        _extra: HashMap::new(),
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn digest(target: &Target) -> Result<Digest> {
    let bytes = <[u8; 32]>::try_from(&target.hashes.sha256[..]);
    Ok(Digest(bytes.context("a target has no SHA-256")?))
}

/// Keeps other publishers out, and clears what a killed one left.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let context = || format!("locking {}", path.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(context)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("{} is being published to: try again later", dir.display())
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    let mut files = Vec::new();
    for part in ["metadata", "targets"] {
        crate::cache::walk(&dir.join(part), &mut files)?;
    }
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(durable::PARTIAL) {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    Ok(file)
}

/// The roots of the repository and of the keys must be of one chain.
fn check_roots(metadata: &Path, store: &KeyStore) -> Result<()> {
    for root in store.roots() {
        let path = metadata.join(format!("{}.root.json", root.version()));
        match fs::read(&path) {
            Ok(bytes) if bytes == root.bytes => {}
            Ok(_) => bail!(
                "{} is not {}: these keys are of another repository",
                path.display(),
                root.path.display()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
    let newer = after(Some(store.newest().version()))?;
    ensure!(
        !metadata.join(format!("{newer}.root.json")).exists(),
        "{} has root {newer}, which {} lacks: use the newest copy of the keys",
        metadata.display(),
        store.dir().display()
    );
    Ok(())
}

fn read_metadata(dir: &Path, store: &KeyStore) -> Result<Option<Metadata>> {
    let path = dir.join("timestamp.json");
    if !path.exists() {
        return Ok(None);
    }
    let timestamp: Signed<Timestamp> = read_role(&path, None, store)?;
    let named = |meta: &HashMap<String, Metafile>, name: &str| {
        let meta = meta.get(&format!("{name}.json")).cloned();
        let meta = meta.with_context(|| format!("{}: it names no {name}", dir.display()))?;
        Ok::<_, anyhow::Error>((dir.join(format!("{}.{name}.json", meta.version)), meta))
    };
    let (path, meta) = named(&timestamp.signed.meta, "snapshot")?;
    let snapshot: Signed<Snapshot> = read_role(&path, Some(&meta), store)?;
    let (path, meta) = named(&snapshot.signed.meta, "targets")?;
    let targets = read_role(&path, Some(&meta), store)?;
    Ok(Some(Metadata {
        targets,
        snapshot,
        timestamp,
    }))
}

/// Reads metadata that was signed under one of the roots: a new root may not have
/// signed anything yet.
fn read_role<T: Role + Serialize + DeserializeOwned>(
    path: &Path,
    meta: Option<&Metafile>,
    store: &KeyStore,
) -> Result<Signed<T>> {
    let context = || format!("reading {}", path.display());
    let bytes = fs::read(path).with_context(context)?;
    let role: Signed<T> = serde_json::from_slice(&bytes).with_context(context)?;
    let signed = |root: &keys::RootFile| root.signed.signed.verify_role(&role).is_ok();
    ensure!(
        store.roots().rev().any(signed),
        "{} is not signed by keys that {} names",
        path.display(),
        store.newest().path.display()
    );
    if let Some(meta) = meta {
        let hash = meta.hashes.as_ref().map(|h| h.sha256.to_vec());
        ensure!(
            role.signed.version() == meta.version
                && hash.is_none_or(|hash| hash == sha256(&bytes).0),
            "{} is not the file that the metadata above names: restore it from a copy",
            path.display()
        );
    }
    Ok(role)
}
