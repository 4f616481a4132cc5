//! `docs/benchmarks.md`: every command that measures keeps a section of it. And what
//! benchmarks of containers share with scenarios.

pub mod containers;
pub mod engines;
pub mod registry;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use image::build::source_dir;
use image::host::capture;

/// Rewrites the section of `command` (`cargo bench-boot`). Fails if its markers are not
/// there.
pub fn write(command: &str, section: &str) -> Result<()> {
    let path = source_dir().join("docs/benchmarks.md");
    let old = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let new = replaced(&old, command, section).with_context(|| {
        let [begin, end] = markers(command);
        format!("{} lacks {begin} before {end}", path.display())
    })?;
    fs::write(&path, new).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("bench: wrote {}", path.display());
    Ok(())
}

/// The day of today in UTC, as in 2026-11-21.
pub fn today() -> Result<String> {
    let date = capture(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    Ok(date.trim().to_string())
}

/// What stands before and behind the section of `command`.
fn markers(command: &str) -> [String; 2] {
    ["begin", "end"].map(|word| format!("<!-- {word}: {command} -->"))
}

fn replaced(old: &str, command: &str, section: &str) -> Option<String> {
    let [begin, end] = markers(command);
    let (before, rest) = old.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{section}{end}{after}"))
}

/// A Markdown table with columns of equal width; the first row is the head.
pub fn aligned<const N: usize>(cells: &[[String; N]]) -> String {
    let width = |n: usize| cells.iter().map(|row| row[n].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|n| width(n).unwrap_or(0));
    let mut out = String::new();
    for (number, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(widths).map(|(c, w)| format!("| {c:w$} "));
        out.extend(padded);
        out += "|\n";
        if number == 0 {
            out.extend(widths.map(|w| format!("|{:-<1$}", "", w + 2)));
            out += "|\n";
        }
    }
    out
}

/// Median, smallest and largest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Middle value; between the two middle ones of an even number.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Fails if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            anyhow::bail!("no values to take the median of");
        };
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[half - 1], values[half]),
            _ => values[half],
        };
        Ok(Self {
            median,
            min: *min,
            max: *max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert!(Spread::of([]).is_err());
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let [begin, end] = markers("x");
        let old = format!("# Title\n{begin}\nold\n{end}\nrest\n");
        let new = replaced(&old, "x", "new\n").unwrap();
        assert_eq!(new, format!("# Title\n{begin}\nnew\n{end}\nrest\n"));
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new);
        assert_eq!(replaced(&old, "y", "new"), None);
    }

    #[test]
    fn the_document_has_a_section_for_every_command() {
        let path = source_dir().join("docs/benchmarks.md");
        let text = fs::read_to_string(path).unwrap();
        for command in [
            "cargo bench-boot",
            "cargo bench-ignition",
            "cargo bench-locksmith",
            "cargo bench-rocket",
            "cargo bench-update",
        ] {
            assert!(replaced(&text, command, "").is_some(), "{command}");
        }
    }

    #[test]
    fn columns_are_of_equal_width() {
        let cells = [["a", "bcd"], ["ef", "g"]].map(|row| row.map(String::from));
        assert_eq!(
            aligned(&cells),
            "| a  | bcd |\n|----|-----|\n| ef | g   |\n"
        );
    }
}
