//! Configs that stop first boot: said on the console, nothing written, no loop.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use image::host::capture;
use qemu::Setup;
use serde_json::{Value, json};

use crate::context::{Context, STEP, contains};
use crate::disk::Disk;
use crate::http::Server;
use crate::scenario::{Scenario, scenario};
use crate::trial::DISK_GIB;

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        a_malformed_config_stops_first_boot_and_names_the_place,
        3,
        "A malformed config stops the machine with source, line, column and key, and nothing is written."
    ),
    scenario!(
        an_argument_about_which_system_runs_is_refused,
        3,
        "init= as a kernel argument is refused by name before anything is written."
    ),
    scenario!(
        the_disk_that_the_host_runs_from_is_not_wiped,
        3,
        "A config that would wipe the running system's disk stops the machine, and the disk is as it was."
    ),
    scenario!(
        a_file_system_that_is_in_the_way_is_named_and_kept,
        3,
        "A file system that may not be wiped stops the machine with what it is and what to set; no other disk was written."
    ),
    scenario!(
        a_fetched_config_with_a_wrong_hash_stops_first_boot,
        3,
        "A config from the network that does not match its hash stops the machine with both hashes, \
         and whoever the config names is told."
    ),
];

/// How long the machine is watched for a reboot that must not come, and for
/// anything over the message; scaled. Twice the countdown of a boot that failed.
const STAYS: Duration = Duration::from_secs(4);

/// The path that must not appear.
pub(super) const WITNESS: &str = "/etc/e2e-witness";

fn a_malformed_config_stops_first_boot_and_names_the_place(context: &Context) -> Result<()> {
    // The mode on line 6 is a text.
    let text = format!(
        "{{\n  \"ignition\": {{ \"version\": \"3.6.0\" }},\n  \"storage\": {{\n    \"files\": [\n      \
         {{ \"path\": \"{WITNESS}\" }},\n      {{ \"path\": \"/etc/x\", \"mode\": \"0644\" }}\n    ]\n  }}\n}}\n"
    );
    let config = context.config_text(&text)?;
    let parts = ["fw_cfg", "line 6", "column", "storage.files.1.mode"];
    stops(context, |setup| setup.ignition(config), &parts).map(drop)
}

fn an_argument_about_which_system_runs_is_refused(context: &Context) -> Result<()> {
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "kernelArguments": { "shouldExist": ["net.ifnames=0", "init=/bin/sh"] },
        "storage": { "files": [{ "path": WITNESS }] }
    });
    let config = context.config(&config)?;
    let parts = [
        "key kernelArguments.shouldExist.1",
        "is not for a host to change: it says which program starts first; remove it",
    ];
    stops(context, |setup| setup.ignition(config), &parts).map(drop)
}

fn the_disk_that_the_host_runs_from_is_not_wiped(context: &Context) -> Result<()> {
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "storage": {
            "files": [{ "path": WITNESS }],
            "disks": [{ "device": "/dev/vda", "wipeTable": true }]
        }
    });
    let config = context.config(&config)?;
    let parts = ["storage.disks.0", "its table is not wiped: partition"];
    let disk = stops(context, |setup| setup.ignition(config), &parts)?;
    ensure!(disk.find("root")?.is_some(), "root is gone");
    Ok(())
}

fn a_file_system_that_is_in_the_way_is_named_and_kept(context: &Context) -> Result<()> {
    let disks = ["used.img", "empty.img"].map(|name| context.file(name));
    for path in &disks {
        let file = File::create(path).context("creating a disk")?;
        file.set_len(64 << 20).context("sizing a disk")?;
    }
    let mut mkfs = context.tool("mkfs.ext4");
    capture(mkfs.args(["-q", "-F", "-L", "old"]).arg(&disks[0]))?;
    let contents = || disks.each_ref().map(std::fs::read);
    let before = contents();
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "storage": {
            "files": [{ "path": WITNESS }],
            "disks": [{ "device": "/dev/vdc", "partitions": [{ "label": "new" }] }],
            "filesystems": [
                { "device": "/dev/disk/by-partlabel/new", "format": "ext4" },
                { "device": "/dev/vdb", "format": "xfs", "path": "/var/lib/data" }]
        }
    });
    let config = context.config(&config)?;
    let parts = [
        "storage.filesystems.1",
        "/dev/vdb holds ext4, label \"old\"",
        "set wipeFilesystem",
    ];
    let with = |setup: Setup| {
        let setup = setup.ignition(config);
        disks.iter().fold(setup, Setup::extra_disk)
    };
    stops(context, with, &parts)?;
    for (before, after) in before.into_iter().zip(contents()) {
        let same = before.context("reading a disk")? == after.context("reading a disk")?;
        ensure!(same, "a disk was changed");
    }
    Ok(())
}

fn a_fetched_config_with_a_wrong_hash_stops_first_boot(context: &Context) -> Result<()> {
    let child = br#"{ "ignition": { "version": "3.6.0" } }"#.to_vec();
    let told = ("told".to_string(), b"thanks".to_vec());
    let server = Server::start(BTreeMap::from([("child.ign".to_string(), child), told]))?;
    let wrong = "0".repeat(64);
    let config = json!({
        "ignition": { "version": "3.6.0", "config": { "merge": [{
            "source": server.url("child.ign"),
            "verification": { "hash": format!("sha256-{wrong}") } }] } },
        "storage": { "files": [{ "path": WITNESS }, {
            "path": "/etc/ballast/provisioning-report-url",
            "contents": { "source": format!("data:,{}", server.url("told")) } }] }
    });
    let config = context.config(&config)?;
    let url = server.url("child.ign");
    stops(context, |setup| setup.ignition(config), &[&url, &wrong])?;
    ensure!(
        server.requests() == ["child.ign", "told"],
        "asked {:?}",
        server.requests()
    );
    let told = server.sent("told").concat();
    let told: Value = serde_json::from_slice(&told).context("what was told is not JSON")?;
    ensure!(told["stage"] == "fetch" && told["final"] == true, "{told}");
    contains("what was told", &told.to_string(), &wrong)
}

/// Fails unless first boot stops saying all of `parts`, does not reboot, and
/// leaves no trace of the config on the disk, which it returns.
pub(super) fn stops(
    context: &Context,
    with: impl FnOnce(Setup) -> Setup,
    parts: &[&str],
) -> Result<Disk> {
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    context.boot(&with(context.setup_on(&disk)), |vm| {
        vm.expect_despite_failure("first boot failed", STEP)?;
        let last = "ballast: nothing more happens on this machine";
        vm.expect_despite_failure(last, STEP)?;
        let text = vm.console().text();
        for part in parts {
            contains("the console", &text, part)?;
        }
        let rebooted = vm.wait_reboot(STAYS);
        ensure!(rebooted.is_err(), "the machine rebooted");
        ensure!(vm.console().is_running(), "the machine went off");
        let over = "Job emergency.service";
        let text = vm.console().text();
        ensure!(!text.contains(over), "`{over}` is shown over the message");
        Ok(vm.cut_power()?)
    })?;
    if disk.find("root")?.is_none() {
        return Ok(disk);
    }
    for path in [WITNESS, "/etc/.ignition-result.json", "/etc/passwd"] {
        let said = disk.debugfs(context, &format!("stat {path}"))?;
        ensure!(
            said.contains("File not found"),
            "{path} on the disk: {said}"
        );
    }
    Ok(disk)
}
