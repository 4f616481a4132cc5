//! What a scenario works with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use benchmarks::containers::Image;
use benchmarks::engines::Engines;
use image::tools::Tools;
use qemu::{BootComplete, Setup, Storage, Vm};
use serde_json::Value;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::trial::Prepared;

/// How long a boot may take; scaled.
pub const BOOT: Duration = Duration::from_secs(120);
/// How long one step of a boot may take; scaled.
pub const STEP: Duration = Duration::from_secs(60);
/// Memory of a scenario's machine, in MiB.
pub const MEMORY_MIB: u32 = 1024;

/// A drop-in for root's service manager, which nobody here uses and which would take as
/// much CPU time at every login as an eighth of a boot.
const LOGIN: (&str, &str) = (
    "systemd.unit-dropin.user@0.service",
    "[Service]\nType=exec\nPAMName=\nExecStart=\nExecStart=sleep infinity\n",
);

/// One scenario's releases, tools and directories.
pub struct Context {
    prepared: Prepared,
    /// Where console log and journal are kept.
    results: PathBuf,
    /// For disks; removed with the scenario.
    work: TempDir,
}

impl Context {
    /// Empties `results`; disks are made in `work`.
    pub fn new(prepared: &Prepared, results: &Path, work: &Path) -> Result<Self> {
        image::tools::remove_tree(results)?;
        fs::create_dir_all(results).with_context(|| format!("creating {}", results.display()))?;
        let work = tempfile::tempdir_in(work)
            .with_context(|| format!("creating a directory in {}", work.display()))?;
        Ok(Self {
            prepared: prepared.clone(),
            results: results.to_path_buf(),
            work,
        })
    }

    /// Releases and tools.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// A program of the tools tree.
    pub fn tool(&self, program: &str) -> Command {
        self.prepared.tools.command(program)
    }

    /// Other container engines, for machines that try them.
    pub fn engines(&self) -> Result<Engines> {
        Engines::ensure(&self.prepared.tools).context("making the tree of container engines")
    }

    /// An image of busybox.
    pub fn busybox(&self, config: &Value) -> Result<Image> {
        Image::of_program(&self.engines()?.busybox()?, config)
    }

    /// A file in the scenario's private directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A machine with the release under test on a disk that is thrown away.
    pub fn setup(&self) -> Setup {
        self.setup_of(&self.prepared.disk_image())
    }

    /// The same with another disk image.
    pub fn setup_of(&self, image: &Path) -> Setup {
        Setup::new(image)
            .cpus(self.prepared.cpus)
            .memory_mib(MEMORY_MIB)
            .credential(LOGIN.0, LOGIN.1)
            .results(&self.results)
    }

    /// A machine with a disk that outlives it.
    pub fn setup_on(&self, disk: &Disk) -> Setup {
        let storage = Storage::Kept(disk.path().to_path_buf());
        self.setup_of(disk.path()).storage(storage)
    }

    /// A machine that runs the release under test, which it has booted once before, without
    /// a config; for [`Context::warm`]. The disk must not be there yet, and outlives it.
    pub fn setup_lived(&self, disk: &Disk) -> Setup {
        let storage = Storage::Kept(disk.path().to_path_buf());
        self.setup_of(&self.prepared.lived_image()).storage(storage)
    }

    /// Writes an Ignition config to hand to a machine.
    pub fn config(&self, config: &Value) -> Result<PathBuf> {
        self.config_text(&format!("{config:#}\n"))
    }

    /// The same with text that need not be JSON.
    pub fn config_text(&self, text: &str) -> Result<PathBuf> {
        let path = self.file("config.ign");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Switches a machine on and runs `test` with it. Saves the guest's journal
    /// if that fails.
    pub fn boot(&self, setup: &Setup, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
        let vm = setup.boot(self.tools())?;
        with_evidence(vm, test)
    }

    /// Switches on several machines, each with its own setup.
    pub fn boot_all(
        &self,
        setups: &[Setup],
        test: impl FnOnce(&mut [Vm]) -> Result<()>,
    ) -> Result<()> {
        let mut fleet = Vec::new();
        for (number, setup) in (1..).zip(setups) {
            let setup = setup.clone().results(self.results_of(number)?);
            fleet.push(setup.boot(self.tools())?);
        }
        with_all_evidence(fleet, test)
    }

    /// Where the console of one of several machines is kept.
    fn results_of(&self, number: usize) -> Result<PathBuf> {
        let kept = self.results.join(format!("host-{number}"));
        fs::create_dir_all(&kept).with_context(|| format!("creating {}", kept.display()))?;
        Ok(kept)
    }

    /// The same with a machine that has booted already.
    pub fn warm(&self, setup: &Setup, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
        let vm = setup.warm(self.tools())?;
        with_evidence(vm, test)
    }

    fn tools(&self) -> Arc<Tools> {
        Arc::clone(&self.prepared.tools)
    }
}

fn with_evidence(mut vm: Vm, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
    let result = test(&mut vm);
    if result.is_err() {
        keep_journal(&mut vm);
    }
    result
}

fn with_all_evidence(mut fleet: Vec<Vm>, test: impl FnOnce(&mut [Vm]) -> Result<()>) -> Result<()> {
    let result = test(&mut fleet);
    if result.is_err() {
        fleet.iter_mut().for_each(keep_journal);
    }
    result
}

fn keep_journal(vm: &mut Vm) {
    if vm.console().is_running() {
        // The failure itself is what is reported.
        let _ = vm.save_journal();
    }
}

/// Fails unless both texts are the same, and shows the first lines that differ.
pub fn same(what: &str, found: &str, expected: &str) -> Result<()> {
    if found.trim_end() == expected.trim_end() {
        return Ok(());
    }
    let (found, expected): (Vec<_>, Vec<_>) = (found.lines().collect(), expected.lines().collect());
    let missing = expected.iter().filter(|line| !found.contains(line));
    let unexpected = found.iter().filter(|line| !expected.contains(line));
    let lines: Vec<String> = missing
        .map(|line| format!("missing    {line}"))
        .take(10)
        .chain(unexpected.map(|line| format!("unexpected {line}")).take(10))
        .collect();
    bail!("{what} is not as expected:\n{}", lines.join("\n"))
}

/// Longest text that an error repeats.
const SHOWN: usize = 1000;

/// Fails unless `text` contains `part`.
pub fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    if text.contains(part) {
        return Ok(());
    }
    match text.len() {
        0..=SHOWN => bail!("{what} does not say {part:?}: {text}"),
        _ => bail!("{what} does not say {part:?}"),
    }
}

/// Fails unless the guest booted this release from this slot for this reason.
pub fn booted(found: &BootComplete, version: &str, slot: &str, reason: &str) -> Result<()> {
    let expected = BootComplete {
        version: version.to_string(),
        slot: slot.to_string(),
        reason: reason.to_string(),
    };
    ensure!(
        *found == expected,
        "booted {found:?} instead of {expected:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_line() {
        assert!(same("x", "a\nb\n", "a\nb").is_ok());
        let error = same("x", "a\nc", "a\nb").unwrap_err().to_string();
        assert!(error.ends_with("missing    b\nunexpected c"), "{error}");
        assert!(same("x", "a\na", "a").is_err());
    }
}
