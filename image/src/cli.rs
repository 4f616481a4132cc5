//! The command line, one file per verb that has more than two options.

pub mod keys;
pub mod publish;
pub mod serve;
