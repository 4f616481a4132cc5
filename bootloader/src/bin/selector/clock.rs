//! Time since power-on, as systemd counts it: the processor's time-stamp counter.

#![allow(unsafe_code)]

use core::{
    arch::x86_64::{__cpuid, _rdtsc},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use uefi::boot;

/// Ticks per second, once known.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

const PER_SECOND: u64 = 1_000_000;

/// Microseconds since power-on; 0 if the counter does not count.
pub fn microseconds() -> u64 {
    let ticks = ticks();
    let frequency = match FREQUENCY.load(Ordering::Relaxed) {
        0 => {
            let frequency = stated_frequency().unwrap_or_else(measured_frequency);
            FREQUENCY.store(frequency, Ordering::Relaxed);
            frequency
        }
        known => known,
    };
    if frequency == 0 {
        return 0;
    }
    ticks / frequency * PER_SECOND + ticks % frequency * PER_SECOND / frequency
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and firmware runs in ring 0,
    // where reading it is never disabled.
    unsafe { _rdtsc() }
}

/// What the processor says (Intel SDM, CPUID leaf 15H), if it does.
fn stated_frequency() -> Option<u64> {
    const LEAF: u32 = 0x15;
    if __cpuid(0).eax < LEAF {
        return None;
    }
    let leaf = __cpuid(LEAF);
    let crystal = u64::from(leaf.ecx) * u64::from(leaf.ebx);
    crystal
        .checked_div(u64::from(leaf.eax))
        .filter(|frequency| *frequency > 0)
}

/// Counted over one millisecond of the firmware's clock.
fn measured_frequency() -> u64 {
    let start = ticks();
    boot::stall(Duration::from_millis(1));
    ticks().saturating_sub(start) * 1000
}
