//! The control group of a container (version 2 only).

pub mod devices;
pub mod limits;
pub mod stats;
pub mod systemd;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use oci_spec::runtime::LinuxResources;

use super::error::{During, Error, Result};

/// Where the hierarchy is: on a host of today, and on one that still has the old ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Controllers a container has limits or figures of.
const CONTROLLERS: [&str; 7] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];
/// Groups below each other that are looked at.
const MAX_DEPTH: usize = 32;
/// Processes end within this time after they were killed, or something holds them.
const END: Duration = Duration::from_secs(10);

/// Which control group a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// That of the caller, left as it is.
    Caller,
    /// One that is made at this path of the hierarchy.
    Path(PathBuf),
    /// A scope that systemd makes.
    Scope(systemd::Scope),
}

/// A control group.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

/// Where the hierarchy is mounted.
pub fn mount_point() -> Result<&'static Path> {
    let is_v2 = |path: &&&str| {
        statfs(**path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
    };
    MOUNTS.iter().find(is_v2).map(Path::new).ok_or_else(|| {
        Error::refused(
            "looking for control groups",
            "no cgroup2 on /sys/fs/cgroup: mount it, or boot without systemd.unified_cgroup_hierarchy=0",
        )
    })
}

impl Cgroup {
    /// Makes the group at `path` of the hierarchy, with all controllers there are, and sets
    /// limits. Fails if processes are in it already.
    pub fn make(path: &Path, resources: Option<&LinuxResources>) -> Result<Self> {
        let mount = mount_point()?;
        let relative = inside(path)?;
        let absolute = mount.join(&relative);
        let step = || format!("making the cgroup {}", absolute.display());
        enable_controllers(mount, &relative)?;
        fs::create_dir_all(&absolute).during(step)?;
        let group = Self::open(&absolute)?;
        if !group.processes()?.is_empty() {
            return Err(Error::refused(
                step(),
                "processes of somebody else are in it",
            ));
        }
        if let Err(error) = group.limit(resources) {
            // Made for nothing.
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// A group that is there.
    pub fn open(absolute: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: open(absolute, flags, Mode::empty())
                .during(|| format!("opening the cgroup {}", absolute.display()))?,
            path: absolute.to_owned(),
        })
    }

    /// The group that a process is in.
    pub fn of_process(pid: i32) -> Result<Self> {
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&file).during(|| format!("reading {file}"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = path.ok_or_else(|| Error::refused(format!("reading {file}"), "no cgroup2"))?;
        Self::open(&mount_point()?.join(path))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For making processes in it.
    pub fn directory(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Sets limits and which devices may be opened.
    pub fn limit(&self, resources: Option<&LinuxResources>) -> Result<()> {
        self.set_limits(resources)?;
        devices::restrict(self, resources.and_then(|r| r.devices().as_deref()))
    }

    /// Sets limits only.
    pub fn set_limits(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let Some(resources) = resources else {
            return Ok(());
        };
        for limit in limits::files(resources)? {
            self.set(&limit)?;
        }
        Ok(())
    }

    fn set(&self, limit: &limits::Limit) -> Result<()> {
        let step = || {
            let group = self.path.display();
            format!(
                "setting {} to {} in the cgroup {group}",
                limit.file, limit.value
            )
        };
        match put(&self.path.join(&limit.file), &limit.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if limit.optional {
                    return Ok(());
                }
                Err(Error::refused(step(), self.why_missing(&limit.file)))
            }
            other => other.during(step),
        }
    }

    fn why_missing(&self, file: &str) -> String {
        let controller = file.split('.').next().unwrap_or(file);
        if mount_point().is_ok_and(|mount| mount == Path::new(MOUNTS[1])) {
            return format!(
                "this host has its {controller} controller in the old hierarchy: limits need cgroup v2 alone"
            );
        }
        format!("the {controller} controller is not enabled there")
    }

    /// Contents of one of its files.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).during(|| format!("reading {}", path.display()))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        put(&path, value).during(|| format!("writing {value} to {}", path.display()))
    }

    /// Puts a process into it.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// All processes in it and below, in the order of their numbers.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        for directory in self.tree()? {
            match fs::read_to_string(directory.join("cgroup.procs")) {
                Ok(text) => all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                // Gone, or of threads, whose processes are listed above.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        || error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32)
                        || error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
                Err(error) => Err(error).during(|| format!("reading {}", directory.display()))?,
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The group and those below, deepest last.
    fn tree(&self) -> Result<Vec<PathBuf>> {
        let mut all = vec![self.path.clone()];
        let mut at = 0;
        let own = self.path.components().count();
        while at < all.len() {
            let entries = fs::read_dir(&all[at]).map(|entries| {
                let directories = entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                directories.map(|entry| entry.path()).collect::<Vec<_>>()
            });
            at += 1;
            for below in entries.unwrap_or_default() {
                if below.components().count() - own > MAX_DEPTH {
                    return Err(Error::refused(
                        format!("looking through the cgroup {}", self.path.display()),
                        format!("more than {MAX_DEPTH} groups deep"),
                    ));
                }
                all.push(below);
            }
        }
        Ok(all)
    }

    /// Kills all processes in it and below.
    pub fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Stops or continues all processes, and waits until it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let value = if frozen { "1" } else { "0" };
        self.write("cgroup.freeze", value)?;
        self.wait_for(&format!("frozen {value}"), END)
    }

    /// Whether all processes are stopped.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(self.read("cgroup.freeze")?.trim() == "1")
    }

