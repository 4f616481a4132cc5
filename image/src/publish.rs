//! Publishing: a release goes into a repository, and a channel names it.

mod channel;
mod cut;
mod erofs;
mod frames;
mod patch;
mod repository;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use semver::Version;
use sha2::{Digest as _, Sha256};
use update_engine::blocks::{BlockHashes, hash_blocks};
use update_engine::release::{
    self, Boot, Channel, DESCRIPTOR, Descriptor, Digest, Frame, Patch, SCHEMA, USR_FRAMES,
    USR_TREE, Usr, channel_target, patch_target, target_name,
};
use update_engine::tree::Tree;

pub use channel::{NotAWave, Wave, Wishes};
pub use repository::Expiry;

use crate::keys::KeyStore;
use crate::progress::Progress;
use channel::Known;
use repository::Repository;
use source::Source;

/// The level that zstd compresses frames with: the best that needs no more memory on
/// hosts than a frame.
pub const LEVEL: i32 = 19;

/// Releases before that a release has a patch from, unless something else is asked for.
pub const PATCHES: usize = 3;

/// What to publish, and where.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The repository.
    pub repo: PathBuf,
    /// Directory of keys.
    pub keys: PathBuf,
    /// Further directories that private keys are in.
    pub also: Vec<PathBuf>,
    /// The channel; `None` leaves all channels as they are.
    pub channel: Option<String>,
    /// A build to add to the repository.
    pub from: Option<PathBuf>,
    /// What the channel says.
    pub wishes: Wishes,
    /// Of the build: the oldest version that can update to it directly.
    pub minimum_version: Version,
    /// Of the build: where an operator reads what changed.
    pub notes: Option<String>,
    /// Of the build: from how many releases before there are patches, at most.
    pub patches: usize,
    /// Level of zstd.
    pub level: i32,
    /// How long the metadata is valid.
    pub expiry: Expiry,
}

