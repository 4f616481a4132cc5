//! What can go wrong between a spec and a running process.

use nix::errno::Errno;

/// Why a container was not made, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec asks for what is wrong, unknown or impossible here.
    #[error("spec: {field}: {problem}")]
    Spec {
        /// Where in the spec, as a path of keys.
        field: String,
        /// What is wrong, and what to do if that is not obvious.
        problem: String,
    },
    /// A system call failed.
    #[error("{step}")]
    System {
        /// Operation and object.
        step: String,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel or the message bus said more than a number.
    #[error("{step}: {problem}")]
    Refused {
        /// Operation and object.
        step: String,
        /// What it said.
        problem: String,
    },
    /// The new process reported a failure. Its own words: it has no other way to tell.
    #[error("{0}")]
    Child(String),
    /// The new process is gone without a word: it was killed.
    #[error("the container's process was killed before it was ready (out of memory?)")]
    Vanished,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A problem with `field` of the spec.
    pub fn spec(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Spec {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// `step` was refused for the reason `problem`.
    pub fn refused(step: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Refused {
            step: step.into(),
            problem: problem.into(),
        }
    }

    /// The error with its causes in one line, as the child sends it to its parent.
    pub fn in_one_line(&self) -> String {
        match self {
            Self::System { step, source } => format!("{step}: {}", source.desc()),
            other => other.to_string(),
        }
    }
}

/// Names the step in which a system call failed.
pub trait During<T> {
    /// The error becomes "`step`: what the kernel said".
    fn during(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for std::result::Result<T, Errno> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::System {
            step: step(),
            source,
        })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(code) => Error::System {
                step: step(),
                source: Errno::from_raw(code),
            },
            None => Error::refused(step(), error.to_string()),
        })
    }
}
