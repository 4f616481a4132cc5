//! `state`, `list` and `ps`.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::args::{self, Format};
use super::store::Store;

/// Prints what is known of a container.
pub fn state(store: &Store, id: &str) -> anyhow::Result<()> {
    let container = store.get(id)?;
    print(&serde_json::to_string_pretty(&container.state()).context("writing the state")?)
}

/// Prints all containers.
pub fn list(store: &Store, args: &args::List) -> anyhow::Result<()> {
    let all = store.all()?;
    if args.quiet {
        return all
            .iter()
            .try_for_each(|container| print(&container.record.id));
    }
    if args.format == Format::Json {
        let states: Vec<_> = all.iter().map(super::store::Container::state).collect();
        let text = serde_json::to_string(&states).context("writing the list")?;
        return print(if states.is_empty() { "null" } else { &text });
    }
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let rows = all.iter().map(|container| {
        let record = &container.record;
        let status = container.status();
        let pid = match status {
            crate::runtime::state::Status::Stopped => 0,
            _ => record.pid,
        };
        [
            record.id.clone(),
            pid.to_string(),
            status.to_string(),
            record.bundle.display().to_string(),
            record.created.to_string(),
            owner(&record.bundle),
        ]
    });
    table(std::iter::once(head).chain(rows).collect())
}

fn owner(bundle: &std::path::Path) -> String {
    match std::fs::metadata(bundle) {
        Ok(about) if about.uid() == 0 => "root".into(),
        Ok(about) => format!("#{}", about.uid()),
        Err(_) => String::new(),
    }
}

/// Columns as wide as their widest word.
fn table(rows: Vec<[String; 6]>) -> anyhow::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        print(cells.collect::<Vec<_>>().join("   ").trim_end())?;
    }
    Ok(())
}

/// Prints processes of a container, by their numbers on the host.
pub fn ps(store: &Store, args: &args::Ps) -> anyhow::Result<()> {
    let container = store.get(&args.id)?;
    let group = container.cgroup().context("container not running")?;
    let pids = group.processes()?;
    if args.format == Format::Json {
        return print(&serde_json::to_string(&pids).context("writing the list")?);
    }
    let options = if args.options.is_empty() {
        vec!["-ef".to_owned()]
    } else {
        args.options.clone()
    };
    let output = Command::new("ps")
        .args(&options)
        .output()
        .context("running ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    processes(&text, &pids)
        .context("ps was not asked for the column PID")?
        .iter()
        .try_for_each(|line| print(line))
}

/// The title and the lines of these processes.
fn processes<'a>(text: &'a str, pids: &[i32]) -> Option<Vec<&'a str>> {
    let title = text.lines().next()?;
    let column = title.split_whitespace().position(|word| word == "PID")?;
    let wanted = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    let mut lines = vec![title];
    lines.extend(text.lines().skip(1).filter(wanted));
    Some(lines)
}

/// Prints a line on standard output.
pub fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to standard output")
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("writing JSON")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_picked_from_the_table() {
        let text = "UID PID CMD\nroot 1 init\nroot 12 sh -c 7\nroot 7 x\n";
        let lines = processes(text, &[12, 7]).unwrap();
        assert_eq!(lines, ["UID PID CMD", "root 12 sh -c 7", "root 7 x"]);
        assert!(processes("CMD\nx\n", &[1]).is_none());
    }
}
