//! A spec, checked and turned into what the two processes do. Nothing here touches the
//! system: a wrong spec has no effect.

mod process;
mod sysctl;

use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::stat::SFlag;
use oci_spec::runtime::{
    Hooks, Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType,
    LinuxPersonalityDomain, Spec,
};

use super::error::{Error, Result};
use super::mounts::{self, IdMap, Kind, MountPlan};
use super::seccomp::{self, Filter};
use super::sys::mount::Depth;
pub use process::ProcessPlan;

/// Elements of any list of the spec.
const MAX_LIST: usize = 4096;
/// Lines of a mapping that the kernel takes.
const MAX_MAPPINGS: usize = 340;

/// All of a spec that making a container needs.
#[derive(Debug, Clone)]
pub struct Container {
    /// Which namespaces.
    pub namespaces: Namespaces,
    /// Users and groups of a new user namespace.
    pub mappings: Option<Mappings>,
    /// In order.
    pub mounts: Vec<MountPlan>,
    /// Device nodes, without those that every container has.
    pub devices: Vec<Device>,
    /// Paths that nothing can be read from.
    pub masked: Vec<PathBuf>,
    /// Paths that nothing can be written to.
    pub read_only: Vec<PathBuf>,
    /// Whether the root is one of them.
    pub root_read_only: bool,
    /// How the root passes mounts on.
    pub root_propagation: Option<(u64, Depth)>,
    /// Of the UTS namespace.
    pub hostname: Option<String>,
    /// Of the UTS namespace.
    pub domainname: Option<String>,
    /// Paths below `/proc/sys`, and what is written there.
    pub sysctl: Vec<(PathBuf, String)>,
    /// Lines for `/proc/self/timens_offsets`.
    pub time_offsets: Vec<String>,
    /// The program.
    pub process: ProcessPlan,
    /// Which calls it may make.
    pub seccomp: Option<Filter>,
    /// `PER_*`
    pub personality: Option<u32>,
    /// Programs of the host and of the container that are run on the way.
    pub hooks: Hooks,
}

/// Namespaces of a container. Those that are in neither list are the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those that are made.
    pub new: u64,
    /// Those that are there, with their kind.
    pub joined: Vec<(u64, PathBuf)>,
}

/// Kinds of namespaces: as in a spec, and the flag.
const KINDS: [(LinuxNamespaceType, &str, libc::c_int); 8] = [
    (LinuxNamespaceType::User, "user", libc::CLONE_NEWUSER),
    (LinuxNamespaceType::Pid, "pid", libc::CLONE_NEWPID),
    (LinuxNamespaceType::Network, "network", libc::CLONE_NEWNET),
    (LinuxNamespaceType::Ipc, "ipc", libc::CLONE_NEWIPC),
    (LinuxNamespaceType::Uts, "uts", libc::CLONE_NEWUTS),
    (LinuxNamespaceType::Cgroup, "cgroup", libc::CLONE_NEWCGROUP),
    (LinuxNamespaceType::Time, "time", 0x80),
    (LinuxNamespaceType::Mount, "mount", libc::CLONE_NEWNS),
];

impl Namespaces {
    /// Whether one of this kind is made.
    pub fn makes(&self, flag: libc::c_int) -> bool {
        self.new & flag as u64 != 0
    }

    /// Whether one of this kind that is there is entered.
    pub fn joins(&self, flag: libc::c_int) -> bool {
        self.joined.iter().any(|(kind, _)| *kind == flag as u64)
    }

    /// Whether the container has one of this kind that is not the caller's.
    pub fn has(&self, flag: libc::c_int) -> bool {
        self.makes(flag) || self.joins(flag)
    }

    /// Whether a process between caller and container is needed: to enter namespaces as
    /// the user they belong to, or that only children come into.
    pub fn need_helper(&self) -> bool {
        let both = !self.joined.is_empty() && self.makes(libc::CLONE_NEWUSER);
        let children_only = self.joins(libc::CLONE_NEWUSER) || self.joins(libc::CLONE_NEWPID);
        both || children_only || self.has(0x80)
    }
}

