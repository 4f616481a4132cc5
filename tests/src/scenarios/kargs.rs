//! Kernel arguments of a host: from its config, and when they are wrong.

use anyhow::{Result, ensure};
use qemu::Vm;
use serde_json::json;

use crate::context::{BOOT, Context, STEP, booted, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, VERSION};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        an_argument_with_which_nothing_boots_is_given_up,
        10,
        "A kernel argument that keeps /usr from being mounted is tried three times; then the \
         machine boots without it and first boot says so."
    ),
    scenario!(
        kernel_arguments_hold_after_one_reboot,
        6,
        "Kernel arguments of a config are on the command line after exactly one reboot, the \
         rest of the config is carried out, and later boots have them without another one."
    ),
    scenario!(
        a_wrong_file_of_arguments_is_ignored_and_named,
        3,
        "A host whose file of kernel arguments is damaged boots without them and says so."
    ),
];

/// What the selector says of each boot.
const SELECTED: &str = "ballast: booting ";

fn kernel_arguments_hold_after_one_reboot(context: &Context) -> Result<()> {
    let config = context.config(&json!({
        "ignition": { "version": "3.6.0" },
        "kernelArguments": {
            "shouldExist": ["e2e.text=\"two words\"", "net.ifnames=0", "panic=10"],
            "shouldNotExist": ["loglevel=6", "e2e.never"]
        },
        "storage": { "files": [
            { "path": "/etc/e2e", "contents": { "source": "data:,done" } }] }
    }))?;
    context.boot(&context.setup().ignition(config), |vm| {
        vm.wait_reboot(BOOT)?;
        vm.expect("kernel arguments of this host: +e2e.text=", STEP)?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        count(vm, SELECTED, 2)?;
        holds(vm)?;
        same("a file of the config", &vm.exec_ok("cat /etc/e2e")?, "done")?;
        let before = vm.exec_ok("cat /etc/.ignition-result.json")?;
        vm.start("systemctl reboot")?;
        vm.wait_reboot(STEP)?;
        vm.wait_boot_complete(BOOT)?;
        count(vm, SELECTED, 3)?;
        holds(vm)?;
        let after = vm.exec_ok("cat /etc/.ignition-result.json")?;
        same("the record", &after, &before)?;
        let running = vm.exec("systemctl is-system-running --wait")?;
        same("the state of the system", &running.stdout, "running")
    })
}

/// Fails unless the arguments of that config hold.
fn holds(vm: &mut Vm) -> Result<()> {
    let line = vm.exec_ok("cat /proc/cmdline")?;
    for part in [
        " e2e.text=\"two words\" net.ifnames=0",
        "panic=10 ",
        "usrhash=",
    ] {
        contains("the command line", &line, part)?;
    }
    let times = line.matches("panic=10").count();
    ensure!(times == 1, "panic=10 is there {times} times: {line}");
    ensure!(!line.contains("loglevel=6"), "loglevel=6 is left: {line}");
    Ok(())
}

fn an_argument_with_which_nothing_boots_is_given_up(context: &Context) -> Result<()> {
    let config = context.config(&json!({
        "ignition": { "version": "3.6.0" },
        "kernelArguments": { "shouldExist": ["module_blacklist=erofs"] }
    }))?;
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    context.boot(&context.setup_on(&disk).ignition(config), |vm| {
        for _ in 0..3 {
            vm.expect_despite_failure("kernel arguments of this host: +module", BOOT)?;
            vm.expect_despite_failure("ballast: initrd failed: ", BOOT)?;
        }
        let given_up = "kernel arguments of this host not used: the machine did not come up";
        vm.expect_despite_failure(given_up, BOOT)?;
        vm.expect_despite_failure("first boot failed", BOOT)?;
        let last = "ballast: nothing more happens on this machine";
        vm.expect_despite_failure(last, STEP)?;
        let text = vm.console().text();
        let advice = "the machine did not come up with them; remove the ones that it does not";
        contains("the console", &text, advice)?;
        count(vm, SELECTED, 5)?;
        Ok(vm.cut_power()?)
    })?;
    let said = disk.debugfs(context, "stat /etc/.ignition-result.json")?;
    contains("the disk", &said, "File not found")
}

fn a_wrong_file_of_arguments_is_ignored_and_named(context: &Context) -> Result<()> {
    let disk = Disk::at(context.file("disk.img"));
    context.warm(&context.setup_lived(&disk), |vm| {
        let before = vm.exec_ok("cat /proc/cmdline")?;
        vm.exec_ok(
            "mount /dev/disk/by-partlabel/esp /mnt && mkdir -p /mnt/EFI/ballast && \
             printf '+quiet\\n+init=/bin/sh\\n' > /mnt/EFI/ballast/kargs && umount /mnt",
        )?;
        vm.start("systemctl reboot")?;
        vm.wait_reboot(STEP)?;
        let said = "kernel arguments of this host not used: \\EFI\\ballast\\kargs";
        vm.expect(said, STEP)?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        let after = vm.exec_ok("cat /proc/cmdline")?;
        same("the command line", &after, &before)
    })
}

/// Fails unless the console has shown `text` this often.
fn count(vm: &Vm, text: &str, expected: usize) -> Result<()> {
    let found = vm.console().text().matches(text).count();
    ensure!(found == expected, "{text:?} {found} times, not {expected}");
    Ok(())
}
