//! Keeps the table in `docs/benchmarks.md`.

use anyhow::Result;

use crate::measure::Measurements;
use crate::table::{self, Row};

/// Rewrites the section of this command. Fails if there is none.
pub fn write(measured: &Measurements, rows: &[Row]) -> Result<()> {
    let section = section(measured, rows, &benchmarks::today()?)?;
    benchmarks::write("cargo bench-boot", &section)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
