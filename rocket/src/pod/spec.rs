//! An app as an OCI runtime spec.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxSeccomp,
    Mount as SpecMount, MountBuilder, Spec, UserBuilder,
};

use super::{App, Limits, Manifest, Volume};
use crate::options::{IpcMode, NetOption, PidMode, SeccompOption, UserNamespace, VolumeKind};
use crate::runtime::{self, Namespaces};

/// Period over which processor time is shared out, in microseconds.
const PERIOD: u64 = 100_000;

/// What is read of a seccomp profile at most.
const MOST: u64 = 4 << 20;

/// An app that cannot be put into a spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A seccomp profile.
    #[error("seccomp profile {}: {message}", .path.display())]
    Seccomp {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A capability that the spec does not know.
    #[error("capability {0} is not one that runtime specs know")]
    Capability(String),
    /// Something is missing; a defect of rocket.
    #[error("making a runtime spec")]
    Incomplete(#[from] OciSpecError),
}

/// What an app's spec depends on beside the pod's manifest.
#[derive(Debug)]
pub struct Place<'a> {
    /// Where the pod's own files are: `hosts`, `resolv.conf`, `hostname`.
    pub files: &'a Path,
    /// Where the files of each volume are; nothing for those in memory.
    pub volumes: &'a BTreeMap<String, Option<PathBuf>>,
    /// Whose namespaces the app shares; the first app makes them.
    pub joined: Option<Joined<'a>>,
    /// The user IDs of the pod, if it has some of its own: the first, and how many.
    pub range: Option<(u32, u32)>,
    /// Where the caller's service manager listens.
    pub notify: Option<&'a Path>,
    /// Whether the app has a control group of its own for its limits.
    pub is_limited: bool,
}

/// Whose namespaces an app shares.
#[derive(Debug, Clone, Copy)]
pub enum Joined<'a> {
    /// Those of this process.
    Process(i32),
    /// Those that this process holds.
    Held(&'a Namespaces),
}

impl Joined<'_> {
    /// Where the namespace is that `/proc/PID/ns` calls `name`.
    fn path(self, name: &str) -> String {
        match self {
            Self::Process(pid) => format!("/proc/{pid}/ns/{name}"),
            Self::Held(held) => held.path(name),
        }
    }
}

/// Where an app finds the socket of its caller's service manager.
const NOTIFY: &str = "/run/host/notify";

/// The spec of `app`.
///
/// # Errors
/// A profile or capability is wrong.
pub fn spec(pod: &Manifest, app: &App, place: &Place<'_>) -> Result<Spec, SpecError> {
    let mut spec = runtime::default_spec();
    spec.set_hostname(place.joined.is_none().then(|| pod.hostname.clone()));
    let capabilities = capabilities(app)?;
    if let Some(process) = spec.process_mut() {
        let mut environment = app.environment.clone();
        if place.notify.is_some() {
            environment.push(format!("NOTIFY_SOCKET={NOTIFY}"));
        }
        process
            .set_args(Some(app.arguments.clone()))
            .set_env(Some(environment))
            .set_cwd(app.directory.clone())
            .set_no_new_privileges(Some(true))
            .set_capabilities(Some(capabilities.clone()))
            .set_rlimits(None)
            .set_user(
                UserBuilder::default()
                    .uid(app.user.uid)
                    .gid(app.user.gid)
                    .additional_gids(app.user.groups.clone())
                    .build()?,
            );
    }
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(app.read_only));
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.extend(own_files(place)?);
    for mount in &app.mounts {
        if let Some(volume) = pod
            .volumes
            .iter()
            .find(|volume| volume.name == mount.volume)
        {
            let source = place.volumes.get(&volume.name).cloned().flatten();
            let read_only = mount.read_only || volume.read_only;
            mounts.push(volume_mount(volume, source, &mount.target, read_only)?);
        }
    }
    if let Some(path) = place.notify {
        mounts.push(bind(path, Path::new(NOTIFY), &["bind", "rw"])?);
    }
    spec.set_mounts(Some(mounts));
    if let Some(linux) = spec.linux_mut() {
        linux.set_namespaces(Some(namespaces(pod, place)?));
        linux.set_resources(if place.is_limited {
            resources(&app.limits)?
        } else {
            None
        });
        linux.set_seccomp(seccomp(&app.seccomp, &capabilities)?);
        if let Some(range) = place.range {
            let mapping = mapping(range)?;
            linux.set_uid_mappings(Some(vec![mapping]));
            linux.set_gid_mappings(Some(vec![mapping]));
        }
        // Every user may bind low ports in a network of the pod's own: the host's are not
        // touched. Its own rules for ping are those of the host.
        if place.joined.is_none() && pod.network != NetOption::Host {
            let all = [("net.ipv4.ping_group_range", "0 2147483647")];
            let all = all.map(|(key, value)| (key.to_owned(), value.to_owned()));
            linux.set_sysctl(place.range.is_none().then(|| all.into_iter().collect()));
        }
    }
    Ok(spec)
}

