//! `cargo vm` with the example config, as the documentation shows it.

use anyhow::{Context as _, Result, ensure};

use crate::context::{Context, contains};
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    the_example_runs_with_cargo_vm,
    4,
    "cargo vm boots examples/single-host.ign, runs commands in it and passes on their exit status."
)];

/// A status that no shell makes up.
const STATUS: i32 = 77;

fn the_example_runs_with_cargo_vm(context: &Context) -> Result<()> {
    let mut vm = image::host::cargo();
    vm.args(["vm", "--", "--ignition", "examples/single-host.ign"])
        .arg("--image")
        .arg(context.prepared().disk_image())
        .args(["--exec", "systemctl is-system-running --wait"])
        .args(["--exec", "findmnt -no FSTYPE,OPTIONS /usr"])
        .args(["--exec", "cat /etc/os-release"])
        .args(["--exec", "systemctl is-active hello.service; hostname"])
        .args(["--exec", &format!("exit {STATUS}")])
        .args(["--exec", "echo not reached"])
        .current_dir(image::build::source_dir());
    let output = vm.output().context("starting cargo vm")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(STATUS),
        "cargo vm ended with {}: {stdout}{stderr}",
        output.status
    );
    let mut lines = stdout.lines();
    let state = lines.next().unwrap_or_default();
    ensure!(state == "running", "the host is {state:?}");
    let usr = lines.next().unwrap_or_default();
    ensure!(
        usr.starts_with("erofs") && usr.contains("ro,"),
        "/usr is {usr:?}"
    );
    contains("os-release", &stdout, "\nID=ballast\n")?;
    contains("the example's host", &stdout, "active\nballast-example\n")?;
    ensure!(!stdout.contains("not reached"), "went on after a failure");
    for stage in ["selector", "kernel", "initrd", "host", "boot complete"] {
        contains("progress", &stderr, stage)?;
    }
    Ok(())
}
