//! What is mounted into a container from outside, taken hold of before the container
//! exists: detached mounts, which vanish with the process that holds them.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;

use super::Root;
use super::beneath::{self, Kind as Target};
use super::container::Container;
use super::error::{During, Error, Result};
use super::mounts::{IdMap, Kind, MountPlan};
use super::sys::mount::{self, Change, Depth, attr};
use super::users;

/// The kernel copies at most this much of a parameter.
const MAX_PARAMETER: usize = 255;

/// A detached mount of something of the host.
#[derive(Debug)]
pub struct Source {
    /// The mount.
    pub mount: OwnedFd,
    /// What it must be mounted on.
    pub target: Target,
}

/// What a container gets from outside.
#[derive(Debug, Default)]
pub struct Sources {
    /// Its root; nothing if it can only be made when the user namespace is there.
    pub root: Option<OwnedFd>,
    /// One for each mount of the plan: what is a bind mount and needs no user namespace.
    pub binds: Vec<Option<Source>>,
}

impl Sources {
    /// Takes hold of all that can be had before the container's namespaces exist.
    pub fn open(container: &Container, root: &Root, bundle: &Path) -> Result<Self> {
        let later = container.in_user_namespace() && matches!(root, Root::Overlay { .. });
        let binds = container.mounts.iter().map(|mount| match &mount.kind {
            Kind::Bind {
                idmap: None,
                source,
                depth,
            } => bind(mount, source, *depth, bundle).map(Some),
            _ => Ok(None),
        });
        Ok(Self {
            binds: binds.collect::<Result<_>>()?,
            root: if later { None } else { Some(self::root(root)?) },
        })
    }
}

/// Mounts that are shown through a user namespace, in the order of the plan.
pub fn mapped_binds(
    container: &Container,
    namespace: BorrowedFd,
    bundle: &Path,
) -> Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for plan in &container.mounts {
        let Kind::Bind {
            idmap: Some(map),
            source,
            depth,
        } = &plan.kind
        else {
            continue;
        };
        let bound = bind(plan, source, *depth, bundle)?.mount;
        let own = match map {
            IdMap::Container => None,
            IdMap::Own(uids, gids) => Some(users::namespace(uids, gids)?),
        };
        let user_namespace = own.as_ref().map_or(namespace, AsFd::as_fd);
        mount::idmap(&bound, user_namespace, *depth).during(|| {
            format!(
                "mapping owners of {} (can its file system do that?)",
                source.display()
            )
        })?;
        all.push(bound);
    }
    Ok(all)
}

fn bind(plan: &MountPlan, source: &Path, depth: Depth, bundle: &Path) -> Result<Source> {
    let path = bundle.join(source);
    let step = || {
        let destination = plan.destination.display();
        format!("opening {} to mount it on {destination}", path.display())
    };
    let bound = mount::clone_tree(AT_FDCWD, &c_path(&path)?, depth).during(step)?;
    let target = beneath::kind(&bound).during(step)?;
    adjust(&bound, plan)?;
    Ok(Source {
        mount: bound,
        target,
    })
}

/// Gives a detached mount its attributes. It is a twin of the host's: what is mounted below
/// one would show up below the other, unless the plan says so or it is made private.
fn adjust(fd: &OwnedFd, plan: &MountPlan) -> Result<()> {
    let step = || {
        format!(
            "setting options of the mount on {}",
            plan.destination.display()
        )
    };
    if plan.own != Change::default() {
        mount::change(fd, plan.own, Depth::One).during(step)?;
    }
    if plan.tree != Change::default() {
        mount::change(fd, plan.tree, Depth::Tree).during(step)?;
    }
    let private = (nix::libc::MS_PRIVATE, Depth::Tree);
    pass_on(fd, Some(plan.propagation.unwrap_or(private)))
}

