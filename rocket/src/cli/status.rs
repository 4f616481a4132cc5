//! `rocket status`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::table::table;
use super::which::Which;
use crate::dirs::Dirs;
use crate::pod::{Liveness, Pods, View, view};

/// Shows one pod.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pod = args.which.only(&Pods::open(dirs)?)?;
    let live = Liveness::of_this_boot().context("reading /proc")?;
    let view = view(&pod, &live);
    if args.json {
        super::print_json(&view)?;
    } else {
        print!("{}", render(&view));
    }
    Ok(ExitCode::SUCCESS)
}

fn render(view: &View) -> String {
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    let addresses: Vec<String> = view.addresses.iter().map(ToString::to_string).collect();
    let lines = [
        ("UUID", Some(view.uuid.to_string())),
        ("Name", view.name.clone()),
        ("State", Some(view.state.to_string())),
        ("Created", time(view.created)),
        ("Started", time(view.started)),
        ("Finished", time(view.finished)),
        ("Unit", view.unit.clone()),
        (
            "Addresses",
            (!addresses.is_empty()).then(|| addresses.join(", ")),
        ),
        ("Error", view.error.clone()),
    ];
    let mut rows: Vec<[String; 2]> = lines
        .into_iter()
        .filter_map(|(name, value)| Some([format!("{name}:"), value?]))
        .collect();
    for app in &view.apps {
        let what = match (app.pid, app.status) {
            (Some(pid), _) => format!("runs as process {pid}"),
            (None, Some(status)) => format!("ended with status {status}"),
            (None, None) if view.finished.is_some() => "ended, nobody saw how".to_owned(),
            (None, None) => "does not run".to_owned(),
        };
        let image = format!("{} ({})", app.image, app.image_id);
        rows.push([
            format!("App {}:", app.name),
            format!("{what}; image {image}"),
        ]);
    }
    table(&rows)
}
