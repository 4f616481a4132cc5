//! The command line of the tools.
//!
//! Standard output is what was asked for, standard error is talk.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::config::{self, Accepts, Config, Findings};

use super::butane::{self, Files, Translation};
use super::plan::{self, Disks, Given, PlanError};
use super::report::Report;

/// Longest config that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Looks at configs before a machine does.
#[derive(Debug, Parser)]
#[command(name = "ignition", disable_version_flag = true)]
pub struct Tools {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says whether a machine would accept a config.
    ///
    /// Exit status: 0 it would, 1 it would not, 2 wrong usage.
    Validate(Validate),

    /// Makes an Ignition config from one in YAML (Butane's conventions).
    ///
    /// Exit status: 0 done, 1 the config is wrong, 2 wrong usage.
    Translate(Translate),

    /// Says what a machine would do with a config, in order.
    ///
    /// Exit status: 0 said, 1 the config is wrong or does not fit a disk, 2 wrong
    /// usage.
    Plan(Planned),
}

/// The config, and what it may refer to.
#[derive(Debug, Args)]
struct Input {
    /// The config, in YAML or JSON; - is standard input
    file: String,

    /// Directory below which a config in YAML may name files (local, trees)
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,

    /// Take warnings for errors
    #[arg(short, long)]
    strict: bool,

    /// Accept the experimental spec 3.7.0-experimental, too
    #[arg(long)]
    experimental: bool,
}

#[derive(Debug, Args)]
struct Planned {
    /// The config, in YAML or JSON; - is standard input
    #[arg(long, value_name = "FILE")]
    config: String,

    /// Directory below which a config in YAML may name files (local, trees)
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,

    /// Accept the experimental spec 3.7.0-experimental, too
    #[arg(long)]
    experimental: bool,

