//! What a container is if nobody says otherwise: no more than podman's.

use std::collections::HashSet;
use std::path::PathBuf;

use oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, Mount,
    Process, Root, Spec,
};

use super::caps;
use super::seccomp::profile;
use super::state::OCI_VERSION;

/// Hardware, other processes' keys and timers, the kernel's memory.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Settings of the kernel.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Destination, type, options.
const MOUNTS: [(&str, &str, &[&str]); 7] = [
    ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    (
        "/dev",
        "tmpfs",
        &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/dev/shm",
        "tmpfs",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    (
        "/sys/fs/cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Cgroup,
];

/// The default spec: all namespaces but the user's, [`default_capabilities`], no new
/// privileges, the default filter for system calls, masked and read-only paths. Its program
/// is `sh`.
///
/// Who changes capabilities makes the filter anew with [`seccomp_for`].
pub fn default_spec() -> Spec {
    let mut process = Process::default();
    process
        .set_capabilities(Some(default_capabilities()))
        .set_env(Some(vec![format!("PATH={PATH}")]))
        .set_rlimits(None);
    let mut root = Root::default();
    root.set_readonly(Some(false));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_hostname(None)
        .set_annotations(None)
        .set_mounts(Some(MOUNTS.iter().map(mount).collect()))
        .set_linux(Some(linux()));
    spec
}

fn linux() -> Linux {
    let namespace = |typ| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    };
    let mut linux = Linux::default();
    linux
        .set_resources(None)
        .set_namespaces(Some(NAMESPACES.map(namespace).to_vec()))
        .set_seccomp(Some(seccomp_for(&default_capabilities())))
        .set_masked_paths(Some(MASKED.map(String::from).to_vec()))
        .set_readonly_paths(Some(READ_ONLY.map(String::from).to_vec()));
    linux
}

/// The default filter for system calls of a container that can have these capabilities.
pub fn seccomp_for(capabilities: &LinuxCapabilities) -> LinuxSeccomp {
    profile::default(|wanted| {
        let bounding = capabilities.bounding().as_ref();
        bounding.is_some_and(|all| all.contains(&wanted))
    })
}

/// The capabilities of a container if nobody says otherwise, for its root.
pub fn default_capabilities() -> LinuxCapabilities {
    let all: HashSet<Capability> = caps::DEFAULT.into_iter().collect();
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(all.clone()))
        .set_effective(Some(all.clone()))
        .set_permitted(Some(all))
        .set_inheritable(Some(HashSet::new()))
        .set_ambient(Some(HashSet::new()));
    capabilities
}

fn mount((destination, typ, options): &(&str, &str, &[&str])) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some((*typ).to_owned()))
        .set_source(Some(PathBuf::from(typ)))
        .set_options(Some(options.iter().map(|&o| o.to_owned()).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Container;

    #[test]
    fn the_default_spec_is_one_that_can_be_made() {
        let container = Container::of(&default_spec()).unwrap();
        assert!(container.process.no_new_privileges);
        assert!(container.seccomp.is_some());
        assert_eq!(container.masked.len(), MASKED.len());
        assert_eq!(container.process.capabilities.ambient, 0);
        assert_eq!(container.process.capabilities.bounding.count_ones(), 11);
    }
}
