//! The guest in which everything is measured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use benchmarks::containers::Image;
use benchmarks::engines::{self, Engines, ROOT, inside};
use benchmarks::registry::Registry;
use image::tools::Tools;
use qemu::accel::Accel;
use qemu::{Setup, Vm};
use serde_json::json;
use tempfile::TempDir;

use crate::large;

/// CPUs of the guest, and its memory in MiB.
pub const CPUS: u32 = 2;
pub const MEMORY_MIB: u32 = 2048;

/// How long a boot may take, and how long one measurement.
const BOOT: Duration = Duration::from_secs(240);
const MEASUREMENT: Duration = Duration::from_secs(1200);

const SCRIPT: &str = include_str!("measure.sh");

/// A guest with all engines and images to run.
pub struct Guest {
    vm: Vm,
    registry: Registry,
    large: u64,
    // With what the guest writes.
    _work: TempDir,
}

impl Guest {
    /// Boots the release in `release`.
    pub fn start(
        release: &Path,
        engines: &Engines,
        tools: &Arc<Tools>,
        results: Option<&Path>,
    ) -> Result<Self> {
        let work = tempfile::tempdir().context("making a directory for the guest's disk")?;
        let mut setup = Setup::new(release.join("disk.img"))
            .cpus(CPUS)
            .memory_mib(MEMORY_MIB);
        if let Some(dir) = results {
            setup = setup.results(dir);
        }
        let setup = engines.attach(setup, tools, &work.path().join("engines.qcow2"))?;
        let image = Image::of_program(&engines.busybox()?, &json!({"Env": ["PATH=/bin"]}))?;
        let big = large::image(engines.tree())?;
        let large = big.layers().iter().map(|layer| layer.bytes().len() as u64);
        let large = large.sum();
        let registry = Registry::start()?;
        registry.push("busybox", "1", &image);
        registry.push("large", "1", &big);
        let mut vm = setup.boot(Arc::clone(tools) as Arc<dyn qemu::Launcher>)?;
        vm.wait_boot_complete(BOOT)?;
        vm.exec("systemctl is-system-running --wait")?;
        engines::mount(&mut vm)?;
        let mut guest = Self {
            vm,
            registry,
            large,
            _work: work,
        };
        guest.prepare(&image)?;
        Ok(guest)
    }

    fn prepare(&mut self, image: &Image) -> Result<()> {
        let name = self.registry.name();
        let policy = format!("[[registry]]\nprefix = \"{name}\"\nplain-http = true\n");
        let vm = &mut self.vm;
        // A detached pod is started by the host's rocket.
        for root in ["", ROOT] {
            vm.exec_ok(&format!("mkdir -p {root}/etc/rocket/registries.d"))?;
            let path = format!("{root}/etc/rocket/registries.d/bench.toml");
            vm.write_file(&path, policy.as_bytes())?;
        }
        let tmp = format!("{ROOT}/var/tmp");
        let layer = image.layers().first().context("an image without layers")?;
        vm.write_file(&format!("{tmp}/registry"), name.as_bytes())?;
        vm.write_file(&format!("{tmp}/layer.tar"), layer.bytes())?;
        vm.write_file(&format!("{tmp}/measure.sh"), SCRIPT.as_bytes())?;
        self.run("prepare").map(drop)
    }

    /// Has the script measure something, and returns what it prints.
    pub fn measure(&mut self, what: &str, number: u32) -> Result<String> {
        self.run(&format!("{what} {number}"))
    }

    fn run(&mut self, words: &str) -> Result<String> {
        let script = inside(&format!("bash /var/tmp/measure.sh {words}"));
        let output = self.vm.exec_within(&script, MEASUREMENT)?;
        ensure!(
            output.status == 0,
            "`measure.sh {words}` ended with {}: {}",
            output.status,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Bytes that are fetched of the large image.
    pub fn large(&self) -> u64 {
        self.large
    }

    /// How its CPUs are run.
    pub fn engine(&self) -> String {
        Accel::Auto.settle().to_string()
    }
}
