//! Why the disks stage failed.

use std::io;
use std::path::PathBuf;

use bootloader::block::BlockError;
use bootloader::gpt::{EditError, GptError};

use crate::fetch::FetchError;
use crate::program::ProgramError;
use crate::root::RootError;

/// A failure of the disks stage. `place` is where the config asks for it.
#[derive(Debug, thiserror::Error)]
pub enum DisksError {
    /// The config and the disk do not fit together. This disk was not changed.
    #[error("{place}: {} {message}", .device.display())]
    Conflict {
        /// Where the config asks for it.
        place: String,
        /// The device.
        device: PathBuf,
        /// What does not fit, and what would.
        message: String,
    },
    /// The device is not there.
    #[error(
        "{place}: {} is not there, after waiting {seconds} s; give a device that this machine has",
        .device.display()
    )]
    Absent {
        /// Where the config asks for it.
        place: String,
        /// The device.
        device: PathBuf,
        /// How long it was waited for.
        seconds: u32,
    },
    /// The system could not do something with a device.
    #[error("{place}: {operation} {}", .device.display())]
    Device {
        /// Where the config asks for it.
        place: String,
        /// What was tried.
        operation: &'static str,
        /// The device, or the file about it.
        device: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The partition table could not be read or written.
    #[error("{place}: partition table of {}", .device.display())]
    Table {
        /// Where the config asks for it.
        place: String,
        /// The disk.
        device: PathBuf,
        /// The cause.
        source: Box<GptError>,
    },
    /// A block outside of the table could not be read or written.
    #[error("{place}: {}", .device.display())]
    Block {
        /// Where the config asks for it.
        place: String,
        /// The disk.
        device: PathBuf,
        /// The cause.
        source: BlockError,
    },
    /// A partition that the table cannot hold.
    #[error("{place}: {}", .device.display())]
    Edit {
        /// Where the config asks for it.
        place: String,
        /// The disk.
        device: PathBuf,
        /// The cause.
        source: EditError,
    },
    /// The new table is on the disk, but the kernel keeps to another one.
    #[error(
        "{place}: the kernel does not see {what} of {} as the new partition table has them; \
         is one in use?",
        .device.display()
    )]
    Kernel {
        /// Where the config asks for it.
        place: String,
        /// The disk.
        device: PathBuf,
        /// What differs.
        what: String,
    },
    /// A key could not be fetched.
    #[error("{place}")]
    Fetch {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: FetchError,
    },
    /// A program failed.
    #[error("{place}")]
    Program {
        /// Where the config asks for it.
        place: String,
        /// The cause.
        source: ProgramError,
    },
    /// The root directory cannot be opened.
    #[error("opening the root directory {}", .path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something below the root could not be done.
    #[error(transparent)]
    Own(#[from] RootError),
    /// The journal of an earlier attempt cannot be read or written.
    #[error("understanding {path}, the journal of an earlier attempt")]
    Journal {
        /// Its path below the root.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
}

impl DisksError {
    /// Whether only a change of the config helps.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Absent { .. } | Self::Edit { .. } => true,
            Self::Fetch { source, .. } => source.is_final(),
            Self::Program { source, .. } => matches!(source, ProgramError::Failed { .. }),
            // A disk that is too small, or not one at all.
            Self::Table { source, .. } => matches!(
                **source,
                GptError::NoRoom { .. } | GptError::BlockCount { .. } | GptError::BlockSize { .. }
            ),
            _ => false,
        }
    }
}
