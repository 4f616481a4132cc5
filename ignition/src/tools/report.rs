//! What was found, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::config::{Findings, Problem};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that is likely a mistake.
    Warning,
    /// The config is refused.
    Error,
}

/// All that is known about one config.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, as it was named on the command line.
    pub file: String,
    /// Whether a host accepts it.
    pub valid: bool,
    /// Errors, then warnings, each in the order of the text.
    pub problems: Vec<Entry>,
}

/// One problem.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// How bad it is.
    pub severity: Severity,
    /// The file; another one than the report's for what that refers to.
    pub source: String,
    /// Line, from 1, if there is one to blame.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// Path of keys and list indexes, joined by dots; empty at the top.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// The source line and a caret, if it may be shown.
    #[serde(skip)]
    excerpt: Option<String>,
}

impl Report {
    /// The report about `file`.
    pub fn new(file: &str, found: Findings) -> Self {
        let valid = found.errors.is_empty();
        let entries = |severity, mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.place.position);
            let entry = move |problem| Entry::new(severity, problem);
            problems.into_iter().map(entry)
        };
        let errors = entries(Severity::Error, found.errors);
        let warnings = entries(Severity::Warning, found.warnings);
        Self {
            file: file.to_owned(),
            valid,
            problems: errors.chain(warnings).collect(),
        }
    }

    /// Makes every warning an error.
    pub fn be_strict(&mut self) {
        for problem in &mut self.problems {
            problem.severity = Severity::Error;
        }
        self.valid = self.problems.is_empty();
    }

    fn count(&self, severity: Severity) -> usize {
        let alike = self.problems.iter().filter(|p| p.severity == severity);
        alike.count()
    }
}

impl Entry {
    fn new(severity: Severity, problem: Problem) -> Self {
        let Problem { place, message } = problem;
        Self {
            severity,
            source: place.source,
            line: place.position.map(|(line, _)| line),
            column: place.position.map(|(_, column)| column),
            key: place.key,
            message,
            excerpt: place.excerpt,
        }
    }
}

/// `FILE:LINE:COLUMN: error: KEY: MESSAGE`, as compilers have it, so that
/// editors find the place.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(match self.severity {
            Severity::Warning => ": warning: ",
            Severity::Error => ": error: ",
        })?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

/// All problems and a last line that sums up.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let verdict = if self.valid { "valid" } else { "not valid" };
        let plural = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        writeln!(
            f,
            "{}: {verdict} ({}, {})",
            self.file,
            plural(self.count(Severity::Error), "error"),
            plural(self.count(Severity::Warning), "warning"),
        )
    }
}