impl PublishOptions {
    /// Publishes to the repository in `repo` with the keys in `keys`; everything else
    /// as by default, and nothing to publish yet.
    pub fn new(repo: impl Into<PathBuf>, keys: impl Into<PathBuf>) -> Self {
        Self {
            repo: repo.into(),
            keys: keys.into(),
            also: Vec::new(),
            channel: None,
            from: None,
            wishes: Wishes::default(),
            minimum_version: Version::new(0, 0, 0),
            notes: None,
            patches: PATCHES,
            level: LEVEL,
            expiry: Expiry::default(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Hosts see something new.
    Changed,
    /// The same as before, valid for longer.
    Renewed,
    /// Nothing was written: the release was there, and the channel named it.
    Nothing,
}

/// Publishes. Hosts see all of it or nothing.
///
/// With a build: adds it, unless it is there. With a channel: the channel says what is
/// wished. With neither: renews the signatures.
pub fn publish(options: &PublishOptions) -> Result<Published> {
    let store = KeyStore::open(&options.keys, &options.also)?;
    let mut repository = Repository::open(&options.repo, &store)?;
    let mut wishes = options.wishes.clone();
    if let Some(dir) = &options.from {
        let version = add_release(&mut repository, dir, options)?;
        ensure!(
            wishes.release.replace(version).is_none(),
            "the channel can go to the build or to another release, not to both"
        );
    }
    if let Some(name) = &options.channel {
        set_channel(&mut repository, name, &wishes)?;
    } else if wishes.release.is_some() && options.from.is_none() {
        bail!("a release was named, but no channel: add --channel");
    }
    let changed = repository.is_changed();
    if !changed && options.from.is_some() {
        return Ok(Published::Nothing);
    }
    repository.commit(&options.expiry)?;
    Ok(if changed {
        Published::Changed
    } else {
        Published::Renewed
    })
}

fn set_channel(repository: &mut Repository<'_>, name: &str, wishes: &Wishes) -> Result<()> {
    ensure!(
        release::is_channel_name(name),
        "{name:?} is no name for a channel: use 1 to 32 of a-z, 0-9 and -"
    );
    let target = channel_target(name);
    let before = repository.read(&target)?;
    let before = before.map(|bytes| Channel::parse(&bytes)).transpose()?;
    let known: Vec<Known> = descriptors(repository)?
        .into_iter()
        .map(|descriptor| Known {
            version: descriptor.version,
            minimum: descriptor.minimum_version,
        })
        .collect();
    let next = channel::next(name, before.as_ref(), wishes, &known, Timestamp::now())?;
    if before.as_ref() != Some(&next) {
        repository.add(&target, &to_json(&next)?)?;
    }
    Ok(())
}

/// Every release of the repository, the newest first.
fn descriptors(repository: &Repository<'_>) -> Result<Vec<Descriptor>> {
    let names = repository.names().filter(|name| {
        let file = name
            .strip_prefix("releases/")
            .and_then(|n| n.split_once('/'));
        file.is_some_and(|(_, file)| file == DESCRIPTOR)
    });
    let mut descriptors = Vec::new();
    for name in names {
        let bytes = repository.read(name)?.unwrap_or_default();
        descriptors.push(Descriptor::parse(&bytes).with_context(|| format!("reading {name}"))?);
    }
    descriptors.sort_by(|a, b| b.version.cmp(&a.version));
    Ok(descriptors)
}

/// Adds the build in `dir`; returns its version.
fn add_release(
    repository: &mut Repository<'_>,
    dir: &Path,
    options: &PublishOptions,
) -> Result<Version> {
    let mut progress = Progress::new("publish", 5);
    let source = progress.stage("reading and checking the build", || Source::read(dir))?;
    let version = source.version.clone();
    let releases = descriptors(repository)?;
    let mut descriptor = describe(&source, options);
    if let Some(had) = releases.iter().find(|had| had.version == version) {
        check_same(had, &descriptor)?;
        progress.finish(&format!("release {version} is in the repository already"));
        return Ok(version);
    }
    let older: Vec<&Descriptor> = releases
        .iter()
        .filter(|release| release.version < version)
        .take(cut::RELEASES)
        .collect();
    let known = known_blocks(repository, &source, &older, &descriptor)?;
    let files = erofs::files(&source.usr).unwrap_or_default();
    let files: Vec<usize> = files.iter().map(|file| file.start).collect();
    descriptor.usr.frames = progress.stage("compressing /usr", || {
        pack(
            repository,
            &version,
            USR_FRAMES,
            &source.usr,
            &files,
            &known.usr,
            options,
        )
    })?;
    descriptor.boot.frames = progress.stage("compressing the kernel image", || {
        let name = release::BOOT_FRAMES;
        pack(
            repository,
            &version,
            name,
            &source.boot,
            &[],
            &known.boot,
            options,
        )
    })?;
    descriptor.patches = progress.stage("patches", || {
        let sources = patch_sources(repository, &releases, &version, options)?;
        patches(repository, &source, &sources, &descriptor)
    })?;
    descriptor.check()?;
    progress.stage("tree and descriptor", || {
        repository.add(&target_name(&version, USR_TREE), source.tree.bytes())?;
        repository.add(&target_name(&version, DESCRIPTOR), &to_json(&descriptor)?)
    })?;
    progress.finish(&format!("release {version}"));
    Ok(version)
}

/// The descriptor of a build, without its frames.
fn describe(source: &Source, options: &PublishOptions) -> Descriptor {
    let sha256 = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
    Descriptor {
        schema: SCHEMA,
        version: source.version.clone(),
        architecture: source.architecture.clone(),
        minimum_version: options.minimum_version.clone(),
        notes: options.notes.clone(),
        usr: Usr {
            size: source.usr.len() as u64,
            root: source.tree.root(),
            salt: source.salt,
            tree_size: source.tree.bytes().len() as u64,
            tree_sha256: sha256(source.tree.bytes()),
            frames: Vec::new(),
        },
        boot: Boot {
            size: source.boot.len() as u64,
            sha256: sha256(&source.boot),
            blocks: hash_blocks(&[], &source.boot),
            frames: Vec::new(),
        },
        patches: Vec::new(),
    }
}

/// A version means the same bytes for ever: hosts and caches rely on it.
fn check_same(had: &Descriptor, new: &Descriptor) -> Result<()> {
    let mut new = new.clone();
    new.usr.frames.clone_from(&had.usr.frames);
    new.boot.frames.clone_from(&had.boot.frames);
    new.patches.clone_from(&had.patches);
    ensure!(
        new.usr == had.usr && new.boot == had.boot,
        "release {} was published with other content: give the build another version",
        had.version
    );
    ensure!(
        new == *had,
        "release {} was published with minimum version {} and {}: these cannot be changed \
         any more",
        had.version,
        had.minimum_version,
        had.notes.as_deref().unwrap_or("no notes")
    );
    Ok(())
}

/// Which blocks of a build the releases before have.
struct KnownBlocks {
    usr: Vec<Vec<bool>>,
    boot: Vec<Vec<bool>>,
}

fn known_blocks(
    repository: &Repository<'_>,
    source: &Source,
    older: &[&Descriptor],
    new: &Descriptor,
) -> Result<KnownBlocks> {
    let mut known = KnownBlocks {
        usr: Vec::new(),
        boot: Vec::new(),
    };
    let boot = BlockHashes::new(&[], &new.boot.blocks);
    for old in older {
        known.usr.push(known_usr(repository, source, old)?);
        let old_boot = BlockHashes::new(&[], &old.boot.blocks);
        known.boot.push(present(&boot, &old_boot));
    }
    Ok(known)
}

/// For each block of the build's `/usr`, whether that of `old` has it.
fn known_usr(repository: &Repository<'_>, source: &Source, old: &Descriptor) -> Result<Vec<bool>> {
    let name = target_name(&old.version, USR_TREE);
    let bytes = read(repository, &name)?;
    let tree = Tree::verify(bytes, &old.usr).with_context(|| format!("reading {name}"))?;
    Ok(present(&source.tree.leaves(), &tree.leaves()))
}

/// A target that there must be.
fn read(repository: &Repository<'_>, name: &str) -> Result<Vec<u8>> {
    let bytes = repository.read(name)?;
    bytes.with_context(|| format!("the repository lacks {name}"))
}

/// For each block of `new`, whether `old` has it somewhere.
fn present(new: &BlockHashes<'_>, old: &BlockHashes<'_>) -> Vec<bool> {
    if !new.comparable(old) {
        return vec![false; new.count()];
    }
    let old: std::collections::HashSet<&[u8; 32]> = old.digests().iter().collect();
    let has = |digest| old.contains(digest);
    new.digests().iter().map(has).collect()
}

/// Cuts and compresses an image and adds it to the repository.
fn pack(
    repository: &mut Repository<'_>,
    version: &Version,
    file: &str,
    image: &[u8],
    files: &[usize],
    known: &[Vec<bool>],
    options: &PublishOptions,
) -> Result<Vec<Frame>> {
    let cuts = cut::plan(&cut::Blocks {
        count: image.len().div_ceil(release::BLOCK),
        files,
        known,
    });
    let name = target_name(version, file);
    let dir = repository.dir_of(&name)?;
    let packed = frames::pack(image, &cuts, options.level, &dir, file)?;
    repository.add_file(&name, packed.file, packed.size, packed.sha256)?;
    Ok(packed.frames)
}

/// The releases that hosts come from: the one that the channel names, then the newest
/// others below `version`.
fn patch_sources<'a>(
    repository: &Repository<'_>,
    releases: &'a [Descriptor],
    version: &Version,
    options: &PublishOptions,
) -> Result<Vec<&'a Descriptor>> {
    let name = options.channel.as_deref().map(channel_target);
    let bytes = name.map(|name| repository.read(&name)).transpose()?;
    let channel = bytes.flatten().map(|bytes| Channel::parse(&bytes));
    let named = channel.transpose()?.map(|channel| channel.release);
    let mut older: Vec<&Descriptor> = releases
        .iter()
        .filter(|release| release.version < *version)
        .collect();
    // The order of the others stays.
    older.sort_by_key(|release| Some(&release.version) != named.as_ref());
    older.truncate(options.patches);
    Ok(older)
}

/// Makes the patches from `sources` to the build and adds them, as far as they spare hosts
/// something.
fn patches(
    repository: &mut Repository<'_>,
    source: &Source,
    sources: &[&Descriptor],
    new: &Descriptor,
) -> Result<Vec<Patch>> {
    let mut patches: Vec<Patch> = Vec::new();
    for old in sources {
        let twice = patches.iter().any(|patch| patch.from == old.usr.root);
        if twice || old.usr.root == new.usr.root {
            continue;
        }
        patches.extend(patch_from(repository, source, old, new)?);
    }
    Ok(patches)
}

fn patch_from(
    repository: &mut Repository<'_>,
    source: &Source,
    old: &Descriptor,
    new: &Descriptor,
) -> Result<Option<Patch>> {
    let known = known_usr(repository, source, old)?;
    let name = target_name(&old.version, USR_FRAMES);
    let image = frames::unpack(&read(repository, &name)?, old.usr.size)
        .with_context(|| format!("reading {name}"))?;
    let target = patch_target(&new.version, &old.version);
    let images = patch::Images {
        old: &image,
        new: &source.usr,
        digests: source.tree.leaves().digests(),
        known: &known,
    };
    let made = patch::make(&images, &repository.dir_of(&target)?)?;
    // Whoever has more frames to fetch from the patch than from the image fetches the latter.
    let frames = fetched(&new.usr.frames, &known);
    let Some(made) = made.filter(|made| made.size < frames) else {
        return Ok(None);
    };
    eprintln!(
        "publish: from {}: {:.1} MB in frames, {:.1} MB as a patch",
        old.version,
        frames as f64 / 1e6,
        made.size as f64 / 1e6
    );
    repository.add_file(&target, made.file, made.size, made.sha256)?;
    Ok(Some(Patch {
        from: old.usr.root,
        from_version: old.version.clone(),
        target,
        memory: made.memory,
        frames: made.frames,
    }))
}

/// Bytes of the frames that hold a block which is not `known`.
fn fetched(frames: &[Frame], known: &[bool]) -> u64 {
    let mut rest = known;
    let mut bytes = 0;
    for Frame(blocks, length) in frames {
        let (held, after) = rest.split_at((*blocks as usize).min(rest.len()));
        if held.iter().any(|known| !known) {
            bytes += u64::from(*length);
        }
        rest = after;
    }
    bytes
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value).context("writing JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests;
