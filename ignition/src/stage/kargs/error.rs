//! Why the kargs stage failed.

use std::io;
use std::path::{Path, PathBuf};

use bootloader::gpt::{EditError, GptError};
use bootloader::kargs::Problem;

use crate::program::ProgramError;
use crate::root::RootError;

use super::Refusal;

/// A failure of the kargs stage. `place` is where the config asks for arguments.
#[derive(Debug, thiserror::Error)]
pub enum KargsError {
    /// The config asks for what is not allowed.
    #[error("{place}")]
    Config {
        /// Where the config asks for it.
        place: String,
        /// What is not allowed.
        #[source]
        problem: Problem,
    },
    /// The machine will not run with the arguments.
    #[error("{place}: {refusal}")]
    Refused {
        /// Where the config asks for them.
        place: String,
        /// Why not, and what to do.
        refusal: Refusal,
    },
    /// A file or device could not be used.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or device.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An EFI variable holds something else than it should.
    #[error("EFI variable {name} holds no {what}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What was looked for.
        what: &'static str,
    },
    /// The partition table with the ESP could not be read or written.
    #[error("partition table of {}", .disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// The cause.
        source: Box<GptError>,
    },
    /// The ESP's entry could not be changed.
    #[error("partition table of {}", .disk.display())]
    Edit {
        /// The disk.
        disk: PathBuf,
        /// The cause.
        source: EditError,
    },
    /// The disk does not have the partition that udev found on it.
    #[error("{} has no partition {number} any more", .disk.display())]
    Gone {
        /// The disk.
        disk: PathBuf,
        /// Number of the partition.
        number: u32,
    },
    /// The root could not be looked at.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The reboot could not be asked for.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The machine goes on although it shall reboot.
    #[error("the machine did not reboot within {seconds} s; start it again")]
    Reboot {
        /// How long it was waited for.
        seconds: u64,
    },
}

impl KargsError {
    /// Whether only a change of the config helps.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::Refused { .. })
    }
}

/// An error around `path`.
pub fn io(operation: &'static str, path: &Path, source: io::Error) -> KargsError {
    KargsError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
