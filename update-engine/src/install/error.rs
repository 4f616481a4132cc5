//! Why a release was not installed.

use bootloader::Slot;

use super::image::FrameFault;
use crate::fetch::FetchError;
use crate::slots::SlotsError;
use crate::tree::TreeError;

/// Why a release was not installed. Once it was begun, the passive slot is disarmed and
/// the running one still the next one started.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The disk is not as it should be, or fails.
    #[error("the slots of the system disk")]
    Slots(#[from] SlotsError),
    /// Both slots cannot have the same name.
    #[error("release {version} is what slot {slot} runs already")]
    Runs {
        /// The release's version.
        version: String,
        /// The running slot.
        slot: Slot,
    },
    /// The fetched tree is not the signed one.
    #[error("the verity tree of release {version}; {ASK_SERVER}")]
    Tree {
        /// The release's version.
        version: String,
        /// What is wrong.
        source: TreeError,
    },
    /// The parts of a descriptor do not fit each other.
    #[error("the descriptor of release {version} contradicts itself: {what}; {ASK_PUBLISHER}")]
    Descriptor {
        /// The release's version.
        version: String,
        /// What does not fit.
        what: String,
    },
    /// Bytes did not come.
    #[error("fetching")]
    Fetch(#[from] FetchError),
    /// What came is not what was published.
    #[error("{target}: bytes {}..{} are not what was signed; {ASK_SERVER}", .range.start, .range.end)]
    Frame {
        /// Name of the target.
        target: String,
        /// Bytes of the frame in it.
        range: std::ops::Range<u64>,
        /// What is wrong with it.
        source: FrameFault,
    },
    /// The disk took a block and gives back another one.
    #[error(
        "block {block} of partition {label} reads back different from what was written: \
         check the disk's health"
    )]
    NotKept {
        /// Label of the partition.
        label: &'static str,
        /// The first wrong block.
        block: usize,
    },
    /// No memory to decompress with.
    #[error("starting the decompressor")]
    Memory(#[source] std::io::Error),
    /// Someone stopped it.
    #[error("cancelled")]
    Cancelled,
}

const ASK_SERVER: &str =
    "compare the server's file with the published one, and look for a proxy that changes it";
const ASK_PUBLISHER: &str = "the release has to be published again";
