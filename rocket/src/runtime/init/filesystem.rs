//! The container's tree of mounts.
//!
//! It is built on top of the host's root in the container's own mount namespace, through
//! descriptors, and then becomes the root. Until then the host's files are there to take
//! device nodes from.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::{devices, mask};
use crate::runtime::Pivot;
use crate::runtime::beneath::{self, Kind as Target};
use crate::runtime::container::Container;
use crate::runtime::copy;
use crate::runtime::error::{During, Error, Result};
use crate::runtime::mounts::{Kind, MountPlan, Parameter};
use crate::runtime::sources::{self, Source, Sources};
use crate::runtime::sys::mount::{self, Change, Depth, attr};

/// The tree while it is built.
pub struct Tree {
    root: OwnedFd,
    /// A `/proc` of the container's processes that nobody can have put something over.
    proc: Option<OwnedFd>,
    /// Mounts that become read-only when all is in them.
    sealed: Vec<OwnedFd>,
}

/// Puts mounts that the parent made for us, in order, where the plan has them.
pub fn take_mapped(
    container: &Container,
    sources: &mut Sources,
    mapped: Vec<OwnedFd>,
) -> Result<()> {
    let mut mapped = mapped.into_iter();
    if sources.root.is_none() {
        sources.root = mapped.next();
    }
    for (plan, source) in container.mounts.iter().zip(&mut sources.binds) {
        if let Kind::Bind { idmap: Some(_), .. } = plan.kind {
            let mount = mapped.next().ok_or_else(super::unexpected)?;
            let target = beneath::kind(&mount).during(|| "looking at a mount".into())?;
            *source = Some(Source { mount, target });
        }
    }
    Ok(())
}

impl Tree {
    /// Makes everything the container sees.
    pub fn build(container: &Container, sources: &mut Sources) -> Result<Self> {
        nix::mount::mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_SLAVE,
            None::<&str>,
        )
        .during(|| "separating mounts from the host's".into())?;
        let root = sources.root.take().ok_or_else(super::unexpected)?;
        let host = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .during(|| "opening /".into())?;
        mount::attach(&root, &host).during(|| "mounting the root".into())?;
        let mut tree = Self {
            root,
            proc: None,
            sealed: Vec::new(),
        };
        for (plan, source) in container.mounts.iter().zip(sources.binds.drain(..)) {
            tree.mount(plan, source)
                .map_err(|error| at(error, &plan.destination))?;
        }
        devices::make(container, &tree.root)?;
        tree.write_sysctl(container)?;
        tree.seal(container)?;
        Ok(tree)
    }

    /// The root's own mount.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    fn mount(&mut self, plan: &MountPlan, source: Option<Source>) -> Result<()> {
        match (&plan.kind, source) {
            (Kind::New { copy_up, .. }, _) => {
                let target = self.target(plan)?;
                let mounted = new(plan)?;
                if *copy_up {
                    copy::up(&self.root, &plan.destination, &mounted, &|id| id)?;
                }
                mount::attach(&mounted, target).during(|| "attaching it".into())?;
                sources::pass_on(&mounted, plan.propagation)?;
                self.remember(plan, mounted);
                Ok(())
            }
            (Kind::Bind { .. }, Some(source)) => {
                let target = beneath::make(&self.root, &plan.destination, source.target)?;
                mount::attach(&source.mount, target).during(|| "attaching it".into())
            }
            (Kind::Bind { .. }, None) => Err(super::unexpected()),
        }
    }

    /// `/proc` and `/sys` are where the container's own rules are written: they are never
    /// mounted through a link of the image.
    fn target(&self, plan: &MountPlan) -> Result<OwnedFd> {
        if !plan.is_new("proc") && !plan.is_new("sysfs") {
            return beneath::make(&self.root, &plan.destination, Target::Directory);
        }
        match beneath::open_plain(&self.root, &plan.destination, OFlag::O_PATH) {
            Err(Errno::ENOENT) => {
                drop(beneath::make(
                    &self.root,
                    &plan.destination,
                    Target::Directory,
                )?);
                beneath::open_plain(&self.root, &plan.destination, OFlag::O_PATH)
            }
            other => other,
        }
        .during(|| "opening the mount point (it must not be a symbolic link)".into())
    }

    fn remember(&mut self, plan: &MountPlan, mounted: OwnedFd) {
        if plan.is_new("proc") && self.proc.is_none() {
            self.proc = Some(mounted);
        } else if plan.is_new("tmpfs") && plan.own.set & attr::RDONLY != 0 {
            self.sealed.push(mounted);
        }
    }

    fn write_sysctl(&self, container: &Container) -> Result<()> {
        for (path, value) in &container.sysctl {
            let step = || format!("setting {} to {value}", path.display());
            let Some(proc) = &self.proc else {
                return Err(Error::refused(step(), "the spec has no mount of type proc"));
            };
            let path = Path::new("sys").join(path);
            // What a spec mounts over it may be a file of the host.
            let file = match beneath::open_own(proc, &path, OFlag::O_WRONLY) {
                Err(Errno::EXDEV) => {
                    let problem = "something is mounted over this part of /proc";
                    return Err(Error::refused(step(), problem));
                }
                file => file.during(step)?,
            };
            nix::unistd::write(&file, value.as_bytes()).during(step)?;
        }
        Ok(())
    }

    /// Takes away what the container must not read or write.
    fn seal(&self, container: &Container) -> Result<()> {
        for mounted in &self.sealed {
            set(mounted, attr::RDONLY, Depth::One).during(|| "making a tmpfs read-only".into())?;
        }
        mask::read_only(&self.root, &container.read_only)?;
        mask::hide(&self.root, &container.masked)?;
        if container.root_read_only {
            set(&self.root, attr::RDONLY, Depth::One)
                .during(|| "making the root read-only".into())?;
        }
        Ok(())
    }

    /// Makes the tree the root of this process. The host's files are gone afterwards.
    pub fn enter(self, container: &Container, pivot: Pivot) -> Result<()> {
        fchdir(&self.root).during(|| "entering the root".into())?;
        match pivot {
            Pivot::Root => {
                pivot_root(".", ".").during(|| {
                    "pivoting to the root (on a ramfs as root this needs --no-pivot)".into()
                })?;
                nix::mount::umount2(".", MntFlags::MNT_DETACH)
                    .during(|| "leaving the host's files".into())?;
            }
            Pivot::Chroot => chroot(".").during(|| "changing the root".into())?,
        }
        chdir("/").during(|| "entering the root".into())?;
        sources::pass_on(&self.root, container.root_propagation)
    }
}

