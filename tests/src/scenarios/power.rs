//! Power cuts during first boot.

use anyhow::{Context as _, Result};

use crate::config;
use crate::context::{BOOT, Context, booted};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, VERSION};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    a_first_boot_cut_off_at_five_moments_ends_as_the_config_says,
    8,
    "The power cut when the kernel starts, while root is made, when it was made, in the middle \
     of writing files and right after the switch to the host: each boot gets further than the \
     last one, and the host ends as the config says."
)];

/// Moments of a first boot in their order. A boot that reaches one has made good what the
/// cut before it left behind.
const MOMENTS: [&str; 5] = [
    "Linux version ",
    "Starting systemd-repart.service",
    "Finished systemd-repart.service",
    "ignition: wrote path=/etc/e2e/deep/er/file-101",
    "Welcome to ",
];

fn a_first_boot_cut_off_at_five_moments_ends_as_the_config_says(context: &Context) -> Result<()> {
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    let config = context.config(&config::large("ssh-ed25519 AAAA nobody"))?;
    context.boot(&context.setup_on(&disk).ignition(config), |vm| {
        for moment in MOMENTS {
            vm.cut_power_when(moment, BOOT)
                .with_context(|| format!("waiting to cut the power at {moment:?}"))?;
            vm.power_on()?;
        }
        let boot = vm.wait_boot_complete(BOOT)?;
        booted(&boot, VERSION, "a", "normal")?;
        config::check_large(vm)
    })
}
