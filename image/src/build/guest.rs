//! Rust programs that the image carries, compiled inside the tools tree.
//!
//! There the C library and linker are the image's own, and the paths are the
//! same on every machine, so the programs are too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::source_dir;
use crate::host::capture;
use crate::tools::{Tools, run_logged};

/// The target of the boot selector.
pub const SELECTOR_TARGET: &str = "x86_64-unknown-uefi";

/// The target of what runs on the host.
const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiled programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Provisioning, for the initrd and for hosts.
    pub ignition: PathBuf,
    /// The boot selector, an EFI program.
    pub selector: PathBuf,
    /// The daemon that takes updates.
    pub update_engine: PathBuf,
    /// How people talk to it.
    pub updatectl: PathBuf,
}

impl Programs {
    /// All of them.
    pub fn all(&self) -> [&Path; 4] {
        [
            &self.ignition,
            &self.selector,
            &self.update_engine,
            &self.updatectl,
        ]
        .map(PathBuf::as_path)
    }
}

/// Compiles what changed; the object files are kept under `work`.
pub fn build(tools: &Tools, work: &Path) -> Result<Programs> {
    let target = work.join("guest-target");
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    let cargo_home = home_of("CARGO_HOME", ".cargo");
    let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    fs::create_dir_all(cargo_home.join("registry"))?;
    let tools = tools
        .clone()
        .bind_at(source_dir(), "/src")
        .bind_at(&target, "/target")
        .bind_at(&cargo_home, "/cargo")
        .bind_at(sysroot.trim(), "/rust");
    let cargo = |args: &[&str], target: &str, log: &str| {
        let mut command = tools.command("/rust/bin/cargo");
        command
            .args(["build", "--release", "--locked", "--target", target])
            .args(args)
            .current_dir(source_dir())
            .env("CARGO_HOME", "/cargo")
            .env("CARGO_TARGET_DIR", "/target")
            .env("RUSTC", "/rust/bin/rustc")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTUP_TOOLCHAIN")
            .args(["--manifest-path", "/src/Cargo.toml"]);
        run_logged(&mut command, log)
    };
    cargo(
        &["--package=ignition", "--package=update-engine", "--bins"],
        HOST_TARGET,
        "cargo-programs",
    )?;
    cargo(
        &[
            "--package",
            "bootloader",
            "--features",
            "efi",
            "--bin",
            "selector",
        ],
        SELECTOR_TARGET,
        "cargo-selector",
    )?;
    let host = |name: &str| target.join(HOST_TARGET).join("release").join(name);
    Ok(Programs {
        ignition: host("ignition"),
        update_engine: host("update-engine"),
        updatectl: host("updatectl"),
        selector: target.join(SELECTOR_TARGET).join("release/selector.efi"),
    })
}

/// A directory named by `variable`, or `name` in the home directory.
fn home_of(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(name),
    }
}
