//! What is started: each is a program of its own here, and all are one on hosts
//! (`image/programs`).

pub mod update_engine;
pub mod updatectl;
