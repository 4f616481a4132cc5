//! One release: from this repository to a directory of files.

mod cpio;
mod disk;
mod elf;
mod guest;
mod initrd;
pub mod kernel;
mod manifest;
mod stage;
pub mod tree;
mod usr;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Key, cache_dir};
use crate::host::{self, SuiteState};
use crate::keys::{self, KeyStore, RootFile};
use crate::progress::Progress;
use crate::tools::{Tools, remove_tree};

/// Time stamp of every file in a release, seconds since 1970: 2025-01-01.
///
/// One value for all releases: blocks that did not change stay the same bytes.
pub const SOURCE_DATE_EPOCH: &str = "1735689600";

/// What to build and where to put it.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Version of the release, semver.
    pub version: String,
    /// Output directory; `images/VERSION` in the cache directory by default.
    pub out: Option<PathBuf>,
    /// Directory for the system tree and work in progress; the cache directory
    /// by default. Two builds that share nothing have two of these.
    pub work: Option<PathBuf>,
    /// Added to the kernel command line; for trying out and tests.
    pub cmdline: Vec<String>,
    /// Where packages come from.
    pub suites: SuiteState,
    /// A directory whose `usr` is laid over that of the system tree; for trying out and
    /// tests.
    pub overlay: Option<PathBuf>,
    /// The TUF root that hosts of this release trust; by default the newest one in
    /// the default directory of keys, which is made if it is not there.
    pub root: Option<PathBuf>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            out: None,
            work: None,
            cmdline: Vec::new(),
            suites: SuiteState::default(),
            overlay: None,
            root: None,
        }
    }
}

/// The files of a release directory.
pub const OUTPUTS: [&str; 8] = [
    "disk.img",
    "boot.efi",
    "selector.efi",
    "usr.img",
    "usr.verity",
    "release.json",
    "packages.json",
    "sbom.spdx.json",
];

/// The program `ignition` as images carry it, compiled if it is not there. The file may go
/// when another clone builds.
pub fn ignition() -> Result<PathBuf> {
    host::ensure_rust_target(guest::SELECTOR_TARGET)?;
    let tools = Tools::ensure()?;
    let _lock = cache::lock("image")?;
    Ok(guest::build(&tools, &cache_dir())?.ignition)
}

/// The root of this repository.
pub fn source_dir() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// One build: what its steps share.
struct Job {
    tools: Tools,
    version: String,
    cmdline: Vec<String>,
    /// See [`BuildOptions::overlay`].
    overlay: Option<PathBuf>,
    /// The TUF root that hosts trust.
    root: RootFile,
    /// Work in progress; removed in the end.
    scratch: PathBuf,
    /// Compressed parts of an initrd, for the next release.
    kept: PathBuf,
    /// Where the outputs are made.
    out: PathBuf,
}

