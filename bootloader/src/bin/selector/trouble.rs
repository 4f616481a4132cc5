//! What goes wrong in the selector, as people read it.

use alloc::string::{String, ToString};
use bootloader::kargs::{FILE, Outcome, Problem};
use bootloader::uki::UkiError;
use bootloader::{BlockError, GptError};
use core::{error::Error, fmt};
use uefi::Status;

/// An error with all its causes in one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A step of booting that did not work. Displays with its causes: there is nobody
/// above the selector who could print them.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The firmware refused.
    #[error("{what}: firmware says {status}")]
    Firmware {
        /// What it was asked for.
        what: &'static str,
        /// What it answered.
        status: Status,
    },
    /// The selector was not started from a partition of a GPT disk.
    #[error("not started from a partition of a GPT disk")]
    NoDisk,
    /// The partition table cannot be read, has no slots or cannot be written.
    #[error("{0}")]
    Table(String),
    /// The disk failed.
    #[error("{}", Chain(.0))]
    Disk(BlockError),
    /// Not a kernel image.
    #[error("{0}")]
    Uki(UkiError),
    /// This host's kernel arguments cannot be used.
    #[error("{FILE} is wrong: {0}")]
    Arguments(Problem),
    /// This host's kernel arguments are not to be used.
    #[error("{0}")]
    Unused(Outcome),
    /// More memory than the firmware has in one piece.
    #[error("no memory for {bytes} bytes")]
    Memory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The kernel image gave up and came back.
    #[error("it returned: {0}")]
    Returned(Status),
}

impl Trouble {
    /// An error around the partition table.
    pub fn table(why: impl Error + 'static) -> Self {
        Self::Table(Chain(&why).to_string())
    }

    /// What becomes of this host's kernel arguments when this happens.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unused(outcome) => *outcome,
            Self::Arguments(_) => Outcome::Wrong,
            _ => Outcome::Failed,
        }
    }

    /// Makes an error of the firmware ours.
    pub fn firmware<D: fmt::Debug>(what: &'static str) -> impl FnOnce(uefi::Error<D>) -> Self {
        move |error| Self::Firmware {
            what,
            status: error.status(),
        }
    }
}

impl From<Problem> for Trouble {
    fn from(why: Problem) -> Self {
        Self::Arguments(why)
    }
}

impl From<GptError> for Trouble {
    fn from(why: GptError) -> Self {
        Self::table(why)
    }
}

impl From<BlockError> for Trouble {
    fn from(why: BlockError) -> Self {
        Self::Disk(why)
    }
}

impl From<UkiError> for Trouble {
    fn from(why: UkiError) -> Self {
        Self::Uki(why)
    }
}
