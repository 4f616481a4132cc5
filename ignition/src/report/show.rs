//! `ignition report`: the report for people and for programs.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::log::Level;

use super::{Attempt, LIMIT, Outcome, PATH, Report, Run};

/// Shows what was done on first boot, by which stage, and how long it took.
///
/// Exit status: 0 shown, 1 there is no report, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "ignition report", disable_version_flag = true)]
struct Arguments {
    /// Root of the host, e.g. of a mounted disk
    #[arg(long, default_value = "/")]
    root: PathBuf,

    /// Print the report as it is kept, as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `ignition report` if `arguments` (with the program's name) say so.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next()?;
    if arguments.next()? != "report" {
        return None;
    }
    let parsed = Arguments::try_parse_from(std::iter::once(program).chain(arguments));
    Some(match parsed {
        Ok(arguments) => show(&arguments).unwrap_or_else(|message| {
            eprintln!("ignition: {message}");
            ExitCode::FAILURE
        }),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    })
}

fn show(arguments: &Arguments) -> Result<ExitCode, String> {
    let path = arguments.root.join(PATH.trim_start_matches('/'));
    let report = load(&path)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n"
    } else {
        report.to_string()
    };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| format!("writing to standard output: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn load(path: &Path) -> Result<Report, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no report ({shown}): this host was not provisioned by its initrd")
        }
        io::ErrorKind::PermissionDenied => format!("{shown} is for root only: use sudo"),
        _ => format!("opening {shown}: {error}"),
    })?;
    let mut bytes = Vec::new();
    file.take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("reading {shown}: {error}"))?;
    if bytes.len() > LIMIT {
        return Err(format!("{shown} is longer than {LIMIT} bytes"));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("understanding {shown}: {error}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, attempt) in self.attempts.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            attempt.fmt(f)?;
        }
        Ok(())
    }
}

/// A heading, a line per stage, and below each what it said.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.stages.iter().any(|run| run.outcome == Outcome::Failed);
        let verdict = if failed { "failed" } else { "provisioned" };
        let began = self.stages.first().map_or("", |run| run.began.as_str());
        let took: f64 = self
            .stages
            .iter()
            .map(|run| run.duration().as_secs_f64())
            .sum();
        writeln!(f, "{began}  boot {}: {verdict}, {took:.3} s", self.boot_id)?;
        self.stages.iter().try_for_each(|run| run.fmt(f))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration().as_secs_f64();
        let outcome = match self.outcome {
            Outcome::Done => "",
            Outcome::Failed => "  failed",
        };
        writeln!(f, "  {:<14}{seconds:>9.3} s{outcome}", self.stage)?;
        for line in &self.lines {
            let mark = match line.level {
                Level::Error => "error: ",
                Level::Warning | Level::Info => "",
            };
            let mut texts = line.text.lines();
            writeln!(f, "    {mark}{}", texts.next().unwrap_or_default())?;
            texts.try_for_each(|text| writeln!(f, "      {text}"))?;
        }
        match self.left_out {
            0 => Ok(()),
            count => writeln!(f, "    … and {count} lines more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Line;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    fn run(stage: &str, milliseconds: u64, outcome: Outcome, lines: &[(Level, &str)]) -> Run {
        let lines = lines.iter().map(|(level, text)| Line {
            level: *level,
            text: (*text).to_owned(),
        });
        Run {
            stage: stage.to_owned(),
            began: "2026-01-02T03:04:05Z".to_owned(),
            milliseconds,
            outcome,
            lines: lines.collect(),
            left_out: 0,
        }
    }

    #[test]
    fn a_report_reads_as_a_story() {
        let failed = Attempt {
            boot_id: "a".to_owned(),
            stages: vec![run(
                "fetch-offline",
                12,
                Outcome::Failed,
                &[(Level::Error, "config from x, line 1\n  | {\n  | ^")],
            )],
        };
        let mut files = run("files", 1234, Outcome::Done, &[(Level::Info, "wrote /a")]);
        files.left_out = 3;
        let fetch = run(
            "fetch-offline",
            7,
            Outcome::Done,
            &[(Level::Warning, "warning: b")],
        );
        let done = Attempt {
            boot_id: "b".to_owned(),
            stages: vec![fetch, files],
        };
        let report = Report {
            attempts: vec![failed, done],
        };
        let expected = "\
2026-01-02T03:04:05Z  boot a: failed, 0.012 s
  fetch-offline     0.012 s  failed
    error: config from x, line 1
        | {
        | ^

2026-01-02T03:04:05Z  boot b: provisioned, 1.241 s
  fetch-offline     0.007 s
    warning: b
  files             1.234 s
    wrote /a
    … and 3 lines more
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn without_a_report_the_reason_is_said() {
        let root = tempfile::tempdir().unwrap();
        let message = load(&root.path().join("report.json")).unwrap_err();
        assert!(message.contains("there is no report"), "{message}");
    }
}
