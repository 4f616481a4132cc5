//! The Debian system tree, made by mkosi from `mkosi.conf` and `image/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::source_dir;
use crate::cache::{Key, cache_dir};
use crate::host::Mirrors;
use crate::tools::{SUITE, Tools, remove_tree, run_logged};

/// Names the tree that the present configuration would give.
pub fn key(tools: &Tools) -> Result<String> {
    let source = source_dir();
    let mut key = Key::default();
    key.add("tools", tools.id());
    key.add_path(&source.join("mkosi.conf"))?;
    key.add_path(&source.join("image/mkosi.conf.d"))?;
    key.add_path(&source.join("image/tree"))?;
    Ok(key.finish())
}

/// Returns the tree called `key` under `work`, making it if it is not there.
pub fn ensure(tools: &Tools, key: &str, work: &Path) -> Result<PathBuf> {
    let tree = work.join(format!("tree-{key}"));
    if tree.is_dir() {
        return Ok(tree);
    }
    let scratch = work.join("mkosi");
    let dir = |name: &str| -> Result<PathBuf> {
        let path = scratch.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    };
    let out = dir("out")?;
    let apt = dir("sandbox/etc/apt/sources.list.d")?;
    fs::write(
        apt.join("mkosi.sources"),
        Mirrors::of_host()?.sources(SUITE),
    )?;
    // Packages are the same bytes for everybody; share them between work
    // directories.
    let packages = cache_dir().join("packages");
    fs::create_dir_all(&packages)?;
    let tools = tools.clone().bind(work).bind_at(source_dir(), "/src");
    let mut mkosi = tools.command("mkosi");
    mkosi
        .args(["--directory", "/src", "--force"])
        .arg("--output-directory")
        .arg(&out)
        .arg("--cache-directory")
        .arg(dir("cache")?)
        .arg("--workspace-directory")
        .arg(dir("workspace")?)
        .arg("--package-cache-dir")
        .arg(&packages)
        .arg("--sandbox-tree")
        .arg(scratch.join("sandbox"))
        .arg(format!("--source-date-epoch={}", super::SOURCE_DATE_EPOCH))
        .arg("build");
    run_logged(&mut mkosi, "mkosi")?;
    forget_older(work)?;
    fs::rename(out.join("ballast"), &tree)
        .with_context(|| format!("moving the system tree to {}", tree.display()))?;
    Ok(tree)
}

/// Removes trees of earlier configurations: each is as large as a system.
fn forget_older(work: &Path) -> Result<()> {
    for entry in fs::read_dir(work)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("tree-") {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
