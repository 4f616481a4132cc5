//! Keeps the table in `docs/benchmarks.md`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use image::build::source_dir;
use image::host::capture;

use crate::measure::Measurements;
use crate::table::{self, Row};

const BEGIN: &str = "<!-- begin: cargo bench-boot -->";
const END: &str = "<!-- end: cargo bench-boot -->";

/// Rewrites what is between the markers. Fails if they are not there.
pub fn write(measured: &Measurements, rows: &[Row]) -> Result<()> {
    let path = source_dir().join("docs/benchmarks.md");
    let old = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let date = capture(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let section = section(measured, rows, date.trim())?;
    let new = replaced(&old, &section)
        .with_context(|| format!("{} lacks {BEGIN} before {END}", path.display()))?;
    fs::write(&path, new).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("bench: wrote {}", path.display());
    Ok(())
}

/// What stands between the markers.
fn section(measured: &Measurements, rows: &[Row], date: &str) -> Result<String> {
    let mut command = format!("cargo bench-boot -- --rounds {}", measured.rounds);
    if measured.boots.len() > 2 {
        command += " --same-units";
    }
    let table = table::text(measured, rows)?;
    Ok(format!(
        "Measured on {date} with `{command} --write`:\n\n{table}"
    ))
}

fn replaced(old: &str, section: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        let new = replaced(&old, "new\n").unwrap();
        assert_eq!(new, format!("# Title\n{BEGIN}\nnew\n{END}\nrest\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert_eq!(replaced("no markers", "new"), None);
    }

    #[test]
    fn the_section_names_date_and_command() {
        let measured = crate::table::tests::example(20.0);
        let rows = table::rows(&measured).unwrap();
        let text = section(&measured, &rows, "2025-01-31").unwrap();
        let first = text.lines().next();
        assert_eq!(
            first,
            Some("Measured on 2025-01-31 with `cargo bench-boot -- --rounds 3 --write`:")
        );
    }

    #[test]
    fn the_document_in_this_repository_has_the_markers() {
        let path = source_dir().join("docs/benchmarks.md");
        assert!(replaced(&fs::read_to_string(path).unwrap(), "").is_some());
    }
}
