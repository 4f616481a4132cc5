//! The Debian system tree, made by mkosi from `mkosi.conf` and `image/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::source_dir;
use crate::cache::{Key, cache_dir};
use crate::host::{Mirrors, SuiteState};
use crate::tools::{SUITE, Tools, remove_tree, run_logged};

/// Names the tree that the present configuration would give with packages of `state`.
pub fn key(tools: &Tools, state: SuiteState) -> Result<String> {
    let source = source_dir();
    let mut key = Key::default();
    key.add("tools", tools.id());
    key.add_path(&source.join("mkosi.conf"))?;
    key.add_path(&source.join("image/mkosi.conf.d"))?;
    key.add_path(&source.join("image/tree"))?;
    key.add_path(&source.join("update-engine/dist"))?;
    key.add_path(&source.join("locksmith/dist"))?;
    key.add_path(&source.join("rocket/dist"))?;
    Ok(format!("{}{}", prefix(state), key.finish()))
}

/// What sets trees of one state apart from those of the others.
fn prefix(state: SuiteState) -> &'static str {
    match state {
        SuiteState::Updated => "",
        SuiteState::AsReleased => "released-",
    }
}

/// Returns the tree called `key` under `work`, making it if it is not there.
pub fn ensure(tools: &Tools, key: &str, work: &Path, state: SuiteState) -> Result<PathBuf> {
    let tree = work.join(format!("tree-{key}"));
    if tree.is_dir() {
        return Ok(tree);
    }
    let scratch = work.join(format!("{}mkosi", prefix(state)));
    let out = scratch.join("out");
    let tools = tools.clone().bind(work);
    run_with(
        &tools,
        state,
        &Run {
            config: "/src",
            scratch: &scratch,
            out: &out,
            log: "mkosi",
            arguments: &[],
        },
    )?;
    forget_older(work, state)?;
    fs::rename(out.join("ballast"), &tree)
        .with_context(|| format!("moving the system tree to {}", tree.display()))?;
    Ok(tree)
}

/// One run of mkosi in the tools tree.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Directory with the `mkosi.conf`, as the tools tree sees it: `/src` is this
    /// repository.
    pub config: &'a str,
    /// Caches and work in progress.
    pub scratch: &'a Path,
    /// Where the output goes.
    pub out: &'a Path,
    /// Name of the log.
    pub log: &'a str,
    /// What else to say on its command line.
    pub arguments: &'a [String],
}

/// Runs mkosi with the host's mirrors and the packages that every build shares.
pub fn run(tools: &Tools, run: &Run) -> Result<()> {
    run_with(tools, SuiteState::Updated, run)
}

fn run_with(tools: &Tools, state: SuiteState, run: &Run) -> Result<()> {
    // Packages are the same bytes for everybody; share them between work
    // directories.
    let packages = cache_dir().join("packages");
    let [apt, cache, workspace] =
        ["sandbox/etc/apt/sources.list.d", "cache", "workspace"].map(|dir| run.scratch.join(dir));
    for path in [run.out, &apt, &cache, &workspace, &packages] {
        fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    }
    let sources = apt.join("mkosi.sources");
    fs::write(&sources, Mirrors::of_host()?.sources(SUITE, state))
        .with_context(|| format!("writing {}", sources.display()))?;
    let tools = tools.clone().bind_at(source_dir(), "/src");
    let mut mkosi = tools.command("mkosi");
    mkosi
        .args(["--directory", run.config, "--force"])
        .args(run.arguments)
        .arg("--output-directory")
        .arg(run.out)
        .arg("--cache-directory")
        .arg(&cache)
        .arg("--workspace-directory")
        .arg(&workspace)
        .arg("--package-cache-dir")
        .arg(&packages)
        .arg("--sandbox-tree")
        .arg(run.scratch.join("sandbox"))
        .arg(format!("--source-date-epoch={}", super::SOURCE_DATE_EPOCH))
        .arg("build");
    run_logged(&mut mkosi, run.log)
}

/// Removes trees of earlier configurations: each is as large as a system.
fn forget_older(work: &Path, state: SuiteState) -> Result<()> {
    for entry in fs::read_dir(work)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = name.strip_prefix("tree-");
        let state_of = |key: &str| match key.starts_with(prefix(SuiteState::AsReleased)) {
            true => SuiteState::AsReleased,
            false => SuiteState::Updated,
        };
        if key.is_some_and(|key| state_of(key) == state) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