/// Users and groups of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mappings {
    /// Users.
    pub users: Vec<LinuxIdMapping>,
    /// Groups.
    pub groups: Vec<LinuxIdMapping>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// In the container.
    pub path: PathBuf,
    /// Character, block, or a pipe.
    pub format: SFlag,
    /// Which device.
    pub major: u64,
    /// Which device.
    pub minor: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Container {
    /// Checks the spec. Errors name the place in it.
    pub fn of(spec: &Spec) -> Result<Self> {
        let linux = spec
            .linux()
            .as_ref()
            .ok_or_else(|| Error::spec("linux", "missing: this is not a Linux container"))?;
        refuse_what_is_not_there(linux)?;
        let namespaces = namespaces(linux)?;
        let mounts = mounts::plan(spec.mounts().as_deref().unwrap_or_default())?;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| Error::spec("process", "missing: there is nothing to run"))?;
        let container = Self {
            mappings: mappings(linux, &namespaces)?,
            devices: devices(linux)?,
            masked: paths("linux.maskedPaths", linux.masked_paths())?,
            read_only: paths("linux.readonlyPaths", linux.readonly_paths())?,
            root_read_only: spec.root().as_ref().and_then(|root| root.readonly()) == Some(true),
            root_propagation: mounts::root_propagation(linux.rootfs_propagation().as_deref())?,
            hostname: name("hostname", spec.hostname(), &namespaces)?,
            domainname: name("domainname", spec.domainname(), &namespaces)?,
            sysctl: sysctl::checked(linux.sysctl().as_ref(), &namespaces)?,
            time_offsets: time_offsets(linux, &namespaces)?,
            process: ProcessPlan::of("process", process)?,
            seccomp: linux.seccomp().as_ref().map(seccomp::compile).transpose()?,
            personality: personality(linux)?,
            hooks: hooks(spec)?,
            namespaces,
            mounts,
        };
        container.check_together()?;
        Ok(container)
    }

    /// What depends on several parts of the spec.
    fn check_together(&self) -> Result<()> {
        let user = self.namespaces.has(libc::CLONE_NEWUSER);
        for (at, mount) in self.mounts.iter().enumerate() {
            if let Kind::Bind {
                idmap: Some(IdMap::Container),
                ..
            } = mount.kind
                && !user
            {
                return Err(Error::spec(
                    format!("mounts[{at}]"),
                    "idmap without mappings needs a user namespace",
                ));
            }
        }
        Ok(())
    }

    /// Whether its programs are root's in a user namespace and not the host's.
    pub fn in_user_namespace(&self) -> bool {
        self.namespaces.has(libc::CLONE_NEWUSER)
    }
}

/// Settings that this runtime does not have must not be dropped silently.
fn refuse_what_is_not_there(linux: &Linux) -> Result<()> {
    let asked = [
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        (
            "linux.netDevices",
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|all| !all.is_empty()),
        ),
        (
            "linux.mountLabel",
            linux
                .mount_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
        ),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::spec(*field, "rocket does not have this")),
        None => Ok(()),
    }
}

fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut all = Namespaces::default();
    for (at, wanted) in linux.namespaces().iter().flatten().enumerate() {
        let field = format!("linux.namespaces[{at}]");
        let Some((_, name, flag)) = KINDS.iter().find(|(kind, ..)| *kind == wanted.typ()) else {
            return Err(Error::spec(field, "a namespace of an unknown kind"));
        };
        if all.has(*flag) {
            return Err(Error::spec(field, format!("a second {name} namespace")));
        }
        match wanted.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                all.joined.push((*flag as u64, path.clone()));
            }
            _ => all.new |= *flag as u64,
        }
    }
    // The kernel's order: users first, so that the others belong to them.
    all.joined
        .sort_by_key(|(flag, _)| KINDS.iter().position(|kind| kind.2 as u64 == *flag));
    if !all.makes(libc::CLONE_NEWNS) {
        return Err(Error::spec(
            "linux.namespaces",
            "without a new mount namespace the host's mounts would be changed: add {\"type\": \"mount\"}",
        ));
    }
    Ok(all)
}

