//! `rocket list`.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::{Timestamp, Unit};

use crate::dirs::Dirs;
use crate::pod::{Liveness, Pods, View, view};

/// Lists pods, the newest last.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Whole UUIDs and digests
    #[arg(long)]
    full: bool,
    /// No line of headings
    #[arg(long)]
    no_legend: bool,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let live = Liveness::of_this_boot()?;
    let mut views: Vec<View> = Pods::open(dirs)?
        .all()?
        .iter()
        .map(|pod| view(pod, &live))
        .collect();
    views.sort_by_key(|view| (view.created, view.uuid));
    if args.json {
        super::print_json(&views)?;
    } else {
        print!("{}", render(&views, args, Timestamp::now()));
        for view in &views {
            if let Some(error) = &view.error {
                eprintln!("rocket: pod {}: {error}", view.uuid);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line per app; what belongs to the pod stands on the first of them.
fn render(views: &[View], args: &Args, now: Timestamp) -> String {
    let mut rows: Vec<[String; 7]> = Vec::new();
    if !args.no_legend {
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
        let uuid = if args.full {
            uuid
        } else {
            uuid[..8].to_owned()
        };
        let addresses: Vec<String> = view.addresses.iter().map(ToString::to_string).collect();
        let first = [
            uuid,
            view.state.to_string(),
            ago(view.created, now),
            ago(view.started, now),
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
                app(number).map_or_else(|| "-".to_owned(), |app| app.name.clone()),
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

/// Columns as wide as their widest field.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = field.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, field) in widths.iter().zip(row) {
            let _ = write!(line, "{field:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How long ago, in the largest unit that is one at least.
fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else {
        return "-".to_owned();
    };
    let seconds = now
        .since((Unit::Second, then))
        .map_or(0, |span| span.get_seconds())
        .max(0);
    let units = [
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (size, name) = units
        .into_iter()
        .find(|(size, _)| seconds >= *size)
        .unwrap_or((1, "second"));
    let count = seconds / size;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_one_unit() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let told = |seconds| ago(Some(at(0)), at(seconds));
        assert_eq!(told(0), "0 seconds ago");
        assert_eq!(told(61), "1 minute ago");
        assert_eq!(told(7_200), "2 hours ago");
        assert_eq!(told(90_000), "1 day ago");
        assert_eq!(ago(None, at(0)), "-");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a", "long", ""], ["wide", "b", "c"]].map(|row| row.map(String::from));
        assert_eq!(table(&rows), "a     long\nwide  b     c\n");
    }
}
