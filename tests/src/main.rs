//! `cargo e2e`: every test of Ballast.
//!
//! Builds the release and a second one for the passive slot, runs `cargo test`,
//! and then the scenarios: each boots virtual machines and ends with a claim
//! that held or did not. Each keeps its console log in a directory of its own.

mod authority;
mod config;
mod context;
mod differential;
mod disk;
mod documented;
mod etcd;
mod http;
mod names;
mod on_host;
mod pages;
mod peers;
mod plan;
mod relay;
mod report;
mod repository;
mod results;
mod runner;
mod scenario;
mod scenarios;
mod soak;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::context::Context;
use crate::differential::Suite;
use crate::on_host::On;
use crate::plan::Plan;
use crate::results::Results;
use crate::trial::Prepared;

/// Runs unit, property and integration tests, then scenarios in virtual machines.
///
/// The last line is `N passed, N failed`, with `N skipped` behind it if this host cannot show
/// something: that is no failure, and no pass either. Console logs and journals of the
/// scenarios stay in a directory for each.
/// BALLAST_DEADLINE_SCALE=F stretches every deadline.
///
/// Exit status: 0 all passed, 1 some failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "cargo e2e --", version)]
struct Cli {
    /// Run only what has this in its name; `unit` is `cargo test`
    filter: Option<String>,

    /// List names and claims, run nothing
    #[arg(long)]
    list: bool,

    /// Where the releases under test and the keys that sign them are and are made
    /// [default: `e2e` in the cache directory]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// Where console logs and journals are kept; one run at a time uses it
    /// [default: `results` in the cache directory]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,

    /// Instead of the tests: update a host again and again, and cut its power N times at
    /// random moments
    #[arg(long, value_name = "N", conflicts_with_all = ["filter", "list"])]
    soak: Option<u32>,

    /// Instead of the tests: compare our ignition with Debian's on every config that is
    /// written for it, and N generated ones [default: 200]; of these, what has the filter
    /// in its name
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
          default_missing_value = differential::GENERATED, conflicts_with_all = ["list", "soak"])]
    differential: Option<u64>,

    /// What generated configs come from; without it, each run of --differential has others
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Do not build: test the releases that are there
    #[arg(long)]
    no_build: bool,

    /// Scenarios that run at the same time, a machine of 1 GiB each
    /// [default: one more than there are CPUs, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,

    /// CPUs of each virtual machine; more than the host has for all of them make waiting for
    /// a lock that another one holds expensive
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=64))]
    cpus: u8,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let plan = Plan::of(cli.filter.as_deref());
    if cli.list {
        print!("{plan}");
        return Ok(true);
    }
    let images = cli.images.clone();
    let images = images.unwrap_or_else(|| image::cache_dir().join("e2e"));
    if let Some(cuts) = cli.soak {
        return soak(cli, &images, cuts);
    }
    if plan.differential || cli.differential.is_some() {
        image::host::become_root("to make files of other owners")?;
    }
    if let Some(generated) = cli.differential {
        return differential(cli, generated);
    }
    plan.announce(&images);
    let mut report = report::Report::default();
    let prepared = match plan.scenarios.is_empty() {
        true => None,
        false => Some(prepare(cli, &images)?),
    };
    if plan.unit {
        report.add("unit", runner::unit());
    }
    if plan.differential {
        let kept = results_dir(cli).join("differential");
        let suite = Suite::quick(cli.seed.unwrap_or(differential::QUICK_SEED));
        let run = || suite.with_documented(None)?.run(None, &kept);
        report.add(plan::DIFFERENTIAL, runner::step(run));
    }
    if plan.containers {
        report.add(
            plan::CONTAINERS,
            runner::step(|| on_host::containers(On::EveryRun)),
        );
    }
    if plan.many_containers {
        report.add(
            plan::MANY_CONTAINERS,
            runner::step(|| on_host::containers(On::ByName)),
        );
    }
    if plan.lock {
        report.add(plan::LOCK, runner::step(on_host::lock));
    }
    if let Some((prepared, results)) = prepared {
        let workers = cli.workers.map_or_else(default_workers, usize::from);
        runner::scenarios(&plan.scenarios, &prepared, &results, workers, &mut report);
    }
    Ok(report.finish())
}

/// Now and then a machine waits, and its CPU is another one's.
fn default_workers() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus + 1).min(8)
}

fn results_dir(cli: &Cli) -> PathBuf {
    let results = cli.results.clone();
    results.unwrap_or_else(|| image::cache_dir().join("results"))
}

/// The seed of generated configs. It is printed: with it, a run can be had again.
fn seed(cli: &Cli) -> u64 {
    let seed = cli.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    });
    println!("e2e: generated configs have --seed {seed}");
    seed
}

fn differential(cli: &Cli, generated: u64) -> Result<bool> {
    let results = Results::take(results_dir(cli))?;
    let filter = cli.filter.as_deref();
    let suite = Suite::whole(seed(cli), generated, filter).with_documented(filter)?;
    suite.run(None, &results.of("differential"))?;
    Ok(true)
}

fn prepare(cli: &Cli, images: &Path) -> Result<(Prepared, Results)> {
    let results = Results::take(results_dir(cli))?;
    let mut prepared = trial::prepare(images, results.dir(), !cli.no_build)?;
    prepared.cpus = cli.cpus.into();
    Ok((prepared, results))
}

fn soak(cli: &Cli, images: &Path, cuts: u32) -> Result<bool> {
    let (prepared, results) = prepare(cli, images)?;
    let context = Context::new(&prepared, &results.of("soak"), &results.work())?;
    soak::soak(&context, cuts)?;
    println!("e2e: soak: {cuts} power cuts, and the host came up after each");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
