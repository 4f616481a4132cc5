//! `cargo bench-locksmith`: what it costs hosts and etcd when many of them contend for the
//! lock of one group.
//!
//! Hosts are the lock as a daemon has it, each with its own connection; etcd is a cluster
//! of three from Debian, on this machine, with its disk. Requests are what etcd itself
//! has counted.

mod cluster;
mod hosts;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use image::cache;

use crate::cluster::Cluster;
use crate::hosts::{Drained, Waited};

/// Measures a lock for which many hosts contend, and compares cost from few to many.
///
/// Exit status: 0 when everything could be measured; 1 when something could not be
/// measured; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-locksmith --", version)]
struct Cli {
    /// How many hosts contend, one measurement for each number
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 100, 1000],
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: Vec<u32>,

    /// How many hosts may hold the lock at once
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    max: u32,

    /// How many seconds hosts are watched that wait, or have nothing to do
    #[arg(long, value_name = "SECONDS", default_value_t = 240,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    watch: u32,

    /// Use this etcd instead of Debian's from the tree of tools
    #[arg(long, value_name = "PROGRAM")]
    etcd: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Put the table into docs/benchmarks.md as well
    #[arg(long)]
    write: bool,
}

/// Everything that was measured.
#[derive(Debug)]
struct Measured {
    max: u32,
    drained: Vec<Drained>,
    waited: Waited,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let measured = runtime.block_on(measure(&cli))?;
    if cli.json {
        println!("{:#}", table::json(&measured));
    } else {
        print!("{}", table::text(&measured));
    }
    if cli.write {
        let section = table::section(&measured, &benchmarks::today()?);
        benchmarks::write(table::COMMAND, &section)?;
    }
    Ok(())
}

async fn measure(cli: &Cli) -> Result<Measured> {
    // Two runs at once would measure each other.
    let _lock = cache::lock("bench")?;
    let mut drained = Vec::new();
    for hosts in &cli.hosts {
        eprintln!("bench: {hosts} hosts");
        // Each begins with an empty etcd.
        let cluster = Cluster::start(cli.etcd.as_deref()).await?;
        drained.push(hosts::drain(&cluster, *hosts, cli.max).await?);
    }
    let watch = Duration::from_secs(u64::from(cli.watch));
    eprintln!("bench: hosts that wait for {} s", cli.watch);
    let cluster = Cluster::start(cli.etcd.as_deref()).await?;
    let waited = hosts::wait(&cluster, watch).await?;
    Ok(Measured {
        max: cli.max,
        drained,
        waited,
    })
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
