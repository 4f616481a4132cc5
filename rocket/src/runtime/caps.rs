//! Capabilities: from names of a spec to bits, and giving up what is not named.

use oci_spec::runtime::{Capabilities as Names, Capability, LinuxCapabilities};

use super::error::{During, Result};
use super::sys::process;

/// The five sets of a process, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What can ever be had again.
    pub bounding: u64,
    /// In force, permitted, inheritable.
    pub own: process::Capabilities,
    /// Kept when a program without capabilities of its own is executed.
    pub ambient: u64,
}

/// What a container has if nobody says otherwise.
pub const DEFAULT: [Capability; 11] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Capabilities the kernel has, by number.
pub const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The bit of a capability.
pub fn bit(capability: Capability) -> u64 {
    let number = BY_NUMBER.iter().position(|&known| known == capability);
    number.map_or(0, |number| 1 << number)
}

fn bits(names: &Option<Names>) -> u64 {
    names.iter().flatten().fold(0, |all, &name| all | bit(name))
}

/// The sets of a spec; without any, nothing is left.
///
/// An ambient capability must be permitted and inheritable, and one in force permitted:
/// what is not is left out, as other runtimes do it.
pub fn sets(spec: Option<&LinuxCapabilities>) -> Sets {
    let Some(spec) = spec else {
        return Sets::default();
    };
    let permitted = bits(spec.permitted());
    let inheritable = bits(spec.inheritable());
    Sets {
        bounding: bits(spec.bounding()),
        own: process::Capabilities {
            effective: bits(spec.effective()) & permitted,
            permitted,
            inheritable,
        },
        ambient: bits(spec.ambient()) & permitted & inheritable,
    }
}

/// Takes out of the bounding set what is not in `keep`. Needs `CAP_SETPCAP`.
pub fn bound(keep: u64) -> Result<()> {
    for number in 0..64 {
        let kept = keep & (1 << number) != 0;
        if !kept {
            match process::bounding_drop(number) {
                // The kernel has no capability of this number and none above.
                Err(nix::errno::Errno::EINVAL) => return Ok(()),
                other => other.during(|| format!("dropping capability {number}"))?,
            }
        }
    }
    Ok(())
}

/// Sets all but the bounding set, for the identity that the process has now.
pub fn apply(sets: &Sets) -> Result<()> {
    process::capset(&sets.own).during(|| "setting capabilities".into())?;
    process::ambient_clear().during(|| "clearing ambient capabilities".into())?;
    for number in (0..64).filter(|number| sets.ambient & (1 << number) != 0) {
        process::ambient_raise(number).during(|| format!("raising ambient capability {number}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_kernel() {
        assert_eq!(bit(Capability::Chown), 1);
        assert_eq!(bit(Capability::SysAdmin), 1 << 21);
        assert_eq!(bit(Capability::CheckpointRestore), 1 << 40);
    }

    #[test]
    fn an_ambient_capability_needs_two_other_sets() {
        let spec: LinuxCapabilities = serde_json::from_str(
            r#"{"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL", "CAP_SYS_ADMIN"], "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL", "CAP_CHOWN"]}"#,
        )
        .unwrap();
        let sets = sets(Some(&spec));
        assert_eq!(sets.ambient, bit(Capability::Kill));
        assert_eq!(sets.own.effective, bit(Capability::Kill));
    }

    #[test]
    fn no_set_means_no_capability() {
        assert_eq!(super::sets(None), Sets::default());
    }
}
