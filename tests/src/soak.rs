//! Power cuts at random moments of updates, for as long as one likes.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use bootloader::choose;
use qemu::Vm;

use crate::context::{BOOT, Context};
use crate::disk::Disk;
use crate::repository::Repository;
use crate::trial::{DISK_GIB, LATER_VERSION, TRIAL_VERSION, VERSION, slot_holds};

/// Between the wish for a release and the power cut, at most. An update with its trial
/// takes less where there is no hardware virtualisation.
const SPAN: Duration = Duration::from_secs(150);

/// Versions that the host goes to in turn; some of the steps are downgrades.
const TOUR: [&str; 3] = [TRIAL_VERSION, LATER_VERSION, VERSION];

/// Updates a host again and again, and cuts its power `cuts` times. After each cut the
/// slot that the selector chooses must hold a release whole, and the host must come up
/// and say which.
pub fn soak(context: &Context, cuts: u32) -> Result<()> {
    let repository = Repository::start(context)?;
    for version in TOUR {
        repository.publish(version)?;
    }
    let keys = "enabled = false\npoll = \"5s\"\nreboot = \"immediately\"";
    let config = context.config(&repository.config(keys))?;
    let disk = context.file("disk.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    println!("e2e: soak: seed {seed}");
    let mut random = Random(seed | 1);
    context.boot(&context.setup_on(&disk).ignition(config), |vm| {
        vm.wait_boot_complete(BOOT)?;
        for cut in 1..=cuts {
            let goal = TOUR[random.below(TOUR.len() as u64) as usize];
            wish(vm, goal)?;
            let after = Duration::from_millis(random.below(SPAN.as_millis() as u64));
            // Chance is the point here: there is no event to wait for.
            thread::sleep(after);
            vm.cut_power()?;
            let slot = choose(&disk.slots()?).first.slot;
            let held = slot_holds(context.prepared(), &disk, slot)?;
            vm.power_on()?;
            let boot = vm.wait_boot_complete_despite_failure(BOOT * 2)?;
            println!(
                "e2e: soak: {cut} of {cuts}: on the way to {goal}, cut after {:.1} s: slot {slot} \
                 held {held}, {} came up in slot {} ({})",
                after.as_secs_f64(),
                boot.version,
                boot.slot,
                boot.reason
            );
            ensure!(
                TOUR.contains(&boot.version.as_str()),
                "a version came up that was never published: {boot:?}"
            );
        }
        Ok(())
    })
}

/// Asks for a release, whatever goes on and was denied.
fn wish(vm: &mut Vm, version: &str) -> Result<()> {
    // What is refused here is what an earlier cut left: nothing to cancel, not denied.
    vm.exec("updatectl cancel")?;
    vm.exec(&format!("updatectl allow {version}"))?;
    let apply = format!("updatectl apply --no-wait --allow-downgrade {version}");
    let asked = vm.exec(&apply)?;
    ensure!(
        [0, 4].contains(&asked.status),
        "{apply}: {}",
        asked.stderr.trim()
    );
    Ok(())
}

/// xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