    /// Waits for a line of `cgroup.events`.
    fn wait_for(&self, line: &str, timeout: Duration) -> Result<()> {
        let path = self.path.join("cgroup.events");
        let step = || format!("waiting for \"{line}\" in {}", path.display());
        let file = fs::File::open(&path).during(step)?;
        let until = Instant::now() + timeout;
        loop {
            if io::read_to_string(&mut &file)
                .during(step)?
                .lines()
                .any(|found| found == line)
            {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut polled, left) {
                Ok(0) => return Err(Error::refused(step(), "it took too long")),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => Err(error).during(step)?,
            }
            io::Seek::rewind(&mut &file).during(step)?;
        }
    }

    /// Removes it and those below. Processes in them are killed.
    pub fn remove(&self) -> Result<()> {
        let mut tried = false;
        for directory in self.tree()?.iter().rev() {
            let step = || format!("removing the cgroup {}", directory.display());
            match fs::remove_dir(directory) {
                Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) && !tried => {
                    tried = true;
                    self.kill()?;
                    self.wait_for("populated 0", END)?;
                    fs::remove_dir(directory).during(step)?;
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).during(step)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes the group at `path` of the hierarchy and those below it, if it is there. Processes
/// in them are killed.
pub fn remove(path: &Path) -> Result<()> {
    // Where there is no hierarchy there are no groups.
    let Ok(mount) = mount_point() else {
        return Ok(());
    };
    let absolute = mount.join(inside(path)?);
    if absolute.is_dir() {
        Cgroup::open(&absolute)?.remove()?;
    }
    Ok(())
}

/// The directory of the group at `path` of the hierarchy, whether it is there or not.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(mount_point()?.join(inside(path)?))
}

/// The path relative to the hierarchy, with nothing that leads out of it.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut names = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                return Err(Error::spec(
                    "linux.cgroupsPath",
                    format!("{} leads out of the hierarchy", path.display()),
                ));
            }
        }
    }
    if names.as_os_str().is_empty() {
        return Err(Error::spec(
            "linux.cgroupsPath",
            "names the root of the hierarchy",
        ));
    }
    Ok(names)
}

/// Writes to a file that is there: in this file system none can be made.
fn put(path: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(
        &mut fs::File::options().write(true).open(path)?,
        value.as_bytes(),
    )
}

/// Passes controllers on, from the root of the hierarchy to the parent of the group.
/// Those that cannot be are missed when a limit needs them, which says so.
fn enable_controllers(mount: &Path, relative: &Path) -> Result<()> {
    let mut directory = mount.to_owned();
    let names: Vec<_> = relative.components().collect();
    for name in &names {
        let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
        let (there, on) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
        let missing: Vec<String> = CONTROLLERS
            .iter()
            .filter(|wanted| there.split_whitespace().any(|found| found == **wanted))
            .filter(|wanted| !on.split_whitespace().any(|found| found == **wanted))
            .map(|wanted| format!("+{wanted}"))
            .collect();
        let control = directory.join("cgroup.subtree_control");
        if !missing.is_empty() && put(&control, &missing.join(" ")).is_err() {
            for one in missing {
                let _ = put(&control, &one);
            }
        }
        directory.push(name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => {
                other.during(|| format!("making the cgroup {}", directory.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_hierarchy() {
        assert_eq!(inside(Path::new("/a/b")).unwrap(), PathBuf::from("a/b"));
        for wrong in ["/", "", "../x", "/a/../../b"] {
            assert!(inside(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
