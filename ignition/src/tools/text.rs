//! The text of a config in YAML, for messages that point into it.

use crate::config::{Place, Problem, excerpt};

pub use daemon::yaml::Spot;

/// A text under the name of its source.
#[derive(Debug)]
pub struct Text<'a> {
    /// What messages call it.
    pub name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Text<'a> {
    /// The text `text` that came from `name`.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        let lines = text.lines().collect();
        Self { name, lines }
    }

    /// A line, from 1; empty behind the last one.
    pub fn line(&self, number: usize) -> &'a str {
        let line = number.checked_sub(1).and_then(|n| self.lines.get(n));
        line.copied().unwrap_or_default()
    }

    /// The place of `spot`, which belongs to `key`.
    pub fn place(&self, spot: Spot, key: &str) -> Place {
        Place {
            source: self.name.to_owned(),
            position: Some((spot.line, spot.column)),
            key: key.to_owned(),
            excerpt: excerpt(self.line(spot.line), spot.column),
        }
    }

    /// A problem at `spot`, which belongs to `key`.
    pub fn problem(&self, spot: Spot, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            place: self.place(spot, key),
            message: message.into(),
        }
    }
}
