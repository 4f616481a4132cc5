//! System calls that nix has no wrapper for. All `unsafe` of the runtime is below here.

pub mod bpf;
pub mod mount;
pub mod process;
pub mod terminal;
