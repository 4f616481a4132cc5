//! `cargo bench-boot`: how fast the image boots, how large it is, what it holds
//! in memory, against what mkosi and Debian make of the same packages.
//!
//! Everything is measured in one run on one machine, the images in turn, so that
//! a busy or slow machine changes both sides of a ratio.

mod baseline;
mod boot;
mod document;
mod measure;
mod size;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use image::cache;
use image::tools::Tools;
use qemu::Accel;

use crate::baseline::Variant;
use crate::boot::{Bench, Subject};
use crate::measure::Measurements;

/// Measures boot time, sizes and memory, and compares them with their budgets.
///
/// Exit status: 0 when everything could be measured, whether a budget is met or
/// not (a busy machine is no reason to fail); 1 when something could not be
/// measured; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-boot --", version)]
struct Cli {
    /// Later boots of each image; the first boot is measured too
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Compare with one more image: the baseline's initrd, boot loader and root,
    /// but our own choice of units and files
    #[arg(long)]
    same_units: bool,

    /// Measure the release in this directory instead of building one
    #[arg(long, value_name = "DIR")]
    release: Option<PathBuf>,

    /// How the guests' CPUs are run: auto, kvm or tcg
    #[arg(long, default_value = "auto", value_parser = accel)]
    accel: Accel,

    /// Memory of each virtual machine, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,

    /// Keep the console logs of all boots in this directory
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Put the table into docs/benchmarks.md as well
    #[arg(long)]
    write: bool,
}

fn accel(word: &str) -> Result<Accel, String> {
    match word {
        "auto" => Ok(Accel::Auto),
        "kvm" => Ok(Accel::Kvm),
        "tcg" => Ok(Accel::Tcg),
        _ => Err("expected auto, kvm or tcg".to_string()),
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let measured = measure(&cli)?;
    let rows = table::rows(&measured)?;
    if cli.json {
        println!("{:#}", table::json(&measured, &rows));
    } else {
        print!("{}", table::text(&measured, &rows)?);
    }
    if cli.write {
        document::write(&measured, &rows)?;
    }
    Ok(())
}

fn measure(cli: &Cli) -> Result<Measurements> {
    let release = match &cli.release {
        Some(dir) => dir.clone(),
        None => image::build(&image::BuildOptions::default())?,
    };
    let tools = Tools::ensure()?;
    // Two runs at once would measure each other.
    let _lock = cache::lock("bench")?;
    let variants: &[Variant] = match cli.same_units {
        true => &[Variant::Packages, Variant::SameUnits],
        false => &[Variant::Packages],
    };
    let mut subjects = vec![Subject {
        name: "ballast",
        disk: held(&release.join("disk.img"))?,
    }];
    let mut built = Vec::new();
    for variant in variants {
        let output = baseline::ensure(*variant, &tools)?;
        subjects.push(Subject {
            name: variant.name(),
            disk: output.disk.clone(),
        });
        built.push(output);
    }
    eprintln!("bench: compressing the disk image");
    let baseline = built.first().context("there is no baseline")?;
    let sizes = size::measure(&tools, &release, baseline)?;
    let bench = Bench {
        tools: Arc::new(tools),
        accel: cli.accel,
        memory_mib: cli.memory,
        results: cli.results.clone(),
    };
    let boots = bench.run(&subjects, cli.rounds)?;
    Ok(Measurements {
        engine: cli.accel.settle().to_string(),
        cpus: boot::CPUS,
        memory_mib: cli.memory,
        rounds: cli.rounds,
        sizes,
        boots,
    })
}

/// A second name for a disk image, so that a build that replaces the release
/// does not change what the rest of this run boots.
fn held(disk: &Path) -> Result<PathBuf> {
    let dir = cache::cache_dir().join("bench");
    let name = dir.join("ballast.raw");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let _ = fs::remove_file(&name);
    fs::hard_link(disk, &name)
        .with_context(|| format!("linking {} to {}", disk.display(), name.display()))?;
    Ok(name)
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
