//! The two programs, and one config carried out by each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use image::host::{capture, cargo};
use image::tools::Tools;
use serde_json::Value;

use super::cases::Case;
use super::root;
use super::tree::Tree;

/// Debian's package of Go Ignition, and those of programs that it runs.
const PACKAGES: [&str; 3] = ["ignition", "gdisk", "xfsprogs"];
/// Its release; another one differs in other things.
const RELEASE: &str = "2.14.0";
const THEIRS: &str = "/usr/lib/dracut/modules.d/30ignition/ignition";
const THEIR_VALIDATE: &str = "/usr/bin/ignition-validate";

/// Carries one config out as an initrd does, stage by stage, and then does what a first
/// boot does with presets. `$1` is the program; the words after it check a config.
const RUN: &str = include_str!("run.sh");

/// Who carries a config out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Go Ignition.
    Theirs,
    /// The program of this repository.
    Ours,
}

impl Side {
    /// Its word in paths and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Theirs => "theirs",
            Self::Ours => "ours",
        }
    }
}

/// Both programs, and the tree in which they run.
pub struct Programs {
    tools: Tools,
    ours: PathBuf,
}

/// What came of one config.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the check of the config alone accepted it.
    pub valid: bool,
    /// The stage that failed, if one did.
    pub failed: Option<String>,
    /// The root directory after all stages.
    pub tree: Tree,
    /// What the stages said.
    pub log: String,
}

impl Programs {
    /// Finds or installs Debian's program, and compiles ours, if `ours` is none. They find
    /// the service manager's sockets in `service_manager`.
    pub fn ensure(ours: Option<&Path>, service_manager: &Path) -> Result<Self> {
        let tools = Tools::ensure()?.with_packages(&PACKAGES)?;
        let tools = tools.bind_at(service_manager, "/run/systemd");
        let version = capture(tools.command(THEIRS).arg("-version"))?;
        ensure!(
            version.contains(RELEASE),
            "Debian's ignition is {:?}, and the differences that are explained here are \
             those of {RELEASE}: go through them again",
            version.trim()
        );
        let ours = match ours {
            Some(path) => std::path::absolute(path)?,
            None => compile()?,
        };
        Ok(Self { tools, ours })
    }

    /// The tree in which they run.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Has `side` carry `case` out in a new root directory below `work`.
    pub fn run(&self, side: Side, case: &Case, work: &Path) -> Result<Outcome> {
        self.run_on(side, case, work, &[], "")
    }

    /// The same with `disks`. `look` runs after all stages, if they went well.
    pub fn run_on(
        &self,
        side: Side,
        case: &Case,
        work: &Path,
        disks: &[&Path],
        look: &str,
    ) -> Result<Outcome> {
        let root = work.join("root");
        root::make(&root)?;
        for path in case.missing {
            fs::remove_file(root.join(path)).with_context(|| format!("removing {path}"))?;
        }
        write(&work.join("config.ign"), &case.config)?;
        for (path, config) in &case.system {
            write(&work.join("system").join(path), config)?;
        }
        let mut command = self.tools.clone().bind(work);
        if side == Side::Ours {
            let directory = self.ours.parent().context("the program has no directory")?;
            command = command.bind(directory);
        }
        let mut command = command.usr_at(root.join("usr")).command("sh");
        command.args(["-eu", "-c", &format!("{RUN}{look}"), "run"]);
        match side {
            Side::Theirs => command.arg(THEIRS).arg(THEIR_VALIDATE),
            Side::Ours => command.arg(&self.ours).arg(&self.ours).arg("validate"),
        };
        let disks: Vec<_> = disks
            .iter()
            .map(|disk| disk.display().to_string())
            .collect();
        let log = fs::File::create(work.join("log"))?;
        let status = command
            .env("WORK", work)
            .env("SIDE", side.word())
            .env("DISKS", disks.join(" "))
            .envs(case.variable)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("running bwrap")?;
        let log = String::from_utf8_lossy(&fs::read(work.join("log"))?).into_owned();
        if !status.success() {
            bail!("{side:?} could not be run ({status}): {log}");
        }
        let said = |name: &str| fs::read_to_string(work.join(name)).map(|s| s.trim().to_owned());
        Ok(Outcome {
            valid: said("valid").context("reading what the check said")? == "0",
            failed: said("failed").ok(),
            tree: Tree::read(&root)?,
            log,
        })
    }

    /// Runs `side`'s program with `arguments`: its exit status, if it ended by itself.
    pub fn status(&self, side: Side, arguments: &[&str]) -> Result<Option<i32>> {
        let mut command = match side {
            Side::Theirs => self.tools.command(THEIRS),
            Side::Ours => {
                let directory = self.ours.parent().context("the program has no directory")?;
                let tools = self.tools.clone().bind(directory);
                tools.command(&self.ours.to_string_lossy())
            }
        };
        let status = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("running bwrap")?;
        Ok(status.code())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The program as it is in this repository, with the tools that check configs.
fn compile() -> Result<PathBuf> {
    let text = capture(
        cargo()
            .args([
                "build",
                "--quiet",
                "--package",
                "ignition",
                "--features",
                "tools",
            ])
            .args([
                "--bin",
                "ignition",
                "--message-format",
                "json-render-diagnostics",
            ])
            .current_dir(image::build::source_dir()),
    )?;
    let messages = text.lines().rev();
    let messages = messages.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut made = messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    made.next()
        .context("cargo does not say where it put ignition")
}