/// Sets how a mount passes on what is mounted below it.
pub fn pass_on(fd: &OwnedFd, how: Option<(u64, Depth)>) -> Result<()> {
    let Some((propagation, depth)) = how else {
        return Ok(());
    };
    let change = Change {
        propagation,
        ..Change::default()
    };
    mount::change(fd, change, depth).during(|| "setting how a mount passes mounts on".into())
}

/// A copy of a mount is shared as that is, on hosts of systemd most are, and no root can be
/// (pivot_root(2)).
const NOT_SHARED: (u64, Depth) = (nix::libc::MS_SLAVE, Depth::Tree);

/// A detached mount of the root.
fn root(root: &Root) -> Result<OwnedFd> {
    match root {
        Root::Path(path) => {
            let root = mount::clone_tree(AT_FDCWD, &c_path(path)?, Depth::Tree)
                .during(|| format!("opening the root {}", path.display()))?;
            pass_on(&root, Some(NOT_SHARED))?;
            Ok(root)
        }
        Root::Overlay { lower, upper: None } if lower.len() == 1 => read_only_layer(&lower[0]),
        Root::Overlay { lower, upper } => overlay(lower, upper.as_ref()),
    }
}

/// An overlay needs two layers; of one it would show nothing else than the layer itself.
fn read_only_layer(layer: &Path) -> Result<OwnedFd> {
    let step = || format!("opening the layer {}", layer.display());
    let mounted = mount::clone_tree(AT_FDCWD, &c_path(layer)?, Depth::One).during(step)?;
    let change = Change {
        set: attr::RDONLY | attr::NODEV,
        propagation: NOT_SHARED.0,
        ..Change::default()
    };
    mount::change(&mounted, change, Depth::One).during(step)?;
    Ok(mounted)
}

/// Mounts layers, the lowest first, and what is written goes to `upper`.
///
/// Device nodes in layers cannot be opened: those of a container come from the spec.
pub fn overlay(lower: &[PathBuf], upper: Option<&super::Upper>) -> Result<OwnedFd> {
    let fs = mount::fsopen(c"overlay").during(|| "mounting the root: overlay".into())?;
    let mut kept = Vec::new();
    let mut set = |key: &std::ffi::CStr, path: &Path| -> Result<()> {
        let value = parameter(path, &mut kept)?;
        mount::fsconfig_string(&fs, key, &value).map_err(|errno| {
            let said = mount::messages(&fs);
            let step = format!("mounting the root: layer {}", path.display());
            Error::refused(step, format!("{} {said}", errno.desc()))
        })
    };
    for layer in lower.iter().rev() {
        set(c"lowerdir+", layer)?;
    }
    if let Some(upper) = upper {
        set(c"upperdir", &upper.upper)?;
        set(c"workdir", &upper.work)?;
    }
    let refused = |errno: nix::errno::Errno| {
        let said = mount::messages(&fs);
        Error::refused(
            "mounting the root as an overlay",
            format!("{} {said}", errno.desc()),
        )
    };
    if upper.is_some_and(|upper| upper.volatile) {
        mount::fsconfig_flag(&fs, c"volatile").map_err(refused)?;
    }
    mount::fsconfig_create(&fs).map_err(refused)?;
    let attributes = if upper.is_none() { attr::RDONLY } else { 0 };
    mount::fsmount(&fs, attributes | attr::NODEV).map_err(refused)
}

/// The path as a parameter; one that is too long is named by a descriptor, kept in `kept`.
fn parameter(path: &Path, kept: &mut Vec<OwnedFd>) -> Result<CString> {
    if path.as_os_str().len() <= MAX_PARAMETER {
        return c_path(path);
    }
    let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .during(|| format!("opening the layer {}", path.display()))?;
    let short = format!("/proc/self/fd/{}", fd.as_raw_fd());
    kept.push(fd);
    c_path(Path::new(&short))
}

/// A path for the kernel.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::refused(format!("opening {}", path.display()), "has a zero byte"))
}
