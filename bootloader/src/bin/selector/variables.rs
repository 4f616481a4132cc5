//! What the selector tells the operating system, in volatile EFI variables.

use crate::{clock, console::say};
use alloc::{format, string::ToString, vec::Vec};
use bootloader::attempt::Start;
use bootloader::kargs::Outcome;
use uefi::runtime::{self, VariableAttributes, VariableVendor};
use uefi::{CStr16, Guid, cstr16, guid};

/// systemd's boot loader interface.
const SYSTEMD: VariableVendor = VariableVendor(guid!("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"));

/// Ballast's own.
const BALLAST: VariableVendor = VariableVendor(guid!("c78ca85e-8e04-4fdc-aace-bdbd51cff996"));

/// Says which partition this program came from, by which systemd finds the disk, what
/// it is and when it began (microseconds).
pub fn announce(esp: &Guid, begun: u64) {
    set(cstr16!("LoaderDevicePartUUID"), &SYSTEMD, &esp.to_string());
    let name = format!("Ballast selector {}", env!("CARGO_PKG_VERSION"));
    set(cstr16!("LoaderInfo"), &SYSTEMD, &name);
    set(cstr16!("LoaderTimeInitUSec"), &SYSTEMD, &begun.to_string());
}

/// Says what is being started, why and when.
pub fn describe(start: Start) {
    let candidate = start.candidate;
    set(cstr16!("BallastSlot"), &BALLAST, candidate.slot.name());
    set(
        cstr16!("BallastBootReason"),
        &BALLAST,
        candidate.reason.name(),
    );
    let tries = start.tries_left.to_string();
    set(cstr16!("BallastTriesLeft"), &BALLAST, &tries);
    let now = clock::microseconds().to_string();
    set(cstr16!("LoaderTimeExecUSec"), &SYSTEMD, &now);
}

/// Says what became of this host's kernel arguments. Without any, nothing is said.
pub fn arguments(outcome: Outcome) {
    set(cstr16!("BallastKernelArguments"), &BALLAST, outcome.name());
}

/// Sets one variable to a NUL-terminated UTF-16 string. The system can boot without
/// it, so firmware that refuses is only reported.
fn set(name: &CStr16, vendor: &VariableVendor, value: &str) {
    let units = value.encode_utf16().chain([0]);
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let volatile = VariableAttributes::BOOTSERVICE_ACCESS | VariableAttributes::RUNTIME_ACCESS;
    if let Err(why) = runtime::set_variable(name, vendor, volatile, &bytes) {
        say!(
            "EFI variable {name} not set: firmware says {}",
            why.status()
        );
    }
}