/// A user who is not root has none of them when his program starts, but programs that raise
/// privileges are bound by them.
fn capabilities(app: &App) -> Result<LinuxCapabilities, SpecError> {
    let parse = |name: &String| {
        let wrong = |_| SpecError::Capability(name.clone());
        serde_json::from_value::<Capability>(name.as_str().into()).map_err(wrong)
    };
    let all: std::collections::HashSet<Capability> = app
        .capabilities
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    let held = if app.user.uid == 0 {
        all.clone()
    } else {
        Default::default()
    };
    let none = std::collections::HashSet::new();
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(held.clone())
        .permitted(held)
        .inheritable(none.clone())
        .ambient(none)
        .build()?)
}

fn own_files(place: &Place<'_>) -> Result<Vec<SpecMount>, SpecError> {
    ["hosts", "resolv.conf", "hostname"]
        .into_iter()
        .map(|name| {
            let target = Path::new("/etc").join(name);
            let options = ["bind", "rw", "nosuid", "nodev", "noexec"];
            bind(&place.files.join(name), &target, &options)
        })
        .collect()
}

fn volume_mount(
    volume: &Volume,
    source: Option<PathBuf>,
    target: &Path,
    read_only: bool,
) -> Result<SpecMount, SpecError> {
    let access = if read_only { "ro" } else { "rw" };
    let Some(source) = source else {
        let mut options = vec![
            access.to_owned(),
            "nosuid".into(),
            "nodev".into(),
            "mode=1777".into(),
        ];
        if let VolumeKind::Tmpfs { bytes: Some(bytes) } = volume.kind {
            options.push(format!("size={bytes}"));
        }
        return Ok(MountBuilder::default()
            .destination(target)
            .typ("tmpfs")
            .source("tmpfs")
            .options(options)
            .build()?);
    };
    let recursive = matches!(
        volume.kind,
        VolumeKind::Host {
            recursive: true,
            ..
        }
    );
    let kind = if recursive { "rbind" } else { "bind" };
    // Read-only also where other file systems are mounted below it.
    let access = if read_only && recursive {
        "rro"
    } else {
        access
    };
    bind(&source, target, &[kind, access, "rslave"])
}

fn bind(source: &Path, target: &Path, options: &[&str]) -> Result<SpecMount, SpecError> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Ok(MountBuilder::default()
        .destination(target)
        .typ("bind")
        .source(source)
        .options(options)
        .build()?)
}

/// The first app's are made; the others share network, host name and, unless they are not to,
/// IPC with it, and have processes, mounts and control groups of their own.
fn namespaces(pod: &Manifest, place: &Place<'_>) -> Result<Vec<LinuxNamespace>, SpecError> {
    use LinuxNamespaceType as Kind;
    let of_first = |name: &str| place.joined.map(|joined| joined.path(name));
    let mut wanted = vec![
        (Kind::Mount, None),
        (Kind::Cgroup, None),
        (Kind::Uts, of_first("uts")),
    ];
    if pod.pid == PidMode::App {
        wanted.push((Kind::Pid, None));
    }
    if pod.network != NetOption::Host {
        wanted.push((Kind::Network, of_first("net")));
    }
    match pod.ipc {
        IpcMode::Pod => wanted.push((Kind::Ipc, of_first("ipc"))),
        IpcMode::App => wanted.push((Kind::Ipc, None)),
        IpcMode::Host => {}
    }
    if pod.users == UserNamespace::Auto {
        wanted.push((Kind::User, of_first("user")));
    }
    let namespace = |(kind, path): (Kind, Option<String>)| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match path {
            Some(path) => builder.path(path),
            None => builder,
        }
        .build()
    };
    Ok(wanted
        .into_iter()
        .map(namespace)
        .collect::<Result<_, _>>()?)
}

fn resources(limits: &Limits) -> Result<Option<LinuxResources>, SpecError> {
    if limits.are_none() {
        return Ok(None);
    }
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(bytes) = limits.memory {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // As much swap as memory would double what was asked for.
        resources = resources.memory(
            LinuxMemoryBuilder::default()
                .limit(bytes)
                .swap(bytes)
                .build()?,
        );
    }
    if let Some(thousandths) = limits.cpus {
        let quota = i64::try_from(u64::from(thousandths) * PERIOD / 1000).unwrap_or(i64::MAX);
        resources = resources.cpu(
            LinuxCpuBuilder::default()
                .quota(quota)
                .period(PERIOD)
                .build()?,
        );
    }
    if let Some(most) = limits.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(i64::from(most)).build()?);
    }
    Ok(Some(resources.build()?))
}

/// That for what the app has, none at all, or that of a file.
fn seccomp(
    option: &SeccompOption,
    capabilities: &LinuxCapabilities,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    let path = match option {
        SeccompOption::Default => return Ok(Some(runtime::seccomp_for(capabilities))),
        SeccompOption::Unconfined => return Ok(None),
        SeccompOption::Profile(path) => path,
    };
    let wrong = |message: String| SpecError::Seccomp {
        path: path.clone(),
        message,
    };
    let length = fs::metadata(path)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if length > MOST {
        return Err(wrong("more than 4 MiB".into()));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let profile = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(profile))
}

fn mapping((first, size): (u32, u32)) -> Result<LinuxIdMapping, SpecError> {
    Ok(LinuxIdMappingBuilder::default()
        .host_id(first)
        .container_id(0_u32)
        .size(size)
        .build()?)
}
