//! Signals by name or number, as people and engines write them.

use anyhow::bail;
use nix::libc;
use nix::sys::signal::Signal;

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `SIGRTMIN+3`.
pub fn parse(text: &str) -> anyhow::Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match upper.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) => format!("SIG{name}")
            .parse::<Signal>()
            .map(|signal| signal as i32)
            .ok()
            .or_else(|| real_time(name)),
    };
    match number {
        Some(number) if (0..=libc::SIGRTMAX()).contains(&number) => Ok(number),
        _ => bail!("unknown signal {text:?}"),
    }
}

fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(number) => number.parse::<i32>().ok(),
        None => rest.is_empty().then_some(0),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(libc::SIGRTMIN() + offset(rest, '+')?);
    }
    Some(libc::SIGRTMAX() - offset(name.strip_prefix("RTMAX")?, '-')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("0", 0),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        assert_eq!(parse("SIGRTMIN+3").unwrap(), libc::SIGRTMIN() + 3);
        assert_eq!(parse("RTMAX-1").unwrap(), libc::SIGRTMAX() - 1);
        for wrong in ["", "SIG", "99", "-1", "RTMIN+99", "FOO"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
