//! `cargo bench-update`: what an update fetches and takes, against other programs.
//!
//! Real releases, in two pairs: between K every kernel module and some packages changed,
//! between S one library. Everything is fetched over HTTP on loopback.

mod cost;
mod ours;
mod peers;
mod releases;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use image::cache;
use image::keys::{self, KeyStore};
use image::publish::{PublishOptions, publish};
use image::tools::{Tools, remove_tree};

use crate::ours::{Case, measure};
use crate::releases::{Releases, root};
use crate::table::Pair;

/// Measures updates between real releases and compares them with their budgets.
///
/// Exit status: 0 when everything could be measured, whether a budget is met or not;
/// 1 when something could not be measured; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-update --", version)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    child: Option<Child>,

    /// Take the releases that an earlier run built in this directory
    #[arg(long, value_name = "DIR")]
    releases: Option<PathBuf>,

    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,

    /// Put the tables into docs/benchmarks.md as well
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// One update by the engine.
    #[command(hide = true)]
    Update(ours::Update),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Child::Update(update)) = cli.child {
        return update.run();
    }
    let pairs = run(cli.releases.as_deref())?;
    if cli.json {
        println!("{:#}", table::json(&pairs)?);
    } else {
        print!("{}", table::text(&pairs));
    }
    if cli.write {
        let date = benchmarks::today()?;
        let section = format!(
            "Measured on {date} with `cargo bench-update -- --write`:\n\n{}",
            table::text(&pairs)
        );
        benchmarks::write("cargo bench-update", &section)?;
    }
    Ok(())
}

fn run(given: Option<&Path>) -> Result<Vec<Pair>> {
    let tools = Tools::ensure()?;
    image::host::become_root("to build releases")?;
    let dir = cache::cache_dir().join("bench-update");
    let releases = match given {
        Some(dir) => Releases::in_dir(dir),
        None => Releases::build(&dir, &tools)?,
    };
    let tools = tools.with_packages(&peers::PACKAGES)?;
    // Two runs at once would measure each other.
    let _lock = cache::lock("bench")?;
    let scratch = dir.join("scratch");
    remove_tree(&scratch)?;
    fs::create_dir_all(&scratch).context("making a directory for work in progress")?;
    let Releases {
        released,
        updated,
        small,
    } = &releases;
    let bench = Bench::new(tools, &scratch)?;
    bench.publish(released)?;
    bench.publish(updated)?;
    let k = bench.pair("K", released, updated)?;
    bench.publish(small)?;
    let s = bench.pair("S", updated, small)?;
    remove_tree(&scratch)?;
    Ok(vec![k, s])
}

struct Bench<'a> {
    tools: Tools,
    scratch: &'a Path,
    keys: PathBuf,
    repo: PathBuf,
    trusted: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(tools: Tools, scratch: &'a Path) -> Result<Self> {
        let (keys, repo) = (scratch.join("keys"), scratch.join("repo"));
        keys::create(&keys, &[], 2)?;
        let trusted = scratch.join("root.json");
        let root = KeyStore::open(&keys, &[])?.newest().bytes.clone();
        fs::write(&trusted, root).context("writing the trusted root")?;
        Ok(Self {
            tools,
            scratch,
            keys,
            repo,
            trusted,
        })
    }

    fn publish(&self, build: &Path) -> Result<()> {
        publish(&PublishOptions {
            channel: Some("stable".to_string()),
            from: Some(build.to_path_buf()),
            ..PublishOptions::new(&self.repo, &self.keys)
        })?;
        Ok(())
    }

    /// Measures the update from `old` to `new`, which the channel names.
    fn pair(&self, name: &'static str, old: &Path, new: &Path) -> Result<Pair> {
        let root = root(old)?;
        let case = |patches| Case {
            repo: &self.repo,
            trusted: &self.trusted,
            old,
            root,
            scratch: self.scratch,
            patches,
        };
        let [old_usr, new_usr] = [old, new].map(|build| build.join("usr.img"));
        let tell = |what: &str, bytes: u64| {
            eprintln!("bench: pair {name}: {what}: {:.2} MB", bytes as f64 / 1e6);
        };
        let frames = measure(&case(false))?;
        tell("no patch", frames.usr.bytes);
        let patch = measure(&case(true))?;
        tell("with patch", patch.usr.bytes);
        let dd = peers::dd(&self.tools, &new_usr, self.scratch)?;
        let casync = peers::casync(&self.tools, &old_usr, &new_usr, self.scratch)?;
        tell("casync", casync.bytes);
        let rauc = peers::rauc(&self.tools, &old_usr, &new_usr, self.scratch)?;
        tell("RAUC", rauc.bytes);
        let whole = peers::whole(&self.tools, &new_usr, self.scratch)?;
        tell("whole, xz", whole.xz);
        Ok(Pair {
            name,
            size: fs::metadata(&new_usr).context("reading the image")?.len(),
            frames: frames.usr,
            patch: patch.usr,
            boot: frames.boot,
            casync,
            rauc,
            whole,
            dd,
        })
    }
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