/// Sets attributes of a mount.
pub fn set<F: AsFd>(fd: F, attributes: u64, depth: Depth) -> nix::Result<()> {
    let change = Change {
        set: attributes,
        ..Change::default()
    };
    mount::change(fd, change, depth)
}

/// A new file system, detached. A tmpfs is writable until all is in it.
fn new(plan: &MountPlan) -> Result<OwnedFd> {
    let Kind::New {
        fstype, parameters, ..
    } = &plan.kind
    else {
        return Err(super::unexpected());
    };
    let name = fstype.to_string_lossy();
    let fs = mount::fsopen(fstype).during(|| format!("mounting {name}"))?;
    let refused = |what: &str, errno: Errno| {
        let said = mount::messages(&fs);
        Error::refused(
            format!("mounting {name}{what}"),
            format!("{} {said}", errno.desc()),
        )
    };
    for parameter in parameters {
        let (key, result) = match parameter {
            Parameter::Flag(key) => (key, mount::fsconfig_flag(&fs, key)),
            Parameter::Text(key, value) => (key, mount::fsconfig_string(&fs, key, value)),
        };
        result.map_err(|errno| refused(&format!(", option {}", key.to_string_lossy()), errno))?;
    }
    mount::fsconfig_create(&fs).map_err(|errno| refused("", errno))?;
    let later = if name == "tmpfs" { attr::RDONLY } else { 0 };
    mount::fsmount(&fs, plan.own.set & !later).map_err(|errno| refused("", errno))
}

/// Names the mount in what went wrong with it.
fn at(error: Error, destination: &Path) -> Error {
    let place = format!("the mount on {}", destination.display());
    match error {
        Error::System { step, source } => Error::System {
            step: format!("{place}: {step}"),
            source,
        },
        other => Error::refused(place, other.in_one_line()),
    }
}
