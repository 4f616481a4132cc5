//! The selector: the first program that the firmware starts from a Ballast disk.
//!
//! Finds the disk it came from, chooses a slot, records the try, loads that slot's
//! kernel image and starts it, with this host's kernel arguments. What it decides is in the library `bootloader`; here
//! it only reads, calls and boots. Normally it prints one line.

#![no_std]
#![no_main]

extern crate alloc;

#[cfg(not(target_os = "uefi"))]
compile_error!("the selector builds only with --target x86_64-unknown-uefi");

use bootloader::{Gpt, Slot, SlotTable, attempt};
use core::{panic::PanicInfo, time::Duration};
use machine::Firmware;
use trouble::Trouble;
use uefi::{Status, boot, runtime};

mod arguments;
mod clock;
mod console;
mod disk;
mod machine;
mod pages;
mod trouble;
mod variables;

use console::say;

/// Seconds until the firmware resets a machine on which loading or starting hangs.
/// The kernel ends this watch when it takes over (ExitBootServices).
const WATCHDOG_SECONDS: usize = 300;

/// Above the codes that the firmware has for itself.
const WATCHDOG_CODE: u64 = 0x1_0000;

/// How long people get to read why nothing starts.
const READING_TIME: Duration = Duration::from_secs(10);

#[uefi::entry]
fn main() -> Status {
    let begun = clock::microseconds();
    if boot::set_watchdog_timer(WATCHDOG_SECONDS, WATCHDOG_CODE, None).is_err() {
        say!("no firmware watchdog: a hang while loading will not be noticed");
    }
    match boot_some_slot(begun) {
        Ok(table) => explain(&table),
        Err(why) => say!("cannot choose a slot: {why}"),
    }
    say!("To recover, start this machine from other media and write a release to this disk.");
    say!("Returning to the firmware in 10 s, which may have another boot option.");
    boot::stall(READING_TIME);
    Status::LOAD_ERROR
}

/// Starts a slot. Returns only if none starts.
fn boot_some_slot(begun: u64) -> Result<SlotTable, Trouble> {
    let (mut disk, esp) = disk::own_disk()?;
    let mut gpt = Gpt::read(&mut disk).map_err(Trouble::table)?;
    let mut table = SlotTable::from_gpt(&gpt).map_err(Trouble::table)?;
    repair(&mut gpt, &mut disk);
    variables::announce(&esp, begun);
    attempt::run(&mut Firmware::new(disk, gpt, esp), &mut table);
    Ok(table)
}

/// Sets a wrong copy of the partition table right, and says so. A copy that stays
/// wrong does not stop the boot.
fn repair(gpt: &mut Gpt, disk: &mut disk::Disk) {
    let health = gpt.health();
    for (which, why) in [("primary", &health.primary), ("backup", &health.backup)] {
        if let Some(why) = why {
            say!("{which} partition table is wrong: {why}");
        }
    }
    if health.differ {
        say!("the two partition tables differ, the primary counts");
    }
    match gpt.repair(disk) {
        Ok(None) => {}
        Ok(Some(which)) => say!("{which} partition table repaired"),
        Err(why) => say!("partition table not repaired: {}", trouble::Chain(&why)),
    }
}

/// Says that nothing starts, and the state that led there.
fn explain(table: &SlotTable) {
    say!("NO SLOT OF THIS DISK CAN BE STARTED.");
    for slot in Slot::ALL {
        let bits = table.bits(slot);
        let successful = if bits.successful { "" } else { "not " };
        say!(
            "  slot {slot}: priority {}, tries left {}, {successful}successful",
            bits.priority,
            bits.tries
        );
    }
}

/// Resets the machine: a slot on trial has lost its try already, so the next boot
/// falls back.
///
/// Says neither message nor place: both would put paths of the build machine into
/// the program, and the same source would no longer give the same bytes everywhere.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    say!("THE SELECTOR ITSELF FAILED. Restarting in 10 s.");
    boot::stall(READING_TIME);
    runtime::reset(runtime::ResetType::COLD, Status::ABORTED, None)
}
