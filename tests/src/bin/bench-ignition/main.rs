//! `cargo bench-ignition`: how long provisioning takes, against Go Ignition.
//!
//! Both carry the same config out on equal root directories, in turn, in one tree with the
//! same helper programs, stage by stage as an initrd does.

mod go_ignition;
mod medium;
mod run;
mod table;
mod times;
mod workload;

// The root directory is the differential suite's, and what comes of it is compared as
// there: only programs that do the same are timed.
#[path = "../../differential/normal.rs"]
mod normal;
#[path = "../../differential/root.rs"]
mod root;
#[path = "../../differential/systemd.rs"]
mod systemd;
#[path = "../../differential/tree.rs"]
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use image::tools::remove_tree;
use image::{cache, serve};

use crate::medium::Medium;
use crate::run::{Bench, Side, held};
use crate::table::{Measured, Row};
use crate::times::Rounds;

/// Measures all stages of a config of 200 files, and the program's size, and compares
/// them with their budgets.
///
/// Exit status: 0 all budgets are met; 1 something could not be measured; 2 wrong usage;
/// 3 a budget is not met.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-ignition --", version)]
struct Cli {
    /// How often each program is measured, after a first time that is not
    #[arg(long, value_name = "N", default_value_t = 9,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Measure this program instead of compiling the one that images carry
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Put the table into docs/benchmarks.md as well
    #[arg(long, conflicts_with = "program")]
    write: bool,
}

/// Exit status if a budget is not met.
const MISSED: u8 = 3;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    image::host::become_root("to make files of other owners")?;
    let scratch = cache::cache_dir().join("bench-ignition");
    // Two runs at once would measure each other.
    let _lock = cache::lock("bench")?;
    medium::clean_up(&scratch);
    remove_tree(&scratch)?;
    let measured = measure(&scratch, cli);
    let _ = remove_tree(&scratch);
    let measured = measured?;
    let rows = table::rows(&measured)?;
    if cli.json {
        println!("{:#}", table::json(&measured, &rows));
    } else {
        print!("{}", table::text(&measured, &rows));
    }
    if cli.write {
        let date = benchmarks::today()?;
        let section = format!(
            "Measured on {date} with `cargo bench-ignition -- --write`:\n\n{}",
            table::text(&measured, &rows)
        );
        benchmarks::write("cargo bench-ignition", &section)?;
    }
    Ok(verdict(&rows))
}

fn verdict(rows: &[Row]) -> ExitCode {
    let mut budgets = rows.iter().filter_map(|row| row.budget);
    match budgets.all(|budget| budget.met()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(MISSED),
    }
}

fn measure(scratch: &Path, cli: &Cli) -> Result<Measured> {
    let program = match &cli.program {
        Some(program) => program.clone(),
        None => image::build::ignition()?,
    };
    let rounds = cli.rounds;
    let (service_manager, site) = (scratch.join("systemd"), scratch.join("site"));
    for directory in [&service_manager, &site] {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    systemd::imitate(&service_manager)?;
    let server = serve::Server::start(&site, ([127, 0, 0, 1], 0).into(), |_| {})?;
    let config = scratch.join("config.ign");
    fs::write(&config, workload::config(&site, &server.url())?)
        .with_context(|| format!("writing {}", config.display()))?;
    let bench = Bench {
        tools: go_ignition::tools(&service_manager)?,
        ours: held(&program, scratch)?,
        config,
    };
    let sizes = [bench.size(Side::Ours)?, bench.size(Side::Theirs)?];
    let disk = Medium::disk(scratch, &bench.tools)?;
    let on_disk = compare(&bench, &disk, "on a disk", rounds)?;
    drop(disk);
    let memory = Medium::memory(scratch)?;
    let in_memory = compare(&bench, &memory, "in memory", rounds)?;
    drop(memory);
    Ok(Measured {
        rounds: vec![on_disk, in_memory],
        sizes,
    })
}

/// Runs both in turn; who is first changes from round to round. The first round is not
/// measured: it makes caches warm, and shows that both do the same.
fn compare(bench: &Bench, medium: &Medium, name: &'static str, rounds: u32) -> Result<Rounds> {
    let (_, theirs) = bench.run(Side::Theirs, medium)?;
    let (_, ours) = bench.run(Side::Ours, medium)?;
    let differences = theirs.differences(&ours);
    if !differences.is_empty() {
        bail!(
            "the programs did not do the same:\n{}",
            differences.join("\n")
        );
    }
    let mut measured = Rounds {
        medium: name,
        ours: Vec::new(),
        theirs: Vec::new(),
    };
    for round in 0..rounds {
        let mut sides = [Side::Ours, Side::Theirs];
        sides.rotate_left(usize::from(!round.is_multiple_of(2)));
        for side in sides {
            let (times, _) = bench.run(side, medium)?;
            match side {
                Side::Ours => measured.ours.push(times),
                Side::Theirs => measured.theirs.push(times),
            }
        }
        eprintln!("bench: {name}: {} of {rounds} rounds", round + 1);
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
