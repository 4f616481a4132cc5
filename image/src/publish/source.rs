//! What a build left: read whole and checked before anything of it is published.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootloader::uki;
use semver::Version;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use update_engine::blocks::hash_blocks;
use update_engine::release::{BLOCK, Digest};
use update_engine::tree::Tree;

/// `release.json` of a build.
#[derive(Deserialize)]
struct Manifest {
    version: Version,
    architecture: String,
    verity: Verity,
    files: BTreeMap<String, Built>,
}

#[derive(Deserialize)]
struct Verity {
    root: Digest,
    salt: Digest,
    block_size: usize,
}

#[derive(Deserialize)]
struct Built {
    size: u64,
    sha256: Digest,
}

/// A build that is whole: every file is the one that was built, the tree is that of
/// `/usr`, the kernel image one that the selector starts.
pub struct Source {
    pub version: Version,
    /// As in `uname -m`.
    pub architecture: String,
    pub usr: Vec<u8>,
    pub tree: Tree,
    pub salt: Digest,
    pub boot: Vec<u8>,
}

impl Source {
    /// Reads the directory that `cargo image -- build` made.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("release.json");
        let text = fs::read(&path).with_context(|| {
            let path = path.display();
            format!("reading {path}; a release is made by `cargo image -- build`")
        })?;
        let manifest: Manifest =
            serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
        let Verity {
            root,
            salt,
            block_size,
        } = manifest.verity;
        ensure!(
            block_size == BLOCK,
            "{}: blocks of {block_size} bytes cannot be published, only of {BLOCK}",
            path.display()
        );
        let file = |name: &str| {
            let built = manifest.files.get(name);
            let built = built.with_context(|| format!("{}: no {name}", path.display()))?;
            read_file(&dir.join(name), built)
        };
        let usr = file("usr.img")?;
        let tree = read_tree(file("usr.verity")?, &usr, salt, root)
            .with_context(|| format!("checking {}", dir.join("usr.verity").display()))?;
        let boot = file("boot.efi")?;
        check_kernel(&boot, &manifest.version)
            .with_context(|| format!("checking {}", dir.join("boot.efi").display()))?;
        Ok(Self {
            version: manifest.version,
            architecture: manifest.architecture.replace('-', "_"),
            usr,
            tree,
            salt,
            boot,
        })
    }
}

fn read_file(path: &Path, built: &Built) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let found = Digest(Sha256::digest(&bytes).into());
    ensure!(
        bytes.len() as u64 == built.size && found == built.sha256,
        "{} is not the file that was built ({} bytes with SHA-256 {found}, release.json \
         says {} bytes with {}): build the release again",
        path.display(),
        bytes.len(),
        built.size,
        built.sha256
    );
    Ok(bytes)
}

/// The tree, if it leads from every block of `usr` to the root.
fn read_tree(bytes: Vec<u8>, usr: &[u8], salt: Digest, root: Digest) -> Result<Tree> {
    let tree = Tree::lead_to(bytes, usr.len() as u64, salt, root)?;
    let leaves = tree.leaves();
    let hashes = hash_blocks(&salt.0, usr);
    let (hashes, _) = hashes.as_chunks::<32>();
    let wrong = (0..hashes.len()).find(|i| leaves.get(*i) != hashes.get(*i));
    if let Some(block) = wrong {
        anyhow::bail!("block {block} of usr.img is not the one in the tree");
    }
    Ok(tree)
}

/// Hosts refuse a kernel image that is longer or shorter than its headers say, and show
/// the version that it names.
fn check_kernel(boot: &[u8], version: &Version) -> Result<()> {
    let size = uki::total_size(boot, boot.len() as u64)?;
    let have = boot.len();
    ensure!(size == have as u64, "it ends at {size} of {have} bytes");
    let kernel = uki::Uki::parse(boot)?;
    kernel.check_kernel()?;
    let named = kernel.version()?;
    ensure!(
        named == version.to_string(),
        "its os-release names version {named}, the release is {version}"
    );
    Ok(())
}
