//! Tables for people.

use std::fmt::Write as _;

use jiff::{Timestamp, Unit};

/// How a list is written.
#[derive(Debug, Default, clap::Args)]
pub struct Form {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Whole UUIDs and digests
    #[arg(long)]
    pub full: bool,
    /// No line of headings
    #[arg(long)]
    pub no_legend: bool,
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
pub fn ago(then: Timestamp, now: Timestamp) -> String {
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
        let told = |seconds| ago(at(0), at(seconds));
        assert_eq!(told(0), "0 seconds ago");
        assert_eq!(
            ago(at(9), at(0)),
            "0 seconds ago",
            "of a clock that was set back"
        );
        assert_eq!(told(61), "1 minute ago");
        assert_eq!(told(7_200), "2 hours ago");
        assert_eq!(told(90_000), "1 day ago");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a", "long", ""], ["wide", "b", "c"]].map(|row| row.map(String::from));
        assert_eq!(table(&rows), "a     long\nwide  b     c\n");
    }
}
