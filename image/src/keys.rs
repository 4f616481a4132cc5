//! The keys that sign a repository, and the roots that say which keys count.
//!
//! A directory of keys holds one file per private key, `ROLE-ID.pem` (PKCS#8, mode
//! 0600), and every root there ever was, `1.root.json`, `2.root.json` and so on. Hosts
//! carry one of these and follow the chain to the newest.

mod pem;
mod root;

use std::fmt;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use tough::key_source::KeySource;
use tough::schema::{Role, RoleType, Root, Signed};

use crate::durable::{self, Existing};
use pem::{NewKey, PemKey};
pub(crate) use root::{SPEC_VERSION, in_days};

/// The roles of a repository, the most important first.
pub const ROLES: [RoleType; 4] = [
    RoleType::Root,
    RoleType::Targets,
    RoleType::Snapshot,
    RoleType::Timestamp,
];

/// Days until a root expires, unless said otherwise.
pub const ROOT_DAYS: u32 = 730;

/// Keys of one role: `root=2/3` is three keys of which two must sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleSpec {
    /// Which role.
    pub role: RoleType,
    /// Signatures that are needed.
    pub threshold: u8,
    /// Keys that there are.
    pub keys: u8,
}

impl RoleSpec {
    /// What a role has when nothing else was asked for: one lost root key is no loss.
    fn standard(role: RoleType) -> Self {
        let (threshold, keys) = match role {
            RoleType::Root => (2, 3),
            _ => (1, 1),
        };
        Self {
            role,
            threshold,
            keys,
        }
    }
}

/// Text that is not like `root=2/3`.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not like root=2/3: root, targets, snapshot or timestamp; signatures \
     needed; keys in all, at most 16"
)]
pub struct NotARoleSpec(String);

impl FromStr for RoleSpec {
    type Err = NotARoleSpec;

    fn from_str(text: &str) -> Result<Self, NotARoleSpec> {
        let parse = || {
            let (role, numbers) = text.split_once('=')?;
            let (threshold, keys) = numbers.split_once('/')?;
            Some(Self {
                role: parse_role(role)?,
                threshold: threshold.parse().ok().filter(|n| *n > 0)?,
                keys: keys.parse().ok().filter(|n| *n <= 16)?,
            })
        };
        parse()
            .filter(|spec| spec.threshold <= spec.keys)
            .ok_or_else(|| NotARoleSpec(text.to_string()))
    }
}

/// A role by its name in TUF.
pub fn parse_role(name: &str) -> Option<RoleType> {
    ROLES.into_iter().find(|role| role.to_string() == name)
}

/// Where keys are unless said otherwise: `${XDG_DATA_HOME:-$HOME/.local/share}/ballast/keys`,
/// outside the clone, and not among what can be made again.
pub fn default_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(dir), _) => PathBuf::from(dir).join("ballast/keys"),
        (None, Some(home)) => PathBuf::from(home).join(".local/share/ballast/keys"),
        (None, None) => PathBuf::from("/var/lib/ballast/keys"),
    }
}

/// Makes a directory of keys with the first root, which expires after `days`.
///
/// Roles that `specs` leaves out get the standard: three root keys of which two sign,
/// one key for the others. The directory appears whole or not at all; one that is there
/// is never changed.
pub fn create(dir: &Path, specs: &[RoleSpec], days: u32) -> Result<KeyStore> {
    let dir = std::path::absolute(dir).with_context(|| format!("resolving {}", dir.display()))?;
    outside(&dir, &crate::build::source_dir(), "this repository")?;
    ensure!(
        fs::symlink_metadata(&dir).is_err(),
        "{} is there already; keys are never overwritten, name another directory or \
         use `keys rotate`",
        dir.display()
    );
    let parent = dir.parent().context("keys need a directory of their own")?;
    durable::create_dirs(parent)?;
    let partial = tempfile::Builder::new()
        .prefix(durable::PARTIAL)
        .tempdir_in(parent)
        .with_context(|| format!("creating a directory in {}", parent.display()))?;
    let mut keys = Vec::new();
    for role in ROLES {
        let spec = specs.iter().rev().find(|spec| spec.role == role);
        let spec = spec.copied().unwrap_or(RoleSpec::standard(role));
        for _ in 0..spec.keys {
            keys.push((spec, NewKey::generate(role)?));
        }
    }
    for (_, key) in &keys {
        key.write(partial.path())?;
    }
    let root = root::first(&keys, days)?;
    add_root(partial.path(), root, None, &[])?;
    fs::rename(partial.path(), &dir).with_context(|| format!("creating {}", dir.display()))?;
    durable::sync_dir(parent)?;
    KeyStore::open(&dir, &[])
}

/// Makes the next root: new keys for the roles in `specs`, the old ones for the rest,
/// a new expiry in `days`.
///
/// It is signed by enough keys of the old root and of the new one, so that a host that
/// trusts the old one takes it. The private keys of the old root must be in `dir` or in
/// one of `also`, where keys that are kept elsewhere can be lent. Key files that no
/// longer count are left where they are.
pub fn rotate(dir: &Path, also: &[PathBuf], specs: &[RoleSpec], days: u32) -> Result<KeyStore> {
    let store = KeyStore::open(dir, also)?;
    let mut keys = Vec::new();
    for spec in specs {
        for _ in 0..spec.keys {
            keys.push((*spec, NewKey::generate(spec.role)?));
        }
    }
    let old = &store.newest().signed.signed;
    let next = root::next(old, &keys, days)?;
    for (_, key) in &keys {
        key.write(dir)?;
    }
    // The root comes last: without it, new key files mean nothing.
    add_root(dir, next, Some(old), also)?;
    KeyStore::open(dir, also)
}

