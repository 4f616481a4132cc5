//! `rocket pods`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::table::table;
use crate::declared::apply::{self, Action, Step, Systemd};
use crate::declared::{self, Broken, PodState, Problem, Set};
use crate::dirs::Dirs;

/// The status of `check`, `diff` and `apply` if a file is broken, and of `diff` if something
/// would be done.
const DIFFERENT: u8 = 1;

/// Runs the pods that files declare
///
/// Files of Kubernetes' Pod YAML in /etc/rocket/pods and /usr/lib/rocket/pods say what is to
/// run. Exit status of `apply`, `diff` and `check`: 0; 1 if a file is broken or, of `diff`, if
/// something would be done; 254 for what rocket could not do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Starts, restarts and stops pods until what runs is what is declared
    Apply(ApplyArgs),
    /// Shows what apply would do
    Diff,
    /// Shows declared pods and how they are
    Status(StatusArgs),
    /// Says what is wrong in files, wherever they are
    Check(CheckArgs),
    /// Runs a declared pod, in its unit
    #[command(hide = true)]
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// Only says what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Files that are read together
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The pod's name
    name: String,
}

impl Args {
    /// Whether containers are made.
    pub fn makes_containers(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Apply(args) if args.dry_run => show(dirs).map(|(set, _)| code(set.broken.is_empty())),
        Verb::Apply(_) => converge(dirs),
        Verb::Diff => {
            let (set, steps) = show(dirs)?;
            let is_same = steps.iter().all(|step| step.action == Action::Keep);
            Ok(code(set.broken.is_empty() && is_same))
        }
        Verb::Status(args) => status(dirs, args),
        Verb::Check(args) => check(args),
        Verb::Run(args) => Ok(ExitCode::from(declared::run(dirs, &args.name)?)),
    }
}

fn code(is_good: bool) -> ExitCode {
    ExitCode::from(if is_good { 0 } else { DIFFERENT })
}

/// What a step is, before it is done and after.
fn told(action: Action) -> [&'static str; 2] {
    match action {
        Action::Stop => [
            "would be stopped, no file declares it",
            "stopped, no file declares it",
        ],
        Action::Forget => [
            "would be forgotten, it has ended",
            "forgotten, it had ended",
        ],
        Action::Restart => [
            "would be restarted, it was changed",
            "restarts, it was changed",
        ],
        Action::Start => ["would be started", "starts"],
        Action::Keep => ["unchanged", "unchanged"],
        Action::Hold => [
            "stays as it is, its file is broken",
            "stays as it is, its file is broken",
        ],
    }
}

fn show(dirs: &Dirs) -> anyhow::Result<(Set, Vec<Step>)> {
    let (set, steps) = apply::compare(dirs)?;
    for step in &steps {
        println!("{}: {}", step.name, told(step.action)[0]);
    }
    complain(&set);
    Ok((set, steps))
}

fn converge(dirs: &Dirs) -> anyhow::Result<ExitCode> {
    let (set, done) = apply::apply(dirs, &Systemd)?;
    let mut has_failed = false;
    for one in &done {
        match &one.error {
            None => println!("{}: {}", one.step.name, told(one.step.action)[1]),
            Some(error) => {
                has_failed = true;
                eprintln!("rocket: pod {}: {error:#}", one.step.name);
            }
        }
    }
    complain(&set);
    if has_failed {
        return Ok(ExitCode::from(crate::FAILED));
    }
    Ok(code(set.broken.is_empty()))
}

fn complain(set: &Set) {
    let problems = set.broken.iter().flat_map(|broken| &broken.problems);
    problems.for_each(|problem| eprintln!("{problem}"));
    set.notes.iter().for_each(|note| eprintln!("{note}"));
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let set = Set::of_files(&args.files)?;
    complain(&set);
    for declared in &set.pods {
        println!("{}: pod {}", declared.file, declared.pod.name);
    }
    Ok(code(set.broken.is_empty()))
}

/// A pod, declared or not.
#[derive(Debug)]
struct Row {
    name: String,
    /// `yes`, `changed`, `broken` or `no`.
    declared: &'static str,
    state: Option<PodState>,
    problems: Vec<String>,
}

fn status(dirs: &Dirs, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (set, steps) = apply::compare(dirs)?;
    let mut rows = rows(&set, steps, declared::states(dirs)?);
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    if args.json {
        let values: Vec<serde_json::Value> = rows.iter().map(value).collect::<Result<_, _>>()?;
        super::print_json(&values)?;
    } else {
        print!("{}", render(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn value(row: &Row) -> serde_json::Result<serde_json::Value> {
    let mut value = match &row.state {
        Some(state) => serde_json::to_value(state)?,
        None => serde_json::json!({}),
    };
    value["name"] = row.name.as_str().into();
    value["declared"] = row.declared.into();
    if !row.problems.is_empty() {
        value["problems"] = row.problems.clone().into();
    }
    Ok(value)
}

fn rows(set: &Set, steps: Vec<Step>, states: Vec<PodState>) -> Vec<Row> {
    let problems = |broken: Option<&Broken>| -> Vec<String> {
        let problems = broken.into_iter().flat_map(|broken| &broken.problems);
        problems.map(Problem::to_string).collect()
    };
    let mut rows: Vec<Row> = Vec::new();
    for step in steps {
        let broken = set.broken(&step.name);
        rows.push(Row {
            declared: match step.action {
                Action::Keep | Action::Start => "yes",
                Action::Restart => "changed",
                Action::Hold => "broken",
                Action::Stop | Action::Forget if broken.is_some() => "broken",
                Action::Stop | Action::Forget => "no",
            },
            state: states.iter().find(|state| state.name == step.name).cloned(),
            problems: problems(broken.filter(|_| set.pod(&step.name).is_none())),
            name: step.name,
        });
    }
    for broken in &set.broken {
        for name in &broken.names {
            if !rows.iter().any(|row| row.name == *name) {
                rows.push(Row {
                    name: name.clone(),
                    declared: "broken",
                    state: None,
                    problems: problems(Some(broken)),
                });
            }
        }
    }
    rows
}

fn render(rows: &[Row]) -> String {
    let mut lines = vec![["POD", "DECLARED", "STATE", "STATUS"].map(String::from)];
    for row in rows {
        let state = row.state.as_ref();
        let standing = state.map_or("-".to_owned(), |state| state.standing.to_string());
        let status = state
            .map(|state| state.status.clone())
            .filter(|text| !text.is_empty());
        let status = status.or_else(|| row.problems.first().cloned());
        lines.push([
            row.name.clone(),
            row.declared.to_owned(),
            standing,
            status.unwrap_or_else(|| "-".into()),
        ]);
    }
    table(&lines)
}
