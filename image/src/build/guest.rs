//! Rust programs that the image carries, compiled inside the tools tree.
//!
//! There the C library and linker are the image's own, and the paths are the
//! same on every machine, so the programs are too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{elf, source_dir};
use crate::cache::Key;
use crate::host::{capture, forget_cargo};
use crate::tools::{Tools, remove_tree, run_logged};

/// The target of the boot selector.
pub const SELECTOR_TARGET: &str = "x86_64-unknown-uefi";

/// The target of what runs on the host.
const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// How rocket is linked: it is handed into images that have another C library, or none.
const STATIC: [&str; 2] = ["-C", "target-feature=+crt-static"];

/// What the programs are compiled from, and the profile and versions that they share.
const SOURCES: [&str; 22] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "bootloader/Cargo.toml",
    "bootloader/build.rs",
    "bootloader/src",
    "daemon/Cargo.toml",
    "daemon/src",
    "ignition/Cargo.toml",
    "ignition/src",
    "locksmith/Cargo.toml",
    "locksmith/src",
    "rocket/Cargo.toml",
    "rocket/src",
    "update-engine/Cargo.toml",
    "update-engine/src",
    // Members without a program are part of the workspace that cargo reads.
    "image/Cargo.toml",
    "qemu/Cargo.toml",
    "tests/Cargo.toml",
    "image/programs/Cargo.toml",
    "image/programs/src",
    "image/src/build/guest.rs",
];

/// The names of the one program that is the daemons and what people talk to them with.
pub const NAMES: [&str; 4] = ["locksmithctl", "locksmithd", "update-engine", "updatectl"];

/// Compiled programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Provisioning, for the initrd and for hosts.
    pub ignition: PathBuf,
    /// The boot selector, an EFI program.
    pub selector: PathBuf,
    /// The daemons, and how people talk to them.
    pub programs: PathBuf,
    /// The container runtime.
    pub rocket: PathBuf,
}

impl Programs {
    /// All of them.
    pub fn all(&self) -> [&Path; 4] {
        [&self.ignition, &self.selector, &self.programs, &self.rocket].map(PathBuf::as_path)
    }
}

/// The programs made from the sources as they are. Compiles if they are not there; object
/// files and programs are kept under `work`.
pub fn build(tools: &Tools, work: &Path) -> Result<Programs> {
    let kept = work.join("guest-programs");
    let made = kept.join(key(tools)?);
    if !made.is_dir() {
        let fresh = compile(tools, work)?;
        // Those of other sources: one set is enough.
        remove_tree(&kept)?;
        let partial = kept.join(".partial");
        fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
        elf::without_libraries(&fresh.rocket)?;
        for program in fresh.all() {
            let to = partial.join(program.file_name().unwrap_or_default());
            fs::copy(program, &to).with_context(|| format!("copying {}", program.display()))?;
        }
        fs::rename(&partial, &made).with_context(|| format!("creating {}", made.display()))?;
    }
    Ok(Programs {
        ignition: made.join("ignition"),
        programs: made.join("programs"),
        rocket: made.join("rocket"),
        selector: made.join("selector.efi"),
    })
}

/// Stands for the sources, the compiler and what the programs are linked with.
fn key(tools: &Tools) -> Result<String> {
    let mut key = Key::default();
    key.add("compiler", capture(Command::new("rustc").arg("-vV"))?)
        .add("tools", tools.id());
    for path in SOURCES {
        key.add("path", path).add_path(&source_dir().join(path))?;
    }
    Ok(key.finish())
}

fn compile(tools: &Tools, work: &Path) -> Result<Programs> {
    let target = work.join("guest-target");
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    forget_other_clone(&target)?;
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
            .arg(args[0])
            .args(["--release", "--locked", "--target", target])
            .args(["--manifest-path", "/src/Cargo.toml"])
            .args(&args[1..])
            .current_dir(source_dir())
            .env("CARGO_HOME", "/cargo")
            .env("CARGO_TARGET_DIR", "/target")
            .env("RUSTC", "/rust/bin/rustc")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTUP_TOOLCHAIN");
        forget_cargo(&mut command);
        run_logged(&mut command, log)
    };
    cargo(
        &[
            "build",
            "--package=ignition",
            "--package=programs",
            "--bins",
        ],
        HOST_TARGET,
        "cargo-programs",
    )?;
    cargo(
        &[
            &["rustc", "--package=rocket", "--bin=rocket", "--"][..],
            &STATIC,
        ]
        .concat(),
        HOST_TARGET,
        "cargo-rocket",
    )?;
    cargo(
        &[
            "build",
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
        programs: host("programs"),
        rocket: host("rocket"),
        selector: target.join(SELECTOR_TARGET).join("release/selector.efi"),
    })
}

/// Makes cargo compile our own crates again if another clone compiled last: it goes by
/// the times of files, and all clones are `/src` to it.
fn forget_other_clone(target: &Path) -> Result<()> {
    let path = target.join(".clone");
    let clone = source_dir().display().to_string();
    if fs::read_to_string(&path).is_ok_and(|last| last == clone) {
        return Ok(());
    }
    for triple in [HOST_TARGET, SELECTOR_TARGET] {
        let fingerprints = target.join(triple).join("release/.fingerprint");
        let Ok(entries) = fs::read_dir(&fingerprints) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = |member: &&str| name.to_string_lossy().starts_with(*member);
            if [
                "bootloader-",
                "daemon-",
                "ignition-",
                "locksmith-",
                "programs-",
                "rocket-",
                "update-engine-",
            ]
            .iter()
            .any(ours)
            {
                remove_tree(&entry.path())?;
            }
        }
    }
    fs::write(&path, clone).with_context(|| format!("writing {}", path.display()))
}

/// A directory named by `variable`, or `name` in the home directory.
fn home_of(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(name),
    }
}
