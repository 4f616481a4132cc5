//! Trials that fail end, without a human, on the slot that worked.

use image::host::capture;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;

use super::update;
use crate::context::{BOOT, Context, STEP, booted, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, TRIAL_VERSION, VERSION};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        a_panicking_trial_ends_on_the_other_slot,
        6,
        "An armed slot b is booted once; a kernel panic in it ends on slot a."
    ),
    scenario!(
        a_hanging_trial_ends_on_the_other_slot,
        6,
        "A hang in a trial is ended by the hardware watchdog, on slot a."
    ),
    scenario!(
        a_trial_is_kept_where_the_engine_is_masked,
        3,
        "A healthy trial whose operator masked update-engine is blessed nevertheless."
    ),
    scenario!(
        a_trial_with_a_corrupt_kernel_image_ends_on_the_other_slot,
        3,
        "One flipped bit in the middle of a trial's UKI ends on slot a, and the UKI is not started."
    ),
    scenario!(
        a_trial_with_a_corrupt_usr_block_ends_on_the_other_slot,
        4,
        "One flipped bit in a program of a trial's /usr ends on slot a."
    ),
    scenario!(
        a_trial_whose_initrd_fails_ends_on_the_other_slot,
        4,
        "A trial whose /usr cannot be verified fails in the initrd, says so and ends on slot a."
    ),
];

/// How long a watchdog of 60 s and the reboot may take; scaled.
const HANG: Duration = Duration::from_secs(60);

fn a_panicking_trial_ends_on_the_other_slot(context: &Context) -> Result<()> {
    on_trial(context, |vm| {
        let facts = vm.exec_ok(
            ". /usr/lib/ballast/boot-info; . /etc/os-release; \
             echo $IMAGE_VERSION $slot $reason $tries_left",
        )?;
        let expected = format!("{TRIAL_VERSION} b normal 0");
        same("what is on trial", &facts, &expected)?;
        vm.start("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")?;
        vm.expect_despite_failure("Kernel panic - not syncing", STEP)?;
        vm.wait_reboot(STEP)?;
        ensure!(!vm.watchdog_fired()?, "the watchdog had to help");
        falls_back(vm)
    })
}

fn a_hanging_trial_ends_on_the_other_slot(context: &Context) -> Result<()> {
    on_trial(context, |vm| {
        // PID 1 stops, and nobody tells the watchdog any more that all is well.
        vm.start("echo 1 > /sys/fs/cgroup/init.scope/cgroup.freeze")?;
        vm.wait_reboot(HANG)?;
        ensure!(vm.watchdog_fired()?, "it was not the watchdog");
        falls_back(vm)
    })
}

fn a_trial_is_kept_where_the_engine_is_masked(context: &Context) -> Result<()> {
    on_trial(context, |vm| {
        vm.exec_ok("systemctl mask --runtime --now update-engine.service")?;
        let said = vm.exec_ok("update-engine bless 2>&1")?;
        contains("what is said", &said, "update-engine.service is masked")?;
        vm.exec_ok("systemctl unmask --runtime update-engine.service")?;
        vm.exec_ok("systemctl start update-engine.service")?;
        update::blessed(vm, TRIAL_VERSION, "b").map(drop)
    })
}

/// Runs `test` in the second release, booted from slot b with no try left, where nobody
/// will bless it.
fn on_trial(context: &Context, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
    let setup = context
        .setup_of(&context.prepared().trial_image())
        .kernel_argument("systemd.mask=ballast-bless.service");
    context.warm(&setup, test)
}

/// Fails unless the next boot that succeeds is slot a's.
fn falls_back(vm: &mut Vm) -> Result<()> {
    let boot = vm.wait_boot_complete_despite_failure(BOOT)?;
    booted(&boot, VERSION, "a", "fallback")
}

fn a_trial_with_a_corrupt_kernel_image_ends_on_the_other_slot(context: &Context) -> Result<()> {
    let size = std::fs::metadata(context.prepared().trial_file("boot.efi"))?.len();
    let text = damaged(context, |disk| disk.flip("boot-b", size / 2), &["damaged"])?;
    ensure!(!text.contains(TRIAL_VERSION), "the damaged UKI was started");
    Ok(())
}

fn a_trial_with_a_corrupt_usr_block_ends_on_the_other_slot(context: &Context) -> Result<()> {
    let program = "/lib/systemd/systemd-networkd";
    let offset = offset_in_usr(context, program)?;
    let damage = |disk: &Disk| disk.flip("usr-b", offset + 64);
    let parts = [
        "from slot b (normal)",
        "Kernel panic - not syncing",
        "verity",
    ];
    damaged(context, damage, &parts).map(drop)
}

fn a_trial_whose_initrd_fails_ends_on_the_other_slot(context: &Context) -> Result<()> {
    let damage = |disk: &Disk| disk.write("usr-b-verity", 0, &[0; 1 << 20]);
    let parts = ["from slot b (normal)", "ballast: initrd failed: "];
    damaged(context, damage, &parts).map(drop)
}

/// Boots a damaged trial; fails unless it ends on slot a and the console says
/// all of `parts`. Returns the console.
fn damaged(
    context: &Context,
    damage: impl FnOnce(&Disk) -> Result<()>,
    parts: &[&str],
) -> Result<String> {
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().trial_image(), disk, DISK_GIB)?;
    damage(&disk)?;
    let mut text = String::new();
    context.boot(&context.setup_on(&disk), |vm| {
        falls_back(vm)?;
        text = vm.console().text();
        parts
            .iter()
            .try_for_each(|part| contains("the console", &text, part))
    })?;
    Ok(text)
}

/// Where in the second release's `usr.img` the first block of `path` is.
fn offset_in_usr(context: &Context, path: &str) -> Result<u64> {
    let mut dump = context.tool("dump.erofs");
    dump.arg("-e").arg(format!("--path={path}"));
    let text = capture(dump.arg(context.prepared().trial_file("usr.img")))?;
    first_extent(&text).with_context(|| format!("dump.erofs shows no block of {path}: {text}"))
}

/// Reads ` 0:  0.. 12345 | 12345 :  4096.. 16441 | 12345` from the output of
/// `dump.erofs -e`.
fn first_extent(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("0:"))?;
    let physical = line.split('|').nth(1)?.split(':').nth(1)?;
    physical.split("..").next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::first_extent;

    #[test]
    fn the_first_extent_is_read() {
        let text = " Ext:   logical offset   |  length :     physical offset    |  length\n   \
            0:        0..   12288 |   12288 :   5799936..   5812224 |   12288\n";
        assert_eq!(first_extent(text), Some(5_799_936));
        assert_eq!(first_extent("nothing"), None);
    }
}
