//! What is started: each is a program of its own here, and all are one on hosts
//! (`image/programs`).

pub mod locksmithctl;
pub mod locksmithd;