/// Builds a release and returns its directory.
///
/// A release that is there already and was made from the same inputs is left as
/// it is. Needs root, and asks `sudo` for it. An output directory appears whole
/// or not at all.
pub fn build(options: &BuildOptions) -> Result<PathBuf> {
    check_version(&options.version)?;
    host::ensure_rust_target(guest::SELECTOR_TARGET)?;
    let tools = Tools::ensure()?;
    let work = options.work.clone().unwrap_or_else(cache_dir);
    let out = match &options.out {
        Some(out) => std::path::absolute(out)?,
        None => work.join("images").join(&options.version),
    };
    let mut progress = Progress::new("image", 8);
    // Object files are shared by all clones, so this comes before compiling, too.
    let _lock = cache::lock("image")?;
    let programs = progress.stage("Rust programs for the image", || {
        guest::build(&tools, &work)
    })?;
    let tree_key = tree::key(&tools, options.suites)?;
    let root = trusted_root(options)?;
    let inputs = inputs(options, &tree_key, &programs, &root)?;
    if fs::read_to_string(out.join(".inputs")).is_ok_and(|had| had == inputs) {
        progress.finish(&format!("nothing to do, {} is up to date", out.display()));
        return Ok(out);
    }
    host::become_root("to build the image")?;
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
    let tree = progress.stage("Debian system tree", || {
        tree::ensure(&tools, &tree_key, &work, options.suites)
    })?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let partial = out.with_file_name(format!(".{name}.partial"));
    let scratch = work.join("scratch");
    for dir in [&partial, &scratch] {
        remove_tree(dir)?;
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let job = Job {
        tools: tools.bind(&work).bind(&partial),
        version: options.version.clone(),
        cmdline: options.cmdline.clone(),
        overlay: options.overlay.clone(),
        root,
        scratch,
        kept: work.join("initrd-parts"),
        out: partial,
    };
    assemble(&job, &mut progress, &tree, &programs)?;
    fs::write(job.out.join(".inputs"), inputs)?;
    remove_tree(&job.scratch)?;
    remove_tree(&out)?;
    fs::rename(&job.out, &out)
        .with_context(|| format!("moving the release to {}", out.display()))?;
    host::give_back(&out)?;
    progress.finish(&format!("release {} in {}", options.version, out.display()));
    Ok(out)
}

fn assemble(
    job: &Job,
    progress: &mut Progress,
    tree: &Path,
    programs: &guest::Programs,
) -> Result<()> {
    let stage = progress.stage("files of /usr", || stage::make(job, tree, programs))?;
    let hash = progress.stage("/usr: erofs and verity tree", || usr::make(job, &stage))?;
    progress.stage("initrd and kernel image", || {
        let initrd = initrd::make(job, &stage, tree)?;
        kernel::make(job, &stage, &initrd, &hash)
    })?;
    progress.stage("disk", || disk::make(job, programs, &hash))?;
    progress.stage("manifest, SBOM, descriptor", || {
        manifest::make(job, tree)?;
        manifest::release(job, &hash)
    })
}

/// Everything that decides the bytes of a release.
fn inputs(
    options: &BuildOptions,
    tree: &str,
    programs: &guest::Programs,
    root: &RootFile,
) -> Result<String> {
    let source = source_dir();
    let mut key = Key::default();
    key.add("version", &options.version)
        .add("cmdline", options.cmdline.join(" "))
        .add("tree", tree);
    if let Some(overlay) = &options.overlay {
        key.add_path(overlay)?;
    }
    for path in [
        "image/src",
        "image/initrd",
        "image/repart.d",
        "ignition/dist",
        "Cargo.lock",
    ] {
        key.add_path(&source.join(path))?;
    }
    for program in programs.all() {
        key.add_path(program)?;
    }
    key.add("root", &root.bytes);
    Ok(key.finish())
}

/// The TUF root that hosts of the release trust.
fn trusted_root(options: &BuildOptions) -> Result<RootFile> {
    if let Some(path) = &options.root {
        return RootFile::read(path.clone());
    }
    let dir = keys::default_dir();
    let store = match dir.exists() {
        true => KeyStore::open(&dir, &[])?,
        false => {
            let shown = dir.display();
            eprintln!(
                "image: making keys in {shown}: hosts of this build take updates that they sign"
            );
            keys::create(&dir, &[], keys::ROOT_DAYS)?
        }
    };
    Ok(store.newest().clone())
}

/// Accepts semver, in a length that file names can carry.
fn check_version(version: &str) -> Result<()> {
    let parsed = semver::Version::parse(version);
    parsed.with_context(|| {
        format!("version {version:?} is not semver, for example 1.2.3 or 1.2.3-rc.1")
    })?;
    ensure!(
        version.len() <= 64,
        "version {version} is longer than 64 characters"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn versions_are_semver() {
        for good in ["0.1.0", "1.22.333", "1.2.3-rc.1", "1.2.3+build-5"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1.2.3-",
            "1.2.3-a/b",
            "v1.2.3",
        ] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
