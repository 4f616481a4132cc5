//! All stages by one of the programs, in a tree with the same helper programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use image::host::capture;
use image::tools::{Tools, remove_tree};

use crate::medium::Medium;
use crate::times::Times;
use crate::tree::Tree;
use crate::{go_ignition, normal, root};

const STAGES: &str = include_str!("stages.sh");

/// Where both see the root directory: they write some files as its users, who may not come
/// through every directory of this machine.
const ROOT: &str = "/run/sysroot";

/// Who carries the config out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The program of this repository.
    Ours,
    /// Go Ignition.
    Theirs,
}

/// What is run.
pub struct Bench {
    /// With Go Ignition and the programs that both call.
    pub tools: Tools,
    /// Our program, in a directory of its own.
    pub ours: PathBuf,
    /// The config.
    pub config: PathBuf,
}

impl Bench {
    /// Bytes of the program.
    pub fn size(&self, side: Side) -> Result<u64> {
        let told = match side {
            Side::Ours => return Ok(fs::metadata(&self.ours)?.len()),
            Side::Theirs => {
                let mut stat = self.tools.command("stat");
                capture(stat.args(["--format=%s", go_ignition::PROGRAM]))?
            }
        };
        told.trim().parse().context("reading the size of a program")
    }

    /// Provisions a new root directory on `medium`: how long it took, and what came of it.
    pub fn run(&self, side: Side, medium: &Medium) -> Result<(Times, Tree)> {
        // The same path for both, and nothing of the other is in the way of it.
        let root = medium.path().join("root");
        remove_tree(&root)?;
        root::make(&root)?;
        medium.settle()?;
        let times = self.stages(side, &root)?;
        let mut tree = Tree::read(&root)?;
        normal::normalise(&mut tree);
        Ok((times, tree))
    }

    fn stages(&self, side: Side, root: &Path) -> Result<Times> {
        let ours = self.ours.parent().context("the program has no directory")?;
        let tools = self.tools.clone().bind(ours).bind_at(root, ROOT);
        let usr = Path::new(ROOT).join("usr");
        let mut command = tools.usr_at(usr).command("bash");
        command.args(["-u", "-c", STAGES, "stages"]);
        match side {
            Side::Ours => command.arg(&self.ours),
            Side::Theirs => command.arg(go_ignition::PROGRAM),
        };
        let output = command
            .arg(ROOT)
            .env("IGNITION_CONFIG_FILE", &self.config)
            // None come with the system.
            .env("IGNITION_SYSTEM_CONFIG_DIR", "/run/none")
            .stdin(Stdio::null())
            .output()
            .context("running bwrap")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stdout);
            bail!("{side:?} failed ({}): {log}{said}", output.status);
        }
        Times::parse(&said).with_context(|| format!("reading times of {side:?} from {said:?}"))
    }
}

/// A copy of the program in `scratch`, with no other around: a build may replace it.
pub fn held(program: &Path, scratch: &Path) -> Result<PathBuf> {
    let directory = scratch.join("program");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let held = directory.join("ignition");
    fs::copy(program, &held).with_context(|| format!("copying {}", program.display()))?;
    Ok(held)
}