/// New keys for `role` in as many numbers as it has now.
pub fn same_number(store: &KeyStore, role: RoleType) -> Result<RoleSpec> {
    let keys = store.newest().signed.signed.roles.get(&role);
    let keys = keys.with_context(|| format!("the root names no keys for {role}"))?;
    Ok(RoleSpec {
        role,
        threshold: u8::try_from(keys.threshold.get())?,
        keys: u8::try_from(keys.keyids.len())?,
    })
}

/// Signs `root` with every key at hand, checks it as a host would, and writes it.
fn add_root(dir: &Path, root: Root, old: Option<&Root>, also: &[PathBuf]) -> Result<()> {
    let version = root.version;
    let sources = PemKey::all(dir, also)?;
    let signed = root::sign(root, old, &sources)?;
    let count = signed.signed().signatures.len();
    for judge in [old, Some(&signed.signed().signed)].into_iter().flatten() {
        judge.verify_role(signed.signed()).with_context(|| {
            format!(
                "root {version} has {count} signatures of the keys in {}, and root {} wants \
                 more: lend its keys with --also DIR",
                dir.display(),
                judge.version,
            )
        })?;
    }
    let path = dir.join(format!("{version}.root.json"));
    durable::write(&path, signed.buffer(), 0o644, Existing::Refuse)
}

/// Refuses a `dir` inside `tree`: keys must not be published, nor committed.
pub fn outside(dir: &Path, tree: &Path, what: &str) -> Result<()> {
    let mut real = dir.to_path_buf();
    // The directory need not exist yet; what is above it decides where it will be.
    while fs::symlink_metadata(&real).is_err() && real.pop() {}
    let real = real.canonicalize().unwrap_or(real);
    let tree = tree.canonicalize().unwrap_or(tree.to_path_buf());
    ensure!(
        !real.starts_with(&tree) && !dir.starts_with(&tree),
        "{} is inside {what}, where keys must not be: name another directory with --dir \
         or --keys",
        dir.display()
    );
    Ok(())
}

/// A root as it lies in a file.
#[derive(Debug, Clone)]
pub struct RootFile {
    /// The file.
    pub path: PathBuf,
    /// Its bytes, which repositories carry unchanged.
    pub bytes: Vec<u8>,
    /// What it says.
    pub signed: Signed<Root>,
}

impl RootFile {
    /// Reads one; whether it is to be believed is another question.
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let signed = serde_json::from_slice(&bytes)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(Self {
            path,
            bytes,
            signed,
        })
    }

    /// Which root it is, counted from 1.
    pub fn version(&self) -> NonZeroU64 {
        self.signed.signed.version()
    }
}

/// A directory of keys: private keys and the whole chain of roots, checked.
pub struct KeyStore {
    dir: PathBuf,
    also: Vec<PathBuf>,
    newest: RootFile,
    older: Vec<RootFile>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys in {}", self.dir.display())
    }
}

impl KeyStore {
    /// Opens `dir`; private keys are also looked for in `also`.
    ///
    /// Fails unless the roots are 1, 2, … without a gap, and each is signed by itself
    /// and by the one before.
    pub fn open(dir: &Path, also: &[PathBuf]) -> Result<Self> {
        let path = |version: u64| dir.join(format!("{version}.root.json"));
        let mut older = Vec::new();
        let mut newest = RootFile::read(path(1)).with_context(|| {
            let dir = dir.display();
            format!("{dir} holds no keys; make some with `cargo image -- keys --dir {dir}`")
        })?;
        check_root(&newest, &newest)?;
        while path(older.len() as u64 + 2).exists() {
            let next = RootFile::read(path(older.len() as u64 + 2))?;
            check_root(&next, &newest)?;
            check_root(&next, &next)?;
            older.push(std::mem::replace(&mut newest, next));
            let expected = older.len() as u64 + 1;
            if newest.version().get() != expected {
                bail!("{} is not root {expected}", newest.path.display());
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            also: also.to_vec(),
            newest,
            older,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root that counts now. Its file is what an image carries.
    pub fn newest(&self) -> &RootFile {
        &self.newest
    }

    /// Every root, the oldest first.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = &RootFile> {
        self.older.iter().chain([&self.newest])
    }

    /// The private keys at hand, whether they count or not.
    pub fn sources(&self) -> Result<Vec<Box<dyn KeySource>>> {
        PemKey::all(&self.dir, &self.also)
    }
}

fn check_root(root: &RootFile, judge: &RootFile) -> Result<()> {
    let verified = judge.signed.signed.verify_role(&root.signed);
    verified.with_context(|| {
        let (root, judge) = (root.path.display(), judge.path.display());
        format!("{root} is not signed by enough keys that {judge} names")
    })
}

/// Runs what `tough` does, which is asynchronous for the sake of keys in the network.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    Ok(runtime.context("starting a runtime")?.block_on(work))
}

#[cfg(test)]
mod tests;