    /// A disk to plan for: an image, a device, or the size of an empty one
    /// (20GiB); DEVICE is the config's name of it [repeatable]
    #[arg(long = "disk", value_name = "[DEVICE=]IMAGE|SIZE")]
    disks: Vec<Given>,

    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Translate {
    #[command(flatten)]
    input: Input,

    /// Indent the JSON
    #[arg(short, long)]
    pretty: bool,
}

#[derive(Debug, Args)]
struct Validate {
    #[command(flatten)]
    input: Input,

    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Carries out `tools`. An error is one of usage: a file that cannot be read.
pub fn run(tools: Tools) -> anyhow::Result<ExitCode> {
    match tools.verb {
        Verb::Validate(validate) => validate.run(),
        Verb::Translate(translate) => translate.run(),
        Verb::Plan(planned) => planned.run(),
    }
}

impl Validate {
    fn run(self) -> anyhow::Result<ExitCode> {
        let judged = self.input.judge()?;
        if self.json {
            print(&serde_json::to_string_pretty(&judged.report)?)?;
        } else {
            print(judged.report.to_string().trim_end())?;
        }
        Ok(status(&judged.report))
    }
}

impl Translate {
    fn run(self) -> anyhow::Result<ExitCode> {
        let judged = self.input.judge()?;
        let report = judged.report;
        if !report.problems.is_empty() {
            eprint!("{report}");
        }
        let Some(json) = judged.json.filter(|_| report.valid) else {
            if report.valid {
                anyhow::bail!("{} is no YAML: there is nothing to translate", report.file);
            }
            return Ok(status(&report));
        };
        print(&if self.pretty {
            serde_json::to_string_pretty(&json)?
        } else {
            json.to_string()
        })?;
        Ok(status(&report))
    }
}

impl Planned {
    fn run(self) -> anyhow::Result<ExitCode> {
        let input = Input {
            file: self.config,
            files_dir: self.files_dir,
            strict: false,
            experimental: self.experimental,
        };
        let judged = input.judge()?;
        let report = judged.report;
        if !report.problems.is_empty() {
            eprint!("{report}");
        }
        let Some(config) = judged.config.filter(|_| report.valid) else {
            return Ok(ExitCode::FAILURE);
        };
        let plan = match plan::plan(config, &Disks::new(self.disks)) {
            // Nothing is wrong with how the tool is used.
            Err(error @ PlanError::Disk(_)) => {
                eprintln!("ignition: {:#}", anyhow::Error::from(error));
                return Ok(ExitCode::FAILURE);
            }
            planned => planned?,
        };
        if self.json {
            print(&serde_json::to_string_pretty(&plan)?)?;
        } else {
            print(plan.to_string().trim_end())?;
        }
        Ok(ExitCode::from(u8::from(!plan.refusals.is_empty())))
    }
}

/// A config and what is wrong with it.
struct Judged {
    report: Report,
    /// What a config in YAML became.
    json: Option<Value>,
    /// The config, unless it could not be read.
    config: Option<Config>,
}

impl Input {
    fn judge(&self) -> anyhow::Result<Judged> {
        let (name, bytes) = read(&self.file)?;
        let directory = self.files_dir.as_deref();
        let mut files = Files::new(directory).with_context(|| {
            let shown = directory.unwrap_or(Path::new("")).display();
            format!("opening the directory {shown} (--files-dir)")
        })?;
        let translation = if is_yaml(&self.file, &bytes) {
            butane::translate(&name, &bytes, &mut files)
        } else {
            let accepts = if self.experimental {
                Accepts::Experimental
            } else {
                Accepts::Stable
            };
            judge(&name, &bytes, accepts)
        };
        let Translation {
            json,
            config,
            found,
        } = translation;
        let mut report = Report::new(&name, found);
        if self.strict {
            report.be_strict();
        }
        Ok(Judged {
            report,
            json,
            config,
        })
    }
}

/// Tells YAML from JSON, by the name, else by how it starts. What is neither
/// gets JSON's complaint, which knows other formats.
fn is_yaml(file: &str, bytes: &[u8]) -> bool {
    let kind = Path::new(file).extension().and_then(|kind| kind.to_str());
    match kind {
        Some("yaml" | "yml" | "bu") => true,
        Some("ign" | "json") => false,
        _ => {
            let start = bytes.trim_ascii_start();
            let other = [&b"{"[..], b"[", b"#cloud-config", b"#!"];
            !start.is_empty() && !other.iter().any(|other| start.starts_with(other))
        }
    }
}

/// Everything that is wrong with the config `bytes`, which is JSON.
fn judge(name: &str, bytes: &[u8], accepts: Accepts) -> Translation {
    let (config, found) = match config::read(name, bytes, accepts) {
        Ok(Some(parsed)) => {
            let mut found = config::validate(&parsed.config, parsed.spec, &parsed.document);
            let refused = config::unsupported(&parsed.config, &parsed.document);
            found.errors.extend(refused);
            found.warnings.extend(parsed.warnings);
            (Some(parsed.config), found)
        }
        Ok(None) => (Some(config::empty()), Findings::default()),
        Err(invalid) => {
            let errors = invalid.0;
            let warnings = Vec::new();
            (None, Findings { errors, warnings })
        }
    };
    Translation {
        json: None,
        config,
        found,
    }
}

fn status(report: &Report) -> ExitCode {
    ExitCode::from(u8::from(!report.valid))
}

/// Reads `file`; returns how messages call it, too.
fn read(file: &str) -> anyhow::Result<(String, Vec<u8>)> {
    let (name, from): (&str, Box<dyn io::Read>) = if file == "-" {
        ("standard input", Box::new(io::stdin()))
    } else {
        let opened = File::open(Path::new(file)).with_context(|| format!("opening {file}"))?;
        (file, Box::new(opened))
    };
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {name}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        anyhow::bail!("{name} is longer than {MAX_BYTES} bytes; it is no config");
    }
    Ok((name.to_owned(), bytes))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.context("writing to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Tools::command().debug_assert();
    }
}
