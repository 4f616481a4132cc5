//! `rocket list`.

use std::process::ExitCode;

use jiff::Timestamp;

use super::table::{Form, ago, table};
use crate::dirs::Dirs;
use crate::pod::{AppView, Liveness, Pods, View, view};

/// Lists pods, the newest last.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    form: Form,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let live = Liveness::of_this_boot()?;
    let mut views: Vec<View> = Pods::open(dirs)?
        .all()?
        .iter()
        .map(|pod| view(pod, &live))
        .collect();
    views.sort_by_key(|view| (view.created, view.uuid));
    if args.form.json {
        super::print_json(&views)?;
    } else {
        print!("{}", render(&views, &args.form, Timestamp::now()));
        for view in &views {
            if let Some(error) = &view.error {
                eprintln!("rocket: pod {}: {error}", view.uuid);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An app's name, below that of its pod if it was declared.
fn called(view: &View, app: &AppView) -> String {
    match &view.name {
        Some(name) => format!("{name}/{}", app.name),
        None => app.name.clone(),
    }
}

/// One line per app; what belongs to the pod stands on the first of them.
fn render(views: &[View], form: &Form, now: Timestamp) -> String {
    let mut rows: Vec<[String; 7]> = Vec::new();
    if !form.no_legend {
        rows.push(
            [
                "UUID",
                "APP",
                "IMAGE",
                "STATE",
                "CREATED",
                "STARTED",
                "ADDRESSES",
            ]
            .map(String::from),
        );
    }
    for view in views {
        let uuid = view.uuid.to_string();
        let uuid = if form.full {
            uuid
        } else {
            uuid[..8].to_owned()
        };
        let addresses: Vec<String> = view.addresses.iter().map(ToString::to_string).collect();
        let when =
            |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |then| ago(then, now));
        let first = [
            uuid,
            view.state.to_string(),
            when(view.created),
            when(view.started),
            addresses.join(","),
        ];
        let [uuid, state, created, started, addresses] = first;
        let app = |number: usize| view.apps.get(number);
        for number in 0..view.apps.len().max(1) {
            let of_pod = |text: &str| {
                if number == 0 {
                    text.to_owned()
                } else {
                    String::new()
                }
            };
            rows.push([
                of_pod(&uuid),
                app(number).map_or_else(|| "-".to_owned(), |app| called(view, app)),
                app(number).map_or_else(|| "-".to_owned(), |app| app.image.clone()),
                of_pod(&state),
                of_pod(&created),
                of_pod(&started),
                of_pod(&addresses),
            ]);
        }
    }
    table(&rows)
}
