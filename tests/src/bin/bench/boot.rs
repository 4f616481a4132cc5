//! Boots images in turn and lets each guest tell how long it took.
//!
//! Every guest gets the same unit as a systemd credential, so that nothing has to
//! be installed in an image to measure it and nobody logs in while it is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use image::tools::Tools;
use qemu::{Accel, Setup, Vm};

use crate::measure::{self, BootTimes, Boots, Report};

/// CPUs of every guest.
pub const CPUS: u32 = 2;

/// How long a boot, and then the measuring, may take on an idle machine.
const BOOT: Duration = Duration::from_secs(240);
/// How long powering off may take.
const OFF: Duration = Duration::from_secs(60);

/// The unit that measures. systemd.system-credentials(7): `systemd.extra-unit.*`.
const UNIT: &str = include_str!("report.service");
/// What "complete" means in every image: all that starts by default has started.
const COMPLETE: &str = "[Unit]\nAfter=multi-user.target\n";

/// An image to boot.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name in tables.
    pub name: &'static str,
    /// Disk image, raw.
    pub disk: PathBuf,
}

/// What all boots of a run have in common.
pub struct Bench {
    /// Where QEMU comes from.
    pub tools: Arc<Tools>,
    /// How guests' CPUs are run.
    pub accel: Accel,
    /// Memory of each guest, MiB.
    pub memory_mib: u32,
    /// Directory for console logs.
    pub results: Option<PathBuf>,
}

impl Bench {
    /// Boots each subject once, then `rounds` times again, in turn: A B A B ….
    ///
    /// Fails when a guest does not come up or does not report.
    pub fn run(&self, subjects: &[Subject], rounds: u32) -> Result<Vec<Boots>> {
        let mut machines = Vec::new();
        for subject in subjects {
            let mut vm = self
                .setup(subject)
                .boot(self.tools.clone())
                .with_context(|| format!("starting {}", subject.name))?;
            let first = measured(&mut vm, subject, "first boot")?;
            machines.push((subject, vm, first, Vec::new()));
        }
        for round in 1..=rounds {
            for (subject, vm, _, later) in &mut machines {
                vm.power_on()
                    .with_context(|| format!("starting {}", subject.name))?;
                later.push(measured(vm, subject, &format!("round {round}/{rounds}"))?);
            }
        }
        let boots = machines
            .into_iter()
            .map(|(subject, _, first, later)| Boots {
                name: subject.name.to_string(),
                first,
                later,
            });
        Ok(boots.collect())
    }

    fn setup(&self, subject: &Subject) -> Setup {
        let mut setup = Setup::new(&subject.disk)
            .cpus(CPUS)
            .memory_mib(self.memory_mib)
            .accel(self.accel)
            .credential("systemd.extra-unit.bench-report.service", UNIT)
            .credential("systemd.unit-dropin.boot-complete.target", COMPLETE)
            .kernel_argument("systemd.wants=bench-report.service");
        if let Some(dir) = &self.results {
            setup = setup.results(Path::new(dir).join(subject.name));
        }
        setup
    }
}

/// Waits for the report of a machine that was just switched on, and for its end.
fn measured(vm: &mut Vm, subject: &Subject, which: &str) -> Result<BootTimes> {
    let what = || format!("measuring {}, {which}", subject.name);
    let line = vm.expect(measure::MARK, BOOT).with_context(what)?;
    let report = Report::parse(&line).with_context(what)?;
    vm.wait_off(OFF).with_context(what)?;
    let times = report.boot_times().with_context(what)?;
    eprintln!(
        "bench: {} {which}: {:.1} s (kernel {:.1}, initrd {:.1}, host {:.1}), {:.0} MiB",
        subject.name,
        times.complete,
        times.kernel,
        times.initrd,
        times.host(),
        times.memory_mib
    );
    Ok(times)
}
