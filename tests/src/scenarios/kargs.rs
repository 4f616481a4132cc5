//! Kernel arguments of a host: from its config, and when they are wrong.

use anyhow::{Result, ensure};
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{BOOT, Context, STEP, contains};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::DISK_GIB;

pub const SCENARIOS: &[Scenario] = &[scenario!(
    an_argument_with_which_nothing_boots_is_given_up,
    10,
    "A kernel argument that keeps /usr from being mounted is tried three times; then the \
     machine boots without it and first boot says so."
)];

/// Kernel arguments for a config; [`hold`] looks for them.
pub fn wanted() -> Value {
    json!({
        "shouldExist": ["e2e.text=\"two words\"", "net.ifnames=0", "panic=10"],
        "shouldNotExist": ["oops=panic", "e2e.never"]
    })
}

/// Fails unless the arguments of [`wanted`] hold.
pub fn hold(vm: &mut Vm) -> Result<()> {
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
    ensure!(!line.contains("oops=panic"), "oops=panic is left: {line}");
    Ok(())
}

/// Fails unless the selector has started a kernel this often.
pub fn started(vm: &Vm, times: usize) -> Result<()> {
    let text = vm.console().text();
    let found = text.matches("ballast: booting ").count();
    ensure!(found == times, "{found} kernels started, not {times}");
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
        started(vm, 5)?;
        Ok(vm.cut_power()?)
    })?;
    let said = disk.debugfs(context, "stat /etc/.ignition-result.json")?;
    contains("the disk", &said, "File not found")
}
