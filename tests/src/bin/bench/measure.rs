//! What was measured, and what is computed from it.

use anyhow::{Context, Result, ensure};
use benchmarks::Spread;

/// Programs of Ballast that stay in memory on an idle host once they are shipped.
pub const DAEMONS: [&str; 2] = ["update-engine", "locksmith"];

/// How the line that a guest reports begins. The kernel's audit messages carry the
/// unit's name as well, but not this.
pub const MARK: &str = "bench-report complete=";

/// Everything one run found out.
#[derive(Debug, Clone)]
pub struct Measurements {
    /// How guests' CPUs were run.
    pub engine: String,
    /// Their number.
    pub cpus: u32,
    /// Guests' memory, MiB.
    pub memory_mib: u32,
    /// Later boots of each image.
    pub rounds: u32,
    /// Sizes of files.
    pub sizes: Sizes,
    /// Boots of each image; ours is the first, the baseline the second.
    pub boots: Vec<Boots>,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Our disk image, compressed.
    pub disk_compressed: u64,
    /// Our unified kernel image, and the baseline's.
    pub uki: [u64; 2],
    /// The initrd in each.
    pub initrd: [u64; 2],
    /// Our `/usr` image.
    pub usr: u64,
}

/// All boots of one image.
#[derive(Debug, Clone)]
pub struct Boots {
    /// The image's name.
    pub name: String,
    /// The boot that formats and provisions.
    pub first: BootTimes,
    /// Boots after that.
    pub later: Vec<BootTimes>,
}

/// One boot. Times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct BootTimes {
    /// From the kernel's start to `boot-complete.target`.
    pub complete: f64,
    /// Of that, until systemd runs in the initrd.
    pub kernel: f64,
    /// Of that, in the initrd.
    pub initrd: f64,
    /// Memory in use ten seconds later: all but what is available, MiB.
    pub memory_mib: f64,
    /// Resident memory of Ballast's own daemons, MiB; `None` if none runs.
    pub daemons_mib: Option<f64>,
    /// Units that failed.
    pub failed_units: Vec<String>,
}

impl BootTimes {
    /// Of the whole, after the switch to the host's own root.
    pub fn host(&self) -> f64 {
        self.complete - self.kernel - self.initrd
    }
}

/// The line that the guest's unit writes, `name=value` words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(String);

impl Report {
    /// Takes a console line. Fails if it is not whole.
    pub fn parse(line: &str) -> Result<Self> {
        let whole = line.contains(MARK) && line.trim_end().ends_with(" end");
        ensure!(whole, "the guest's report is cut: {line:?}");
        Ok(Self(line.trim_end().to_string()))
    }

    fn value(&self, name: &str) -> Result<&str> {
        let mut words = self.0.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .with_context(|| format!("the guest's report has no {name}: {:?}", self.0))
    }

    fn number(&self, name: &str) -> Result<f64> {
        let value = self.value(name)?;
        value
            .parse()
            .with_context(|| format!("the guest's report says {name}={value:?}"))
    }

    /// Computes times and memory. Fails on a guest that booted without initrd
    /// or whose clock runs backwards.
    pub fn boot_times(&self) -> Result<BootTimes> {
        let seconds = |name| Ok::<_, anyhow::Error>(self.number(name)? / 1e6);
        let [initrd, host, complete] = [seconds("initrd")?, seconds("host")?, seconds("complete")?];
        ensure!(
            0.0 < initrd && initrd < host && host < complete,
            "the guest's times are not in order: {:?}",
            self.0
        );
        Ok(BootTimes {
            complete,
            kernel: initrd,
            initrd: host - initrd,
            memory_mib: (self.number("total")? - self.number("available")?) / 1024.0,
            daemons_mib: resident(self.value("processes")?, &DAEMONS)?,
            failed_units: list(self.value("failed")?),
        })
    }
}

fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(String::from).collect()
}

/// Sum of the processes of `NAME:KIB,…` that are called one of `names`, in MiB.
fn resident(processes: &str, names: &[&str]) -> Result<Option<f64>> {
    let mut sum = None;
    let mut seen = 0;
    for process in list(processes) {
        let (name, kib) = process
            .rsplit_once(':')
            .with_context(|| format!("the guest's report names a process {process:?}"))?;
        let kib: f64 = kib
            .parse()
            .with_context(|| format!("the guest's report says {process:?}"))?;
        seen += 1;
        if names.contains(&name) {
            sum = Some(sum.unwrap_or(0.0) + kib / 1024.0);
        }
    }
    ensure!(seen > 0, "the guest's report lists no process");
    Ok(sum)
}

impl Boots {
    /// Spread of one number over the later boots.
    pub fn later(&self, of: impl Fn(&BootTimes) -> f64) -> Result<Spread> {
        Spread::of(self.later.iter().map(of))
    }
}

/// Ratio of two images' later boots: of the medians, and of the boots that
/// followed each other.
pub fn ratio(ours: &Boots, theirs: &Boots) -> Result<Spread> {
    let pairs = ours.later.iter().zip(&theirs.later);
    let spread = Spread::of(pairs.map(|(a, b)| a.complete / b.complete))?;
    let [a, b] = [ours, theirs].map(|boots| boots.later(|t| t.complete));
    Ok(Spread {
        median: a?.median / b?.median,
        ..spread
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "bench-report complete=25500000 initrd=5000000 host=15000000 \
        total=2000000 available=1795200 processes=systemd:9000,update-engine:4096,a b:1, \
        failed=x.service, end";

    #[test]
    fn a_report_becomes_times_and_memory() {
        let line = LINE.replace("a b", "(sd-pam)");
        let times = Report::parse(&line).unwrap().boot_times().unwrap();
        assert_eq!(times.complete, 25.5);
        assert_eq!(
            (times.kernel, times.initrd, times.host()),
            (5.0, 10.0, 10.5)
        );
        assert_eq!(times.memory_mib, 200.0);
        assert_eq!(times.daemons_mib, Some(4.0));
        assert_eq!(times.failed_units, ["x.service"]);
    }

    #[test]
    fn bad_reports_are_refused() {
        let good = LINE.replace("a b", "c");
        let cases = [
            ("bench-report complete=1 end".to_string(), "no initrd"),
            (good.replace("=25500000", "="), "complete"),
            (good.replace("=25500000", "=1"), "not in order"),
            (good.replace("initrd=5000000", "initrd=0"), "not in order"),
            (good.replace("systemd:9000", "systemd"), "a process"),
        ];
        for (line, reason) in cases {
            let error = Report::parse(&line).unwrap().boot_times().unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
        assert!(Report::parse("bench-report complete=1 initrd").is_err());
        let audit = "audit: type=1130 msg='unit=bench-report comm=\"systemd\" res=success' end";
        assert!(Report::parse(audit).is_err());
    }

    #[test]
    fn the_ratio_is_of_medians_and_its_range_of_neighbours() {
        let boots = |completes: [f64; 3]| {
            let times = Report::parse(&LINE.replace("a b", "c")).unwrap();
            let times = times.boot_times().unwrap();
            let later = completes.map(|complete| BootTimes {
                complete,
                ..times.clone()
            });
            Boots {
                name: String::new(),
                first: times,
                later: later.to_vec(),
            }
        };
        let spread = ratio(&boots([1.0, 2.0, 3.0]), &boots([4.0, 4.0, 4.0])).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (0.5, 0.25, 0.75));
    }
}
