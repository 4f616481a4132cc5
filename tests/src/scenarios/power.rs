//! Power cuts during first boot.

use anyhow::Result;

use crate::config;
use crate::context::{BOOT, Context, STEP, booted};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, VERSION};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        power_cut_when_the_kernel_starts,
        4,
        "A first boot cut off when the kernel starts is done again and ends as the config says."
    ),
    scenario!(
        power_cut_while_root_is_made,
        4,
        "A first boot cut off while root is being made is done again and ends as the config says."
    ),
    scenario!(
        power_cut_when_root_was_made,
        4,
        "A first boot cut off right after root was made is done again and ends as the config says."
    ),
    scenario!(
        power_cut_in_the_middle_of_provisioning,
        4,
        "A first boot cut off in the middle of writing files is done again and ends as the config says."
    ),
    scenario!(
        power_cut_when_the_host_starts,
        4,
        "A first boot cut off right after the switch to the host goes on and ends as the config says."
    ),
];

fn power_cut_when_the_kernel_starts(context: &Context) -> Result<()> {
    cut_when(context, "Linux version ")
}

fn power_cut_while_root_is_made(context: &Context) -> Result<()> {
    cut_when(context, "Starting systemd-repart.service")
}

fn power_cut_when_root_was_made(context: &Context) -> Result<()> {
    cut_when(context, "Finished systemd-repart.service")
}

fn power_cut_in_the_middle_of_provisioning(context: &Context) -> Result<()> {
    cut_when(context, "ignition: wrote path=/etc/e2e/deep/er/file-101")
}

fn power_cut_when_the_host_starts(context: &Context) -> Result<()> {
    cut_when(context, "Welcome to ")
}

fn cut_when(context: &Context, moment: &str) -> Result<()> {
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    let config = context.config(&config::large("ssh-ed25519 AAAA nobody"))?;
    context.boot(&context.setup_on(&disk).ignition(config), |vm| {
        vm.cut_power_when(moment, STEP)?;
        vm.power_on()?;
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        config::check_large(vm)
    })
}
