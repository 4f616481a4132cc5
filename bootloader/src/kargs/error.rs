//! What is wrong with kernel arguments.

use alloc::string::String;

/// Arguments that are not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A byte that no argument may have.
    #[error("{word:?} has a character that is not printable ASCII")]
    Character {
        /// The text.
        word: String,
    },
    /// The rest of the command line would belong to this argument.
    #[error("{word:?} has a quote that is not closed")]
    Quote {
        /// The text.
        word: String,
    },
    /// A quote for systemd and none for the kernel: they would not see the same words.
    #[error("{word:?} has a single quote, which the kernel and systemd read differently")]
    SingleQuote {
        /// The text.
        word: String,
    },
    /// The argument is about which system runs.
    #[error("{word:?} is not for a host to change: {why}")]
    Protected {
        /// The argument.
        word: String,
        /// What it is about.
        why: &'static str,
    },
    /// The same argument shall be there and shall not.
    #[error("{word:?} shall exist and shall not exist")]
    Both {
        /// The argument.
        word: String,
    },
    /// There is no room for this much.
    #[error("{length} bytes are more than the {limit} that there is room for")]
    Long {
        /// Bytes.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The file is not UTF-8.
    #[error("not a text")]
    NotText,
    /// A line of the file is none that there can be.
    #[error("line {number} is neither +ARGUMENT, -ARGUMENT nor a comment")]
    Line {
        /// Number of the line, from 1.
        number: usize,
    },
}
