//! The partition table and the choice of a slot on real firmware.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bootloader::Slot;
use qemu::Vm;

use crate::context::{BOOT, Context, STEP, booted, contains};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, VERSION};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        without_an_eligible_slot_or_right_arguments_the_last_resort_boots,
        3,
        "When the only slot that may start has a destroyed kernel image, the other one boots as \
         the last resort, and the host says so. A file of kernel arguments that is wrong is \
         named, and none of them is used."
    ),
    scenario!(
        a_damaged_partition_table_boots_and_is_repaired,
        3,
        "With either copy of the partition table damaged the machine boots, and both copies are right again."
    ),
];

fn without_an_eligible_slot_or_right_arguments_the_last_resort_boots(
    context: &Context,
) -> Result<()> {
    let disk = copy(context, &context.prepared().trial_image())?;
    disk.write("boot-b", 0, &[0; 4096])?;
    disk.edit_slots(|slots| slots.disarm(Slot::A))?;
    let arguments = context.file("kargs");
    fs::write(&arguments, "+quiet\n+init=/bin/sh\n").context("writing kernel arguments")?;
    disk.write_to_esp(context, "EFI/ballast", &arguments)?;
    context.boot(&context.setup_on(&disk), |vm| {
        vm.expect("no eligible slot starts", STEP)?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "last-resort")?;
        let said = "kernel arguments of this host not used: \\EFI\\ballast\\kargs";
        contains("the console", &vm.console().text(), said)?;
        let line = vm.exec_ok("cat /proc/cmdline")?;
        contains("the command line", &line, "usrhash=")?;
        let used = ["quiet", "init=/bin/sh"]
            .into_iter()
            .find(|a| line.contains(a));
        ensure!(used.is_none(), "{used:?} is on the command line: {line}");
        Ok(())
    })
}

/// Some firmware, such as OVMF, repairs the table before the selector can.
fn a_damaged_partition_table_boots_and_is_repaired(context: &Context) -> Result<()> {
    let disk = copy(context, &context.prepared().disk_image())?;
    // Moves the backup to the end of the disk, as an earlier boot would have.
    disk.edit_table(|_| Ok(()))?;
    let table = disk.table()?;
    ensure!(table.health().is_good(), "{:?}", table.health());
    let block = u64::from(table.geometry().block_size);
    let last = table.geometry().block_count - 1;
    disk.write_at(block, &[0xff; 512])?;
    ensure!(disk.table()?.health().primary.is_some(), "nothing damaged");
    context.boot(&context.setup_on(&disk), |vm| {
        cut_when_the_kernel_runs(vm)?;
        let health = disk.table()?;
        ensure!(health.health().is_good(), "{:?}", health.health());
        disk.write_at(last * block, &[0xff; 512])?;
        ensure!(disk.table()?.health().backup.is_some(), "nothing damaged");
        vm.power_on()?;
        cut_when_the_kernel_runs(vm)?;
        let health = disk.table()?;
        ensure!(health.health().is_good(), "{:?}", health.health());
        Ok(())
    })
}

fn cut_when_the_kernel_runs(vm: &mut Vm) -> Result<()> {
    vm.expect("from slot a (normal)", STEP)?;
    Ok(vm.cut_power_when("Linux version ", STEP)?)
}

fn copy(context: &Context, image: &Path) -> Result<Disk> {
    Disk::copy(image, context.file("disk.img"), DISK_GIB)
}
