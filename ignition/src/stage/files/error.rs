//! Why the files stage failed.

use std::io;
use std::path::PathBuf;

use crate::fetch::FetchError;
use crate::program::ProgramError;
use crate::root::RootError;

/// A failure of the files stage. `place` is where the config asks for it.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The root directory cannot be opened.
    #[error("opening the root directory {}", .path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Contents could not be fetched.
    #[error("{place}")]
    Fetch {
        /// Where the config asks for them.
        place: String,
        /// The cause.
        source: FetchError,
    },
    /// A change below the root failed.
    #[error("{place}")]
    Change {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: RootError,
    },
    /// A program of the root failed.
    #[error("{place}")]
    Program {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: ProgramError,
    },
    /// The config and the root do not fit together.
    #[error("{place}: {message}")]
    Conflict {
        /// Where the config asks for it.
        place: String,
        /// What does not fit, and what would.
        message: String,
    },
    /// Work of this stage's own failed.
    #[error(transparent)]
    Own(#[from] RootError),
    /// The journal of an earlier attempt cannot be read.
    #[error("understanding {path}, the journal of an earlier attempt")]
    Journal {
        /// Its path below the root.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The boot id or the time cannot be had.
    #[error("reading {path}")]
    Identity {
        /// What was read.
        path: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl FilesError {
    /// Whether only a change of the config helps.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_final(),
            Self::Conflict { .. } => true,
            Self::Program { source, .. } => matches!(source, ProgramError::Failed { .. }),
            _ => false,
        }
    }
}
