//! How the guest's CPU is run: by the hardware or by translation.

use std::fmt;
use std::fs::{self, OpenOptions};

/// Acceleration that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accel {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// Hardware virtualisation; fails where there is none.
    Kvm,
    /// QEMU's translator, everywhere.
    Tcg,
}

/// Acceleration that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (no KVM)",
        })
    }
}

impl Accel {
    /// Settles `Auto` by looking at this machine.
    pub fn settle(self) -> Engine {
        match self {
            Self::Kvm => Engine::Kvm,
            Self::Tcg => Engine::Tcg,
            Self::Auto => {
                let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
                let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
                decide(&cpuinfo, device.is_ok())
            }
        }
    }
}

/// Hardware virtualisation needs the CPU flag *and* the device: inside some
/// virtual machines the device opens, but cannot run an ordinary guest.
fn decide(cpuinfo: &str, device_opens: bool) -> Engine {
    let flags = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == "flags")
        .flat_map(|(_, flags)| flags.split_whitespace());
    let capable = flags.into_iter().any(|flag| matches!(flag, "vmx" | "svm"));
    if capable && device_opens {
        Engine::Kvm
    } else {
        Engine::Tcg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_the_cpu_flag_and_the_device() {
        let with = "processor : 0\nflags\t\t: fpu svm sse\n";
        let without = "processor : 0\nflags\t\t: fpu svm_lock vmmcall\nbugs : vmx\n";
        assert_eq!(decide(with, true), Engine::Kvm);
        assert_eq!(decide("flags : vmx", true), Engine::Kvm);
        assert_eq!(decide(with, false), Engine::Tcg);
        assert_eq!(decide(without, true), Engine::Tcg);
        assert_eq!(decide("", true), Engine::Tcg);
    }

    #[test]
    fn a_choice_is_not_second_guessed() {
        assert_eq!(Accel::Kvm.settle(), Engine::Kvm);
        assert_eq!(Accel::Tcg.settle(), Engine::Tcg);
    }
}
