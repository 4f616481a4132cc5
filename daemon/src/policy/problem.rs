//! What is wrong with a fragment, and where.

use std::fmt;
use std::path::PathBuf;

/// A place in a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something has no effect: a key that this release does not know. Daemons go on,
    /// because a release that was rolled back must start with a newer file.
    Warning,
    /// The fragment cannot be used.
    Error,
}

/// Something wrong with one fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the directory that could not be listed.
    pub file: PathBuf,
    /// Line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// The key, with its section: `update.wave`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem with a whole file.
    pub fn file(severity: Severity, file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.into(),
            line: None,
            key: None,
            message: message.into(),
        }
    }

    /// A problem with one key.
    pub fn key(severity: Severity, origin: Origin, key: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: origin.file,
            line: Some(origin.line),
            key: Some(key.to_string()),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}
