//! The releases between which is updated.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::BuildOptions;
use image::host::SuiteState;
use image::tools::{Tools, remove_tree, run_logged};
use update_engine::release::Digest;

/// The library of which [`Releases::small`] has another build: one that Debian's updates
/// changed, of a package of its own.
const SMALL: &str = "lib/x86_64-linux-gnu/libpcre2-8.so.0";

/// Builds, in the order of their versions.
pub struct Releases {
    /// Debian as of its last point release.
    pub released: PathBuf,
    /// The same with all updates: another kernel, so that every module is another one,
    /// and some packages.
    pub updated: PathBuf,
    /// That with one library as it was before.
    pub small: PathBuf,
}

impl Releases {
    /// The releases in `dir`.
    pub fn in_dir(dir: &Path) -> Self {
        let at = |name| dir.join(name);
        Self {
            released: at("released"),
            updated: at("updated"),
            small: at("small"),
        }
    }

    /// Builds what is not there or has changed.
    pub fn build(dir: &Path, tools: &Tools) -> Result<Self> {
        let releases = Self::in_dir(dir);
        let options = |version: &str, out: &Path| BuildOptions {
            version: version.to_string(),
            out: Some(out.to_path_buf()),
            ..BuildOptions::default()
        };
        image::build(&BuildOptions {
            suites: SuiteState::AsReleased,
            ..options("1.0.0", &releases.released)
        })?;
        image::build(&options("1.1.0", &releases.updated))?;
        let overlay = dir.join("overlay");
        library(tools, &releases.released, &overlay)?;
        image::build(&BuildOptions {
            overlay: Some(overlay),
            ..options("1.1.1", &releases.small)
        })?;
        Ok(releases)
    }
}

/// Lays the library of the build `from` into `overlay`.
fn library(tools: &Tools, from: &Path, overlay: &Path) -> Result<()> {
    let all = overlay.with_extension("extracted");
    remove_tree(&all)?;
    let mut extract = tools.command("fsck.erofs");
    extract
        .arg(format!("--extract={}", all.display()))
        .arg(from.join("usr.img"));
    run_logged(&mut extract, "bench-extract")?;
    let target = fs::canonicalize(all.join(SMALL));
    let target = target.with_context(|| format!("the old release has no {SMALL}"))?;
    let name = target.strip_prefix(&all);
    let name = name.context("the library is a link out of /usr")?;
    let place = overlay.join("usr").join(name);
    remove_tree(overlay)?;
    fs::create_dir_all(place.parent().unwrap_or(overlay)).context("making the overlay")?;
    fs::copy(&target, &place).with_context(|| format!("copying {SMALL}"))?;
    remove_tree(&all)
}

/// Root hash of a build's `/usr`.
pub fn root(build: &Path) -> Result<Digest> {
    let path = build.join("release.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let json: serde_json::Value = serde_json::from_slice(&text)?;
    let root = json["verity"]["root"].as_str().unwrap_or_default();
    ensure!(!root.is_empty(), "{} names no root hash", path.display());
    Ok(root.parse()?)
}