fn mappings(linux: &Linux, namespaces: &Namespaces) -> Result<Option<Mappings>> {
    let list = |list: &Option<Vec<LinuxIdMapping>>| list.clone().unwrap_or_default();
    let mappings = Mappings {
        users: list(linux.uid_mappings()),
        groups: list(linux.gid_mappings()),
    };
    if !namespaces.makes(libc::CLONE_NEWUSER) {
        // Of a namespace that is entered they are as they are.
        let stray = !mappings.users.is_empty() && !namespaces.has(libc::CLONE_NEWUSER);
        return match stray {
            true => Err(Error::spec(
                "linux.uidMappings",
                "mappings need a user namespace",
            )),
            false => Ok(None),
        };
    }
    for (field, list) in [
        ("linux.uidMappings", &mappings.users),
        ("linux.gidMappings", &mappings.groups),
    ] {
        if list.len() > MAX_MAPPINGS {
            return Err(Error::spec(
                field,
                format!("more than {MAX_MAPPINGS} lines"),
            ));
        }
        let has_root = |line: &LinuxIdMapping| line.container_id() == 0 && line.size() > 0;
        if !list.iter().any(has_root) {
            return Err(Error::spec(
                field,
                "the container's root (containerID 0) is not mapped",
            ));
        }
    }
    Ok(Some(mappings))
}

fn devices(linux: &Linux) -> Result<Vec<Device>> {
    let all = linux.devices().as_deref().unwrap_or_default();
    bounded("linux.devices", all.len())?;
    all.iter()
        .enumerate()
        .map(|(at, device)| device_of(&format!("linux.devices[{at}]"), device))
        .collect()
}

fn device_of(field: &str, device: &LinuxDevice) -> Result<Device> {
    let format = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => return Err(Error::spec(field, "a node needs a type: c, b, u or p")),
    };
    let number = |number: i64| {
        u32::try_from(number)
            .map(u64::from)
            .map_err(|_| Error::spec(field, format!("{number} is not a device number")))
    };
    Ok(Device {
        path: absolute(field, device.path())?,
        format,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn paths(field: &str, list: &Option<Vec<String>>) -> Result<Vec<PathBuf>> {
    let list = list.as_deref().unwrap_or_default();
    bounded(field, list.len())?;
    list.iter()
        .map(|path| absolute(field, Path::new(path)))
        .collect()
}

fn absolute(field: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() || path.as_os_str().len() > 4096 {
        return Err(Error::spec(
            field,
            format!(
                "{} is not an absolute path of at most 4096 bytes",
                path.display()
            ),
        ));
    }
    Ok(path.to_owned())
}

fn bounded(field: &str, length: usize) -> Result<()> {
    if length > MAX_LIST {
        return Err(Error::spec(field, format!("more than {MAX_LIST} elements")));
    }
    Ok(())
}

fn name(field: &str, name: &Option<String>, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.has(libc::CLONE_NEWUTS) {
        return Err(Error::spec(
            field,
            "without a uts namespace this would rename the host: add {\"type\": \"uts\"}",
        ));
    }
    if name.len() > 64 {
        return Err(Error::spec(field, "longer than 64 bytes"));
    }
    Ok(Some(name.clone()))
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !namespaces.makes(0x80) {
            return Err(Error::spec(
                "linux.timeOffsets",
                "offsets need a new time namespace",
            ));
        }
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::spec(
                "linux.timeOffsets",
                format!("{clock:?}: only monotonic and boottime have offsets"),
            ));
        }
        let seconds = offset.secs().unwrap_or(0);
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    Ok(lines)
}

fn personality(linux: &Linux) -> Result<Option<u32>> {
    let Some(wanted) = linux.personality() else {
        return Ok(None);
    };
    if wanted
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::spec("linux.personality.flags", "no flag is defined"));
    }
    Ok(Some(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

fn hooks(spec: &Spec) -> Result<Hooks> {
    let hooks = spec.hooks().clone().unwrap_or_default();
    #[allow(deprecated)]
    let all = [
        ("hooks.prestart", hooks.prestart()),
        ("hooks.createRuntime", hooks.create_runtime()),
        ("hooks.createContainer", hooks.create_container()),
        ("hooks.startContainer", hooks.start_container()),
        ("hooks.poststart", hooks.poststart()),
        ("hooks.poststop", hooks.poststop()),
    ];
    for (field, list) in all {
        for (at, hook) in list.iter().flatten().enumerate() {
            let field = format!("{field}[{at}]");
            bounded(&field, at)?;
            absolute(&field, hook.path())?;
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(Error::spec(field, "a timeout is more than 0 seconds"));
            }
        }
    }
    Ok(hooks)
}

#[cfg(test)]
mod tests;
