//! A status as text: one screen.

use jiff::Timestamp;

/// Width of the first column.
const COLUMN: usize = 12;

/// Rows of a name and a value.
#[derive(Debug, Default)]
pub struct Screen(String);

impl Screen {
    /// One more row.
    pub fn row(&mut self, name: &str, value: &str) {
        let row = format!("{name:<COLUMN$}{value}");
        self.0.push_str(row.trim_end());
        self.0.push('\n');
    }

    /// All of them.
    pub fn text(self) -> String {
        self.0
    }
}

/// A reason may have many lines; the status has one.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `5 min ago`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    match now.duration_since(time).as_secs() {
        past @ 0.. => format!("{} ago", seconds(past.unsigned_abs())),
        _ => ahead(time, now),
    }
}

/// `in 5 min`.
pub fn ahead(time: Timestamp, now: Timestamp) -> String {
    match time.duration_since(now).as_secs() {
        left @ 1.. => format!("in {}", seconds(left.unsigned_abs())),
        _ => "now".into(),
    }
}

/// `45 s`, `5 min`, `3 h`, `2 days`: as exact as matters.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_exact_as_matters() {
        let seconds: Vec<_> = [0, 119, 120, 7199, 7200, 172_800].map(seconds).into();
        assert_eq!(
            seconds,
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]
        );
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(ago(now, now), "0 s ago");
        let later = now + jiff::SignedDuration::from_secs(90);
        assert_eq!(ago(later, now), "in 90 s");
        assert_eq!(ahead(now, later), "now");
        assert_eq!(one_line(" a\n  b "), "a b");
    }

    #[test]
    fn rows_have_two_columns_and_no_blanks_at_their_end() {
        let mut screen = Screen::default();
        screen.row("Plan", "resting");
        screen.row("Nothing", "");
        assert_eq!(screen.text(), "Plan        resting\nNothing\n");
    }
}
