//! The filter that containers get if nobody says otherwise.
//!
//! What this kernel has and a container may need is allowed. What changes the host, reads
//! what is not the container's, or is known for holes in the kernel and rarely needed is
//! not. Calls that belong to a capability are allowed to who has it. Numbers that are not
//! in our table do not exist (`ENOSYS`), so that programs fall back to older calls.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::table::CALLS;
use super::{ENOSYS, EPERM};

/// Refused to everyone.
const REFUSED: &[&str] = &[
    // Another kernel, or memory and devices of this one.
    "kexec_file_load",
    "kexec_load",
    "pciconfig_iobase",
    "pciconfig_read",
    "pciconfig_write",
    "swapoff",
    "swapon",
    "uselib",
    // Memory of others, and faults handled by programs: building blocks of attacks.
    "migrate_pages",
    "move_pages",
    "set_mempolicy_home_node",
    "userfaultfd",
    "vmsplice",
    // The kernel's keys belong to the host's users.
    "add_key",
    "request_key",
    // What no program has needed for decades.
    "_sysctl",
    "afs_syscall",
    "bdflush",
    "break",
    "create_module",
    "ftime",
    "get_kernel_syms",
    "getpmsg",
    "gtty",
    "idle",
    "lock",
    "mpx",
    "nfsservctl",
    "oldfstat",
    "oldlstat",
    "oldolduname",
    "oldstat",
    "olduname",
    "prof",
    "profil",
    "putpmsg",
    "security",
    "sgetmask",
    "ssetmask",
    "stty",
    "sysfs",
    "tuxcall",
    "ulimit",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// As if this kernel did not have them: programs ask and do without.
const ABSENT: &[&str] = &[
    // Most holes of the last years; gets around filters of calls by design.
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "map_shadow_stack",
    "open_tree_attr",
    "uretprobe",
];

/// Allowed to who has the capability.
const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (
        Capability::SysAdmin,
        &[
            "bpf",
            "fanotify_init",
            "lookup_dcookie",
            "lsm_set_self_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
        ],
    ),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (
        Capability::SysModule,
        &[
            "delete_module",
            "finit_module",
            "init_module",
            "query_module",
        ],
    ),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp", "process_madvise"]),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (
        Capability::SysTime,
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    (Capability::SysTtyConfig, &["vhangup"]),
];

/// Allowed with these arguments only.
const CONDITIONAL: &[&str] = &["personality", "socket"];

/// Execution domains: Linux, 32 bits, each also with the old `uname`, and the question
/// which one it is. The others switch off what makes attacks hard.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;
const EINVAL: u32 = 22;

/// The profile for a container with these capabilities in its bounding set.
pub fn default(has: impl Fn(Capability) -> bool) -> LinuxSeccomp {
    let missing = |gate: &&(Capability, &[&'static str])| !has(gate.0);
    let gated: Vec<&str> = BY_CAPABILITY
        .iter()
        .filter(missing)
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let refused: Vec<&str> = REFUSED.iter().copied().chain(gated).collect();
    let allowed: Vec<&str> = CALLS
        .iter()
        .map(|call| call.name)
        .filter(|name| !refused.contains(name) && !ABSENT.contains(name))
        .filter(|name| !CONDITIONAL.contains(name))
        .collect();
    let mut rules = vec![allow(&allowed, vec![]), refuse(&refused, vec![], EPERM)];
    for domain in PERSONALITIES {
        rules.push(allow(&["personality"], vec![equal(0, domain)]));
    }
    // Logging in fails without the audit service, unless the kernel seems to have none.
    if !has(Capability::AuditWrite) {
        let audit = vec![equal(0, AF_NETLINK), equal(2, NETLINK_AUDIT)];
        rules.push(refuse(&["socket"], audit, EINVAL));
    }
    rules.push(allow(&["socket"], vec![]));
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS))
        .set_architectures(Some(vec![
            Arch::ScmpArchX86_64,
            Arch::ScmpArchX86,
            Arch::ScmpArchX32,
        ]))
        .set_syscalls(Some(rules));
    profile
}

fn rule(names: &[&str], action: LinuxSeccompAction, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|&name| name.to_owned()).collect())
        .set_action(action)
        .set_args(Some(args));
    rule
}

fn allow(names: &[&str], conditions: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, conditions)
}

fn refuse(names: &[&str], conditions: Vec<LinuxSeccompArg>, errno: u32) -> LinuxSyscall {
    let mut rule = rule(names, LinuxSeccompAction::ScmpActErrno, conditions);
    rule.set_errno_ret(Some(errno));
    rule
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    // Every field has a default, so building cannot fail; the type has no setters.
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .op(LinuxSeccompOperator::ScmpCmpEq)
        .build()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::table::find;
    use super::*;

    #[test]
    fn every_name_of_a_list_is_a_call_or_was_one_on_another_processor() {
        let gated = BY_CAPABILITY.iter().flat_map(|(_, names)| names.iter());
        let old = ["pciconfig_iobase", "pciconfig_read", "pciconfig_write"];
        for name in REFUSED.iter().chain(ABSENT).chain(CONDITIONAL).chain(gated) {
            assert!(find(name).is_some() || old.contains(name), "{name}");
        }
    }

    #[test]
    fn what_a_capability_gates_is_allowed_with_it_only() {
        let allowed = |has: bool| -> Vec<String> {
            let profile = default(|_| has);
            profile.syscalls().as_ref().unwrap()[0].names().clone()
        };
        for name in ["bpf", "chroot", "setns", "reboot", "clock_settime", "iopl"] {
            assert!(!allowed(false).contains(&name.to_owned()), "{name}");
            assert!(allowed(true).contains(&name.to_owned()), "{name}");
        }
        for name in ["io_uring_setup", "kexec_load", "userfaultfd", "add_key"] {
            assert!(!allowed(true).contains(&name.to_owned()), "{name}");
        }
        for name in ["read", "clone3", "execve", "futex_waitv", "openat2"] {
            assert!(allowed(false).contains(&name.to_owned()), "{name}");
        }
    }
}
