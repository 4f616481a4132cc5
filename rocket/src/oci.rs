//! The command line by which other engines call the runtime, as runc and crun have it.
