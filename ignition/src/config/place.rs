//! Where in which config something is, for people.

use std::fmt;

/// A spot in a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the config came from, e.g. `QEMU fw_cfg (opt/com.coreos/config)`.
    pub source: String,
    /// Line and column, both from 1, columns in characters. Absent for
    /// configs that were put together from several.
    pub position: Option<(usize, usize)>,
    /// Path of JSON keys and list indexes joined by dots; empty at the top.
    pub key: String,
    /// The source line and a caret below the column, if it may be shown.
    pub excerpt: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config from {}", self.source)?;
        if let Some((line, column)) = self.position {
            write!(f, ", line {line}, column {column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ", key {}", self.key)?;
        }
        Ok(())
    }
}

/// Finds the spot of a key.
pub trait Locate {
    /// The place of `key` (`storage.files.0.mode`), or of its nearest parent
    /// that the config's text has.
    fn place(&self, key: &str) -> Place;
}

/// One complaint about a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Some(excerpt) = &self.place.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// A config that cannot be accepted: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

impl From<Problem> for Invalid {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
