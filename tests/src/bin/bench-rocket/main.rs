//! `cargo bench-rocket`: how fast containers start, what they take, and how fast images come,
//! against other engines and runtimes.
//!
//! All of them run in one guest of the release, in Debian's tree of engines, in turn: a busy
//! or slow machine changes both sides of a ratio.

mod guest;
mod large;
mod measure;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use benchmarks::engines::Engines;
use clap::Parser;
use image::cache;
use image::tools::Tools;

use crate::guest::Guest;
use crate::measure::Measured;

/// Measures starting, running and fetching containers, and compares it with budgets.
///
/// Exit status: 0 when everything could be measured, whether a budget is met or not (a busy
/// machine is no reason to fail); 1 when something could not be measured; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-rocket --", version)]
struct Cli {
    /// How often each engine starts a container, after a first time that is not counted
    #[arg(long, value_name = "N", default_value_t = 15,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// How often each engine fetches the large image
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    fetches: u32,

    /// Measure the release in this directory instead of building one
    #[arg(long, value_name = "DIR")]
    release: Option<PathBuf>,

    /// Keep the guest's console log in this directory
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Put the table into docs/benchmarks.md as well
    #[arg(long)]
    write: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let measured = measure(&cli)?;
    if cli.json {
        println!("{:#}", measured.json());
    } else {
        print!("{}", table::text(&measured)?);
    }
    if cli.write {
        let section = table::section(&measured, &benchmarks::today()?)?;
        benchmarks::write(table::COMMAND, &section)?;
    }
    Ok(())
}

fn measure(cli: &Cli) -> Result<Measured> {
    let release = match &cli.release {
        Some(dir) => dir.clone(),
        None => image::build(&image::BuildOptions::default())?,
    };
    let tools = Arc::new(Tools::ensure()?.bind(&release));
    let engines = Engines::ensure(&tools)?;
    // Two runs at once would measure each other.
    let _lock = cache::lock("bench")?;
    let mut guest = Guest::start(&release, &engines, &tools, cli.results.as_deref())?;
    let mut lines = String::new();
    for (what, number) in [
        ("start", cli.rounds),
        ("memory", measure::RUNNING),
        ("records", measure::RECORDS),
        ("fetch", cli.fetches),
        ("crowd", measure::CROWD),
    ] {
        eprintln!("bench: {what}");
        let said = guest.measure(what, number);
        lines += &said.with_context(|| format!("measuring {what}"))?;
    }
    Ok(Measured {
        rounds: cli.rounds,
        fetches: cli.fetches,
        large: guest.large(),
        engine: guest.engine(),
        values: measure::parse(&lines)?,
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
