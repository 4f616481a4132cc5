//! The server and everybody between it and the host are the enemy: one test per
//! attack, named after it, and the good path beside them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clock;
mod data;
mod good;
mod host;
mod hostile;
mod metadata;
mod python;
mod release;
mod repository;
