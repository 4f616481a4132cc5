//! Tests that change this host for a while, without a virtual machine: rocket's, which make
//! containers, and locksmith's, which cut a cluster of etcd into pieces.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use image::host::{self, Need, capture};
use image::tools::Tools;
use object::read::{File as Binary, Object as _};

use crate::etcd;
use crate::report::End;
use crate::runner::{cargo_test, succeed};

const IP: Need = Need {
    program: "ip",
    package: "iproute2",
    why: "to make networks and look at them",
};

/// What containers' tests call.
const NEEDS: [Need; 4] = [
    IP,
    Need {
        program: "busybox",
        package: "busybox-static",
        why: "to have something to run in containers",
    },
    Need {
        program: "strace",
        package: "strace",
        why: "to kill rocket at each of its steps",
    },
    Need {
        program: "nft",
        package: "nftables",
        why: "to have ports of pods",
    },
];

/// What takes minutes has this in its name.
const LONG: &str = "five_hundred";

/// When tests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Always: those that are quick.
    EveryRun,
    /// When they are named: the others.
    ByName,
}

/// Runs the tests of the lock in real etcd, if this host can.
pub fn lock() -> End {
    if !host::is_root() {
        return End::Skipped("networks are made as root only".to_owned());
    }
    let mut unshare = Command::new("unshare");
    if let Err(error) = capture(unshare.args(["--net", "--mount", "true"])) {
        return End::Skipped(format!("this host makes no namespaces: {error:#}"));
    }
    if let Err(error) = host::ensure(&[IP]) {
        return End::Skipped(format!("{error:#}"));
    }
    test_the_lock().into()
}

fn test_the_lock() -> Result<()> {
    let etcd = etcd::tools(&Tools::ensure()?)?.file("/usr/bin/etcd");
    let mut cargo = cargo_test();
    cargo.env("ETCD", etcd);
    succeed(cargo.args(["--test", "etcd"]))
}

/// Runs the tests of containers, if this host can.
pub fn containers(on: On) -> End {
    if let Some(why) = refusal() {
        return End::Skipped(why);
    }
    match ready() {
        Ok(None) => test_containers(on).into(),
        Ok(Some(why)) => End::Skipped(why),
        Err(error) => End::Failed(error),
    }
}

/// Why this process or this kernel makes no containers, if so.
fn refusal() -> Option<String> {
    if !host::is_root() {
        return Some("containers are made as root only".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts.contains(" - cgroup2 ") {
        return Some("this host has no control groups of version 2".to_owned());
    }
    // As the tests do; sandboxes forbid it, or have a kernel without these.
    let namespaces = [
        "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--user", "--fork",
    ];
    let mut unshare = Command::new("unshare");
    if let Err(error) = capture(unshare.args(namespaces).arg("true")) {
        return Some(format!("this host makes no namespaces: {error:#}"));
    }
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    // A module is loaded by who asks for it first.
    let has_overlay =
        systems.contains("\toverlay\n") || capture(Command::new("modprobe").arg("overlay")).is_ok();
    (!has_overlay).then(|| "this kernel has no overlayfs".to_owned())
}

/// Makes sure of the programs. Elsewhere than on Debian, and with a busybox that needs
/// libraries, says what to install.
fn ready() -> Result<Option<String>> {
    if let Err(error) = host::ensure(&NEEDS) {
        return Ok(Some(format!("{error:#}")));
    }
    let busybox = Path::new("/bin/busybox");
    let bytes = match fs::read(busybox) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Some(format!("{}: {error}", busybox.display()))),
    };
    let program = Binary::parse(&*bytes).context("reading /bin/busybox")?;
    let is_static = program.section_by_name(".interp").is_none();
    Ok((!is_static).then(|| {
        "/bin/busybox needs libraries, which containers do not have: install one without \
         (Debian: busybox-static)"
            .to_owned()
    }))
}

fn test_containers(on: On) -> Result<()> {
    let mut cargo = cargo_test();
    cargo.args(["--test", "oci", "--test", "pods", "--"]);
    succeed(cargo.args(filter(on)))
}

/// Words for the tests' own command line.
fn filter(on: On) -> Vec<&'static str> {
    match on {
        On::EveryRun => vec!["--skip", LONG],
        On::ByName => vec![LONG],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_in_one_of_the_two() {
        assert_eq!(filter(On::EveryRun), ["--skip", "five_hundred"]);
        assert_eq!(filter(On::ByName), ["five_hundred"]);
    }
}
