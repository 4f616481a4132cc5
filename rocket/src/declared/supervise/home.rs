//! Where the containers of a pod live: what they share, and how one of them is made.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use jiff::Timestamp;

use super::output::Output;
use super::{journal, make};
use crate::declared::model::Declaration;
use crate::detach;
use crate::dirs::Dirs;
use crate::image::Image;
use crate::pod::{self, App, AppProcess, Joined, Liveness, Manifest, Place, Pod, Record, start_of};
use crate::runtime::cgroup::How;
use crate::runtime::{self, Holder, Namespaces, Plan, Running, Stream, Streams};

/// The control group that systemd puts this process into, below its unit's.
pub const GROUP: &str = "supervisor";

/// What the containers of a pod share.
#[derive(Debug)]
pub struct Home<'a> {
    /// What was declared.
    pub declaration: &'a Declaration,
    /// What that is for rocket.
    pub manifest: Manifest,
    pod: &'a Pod,
    volumes: BTreeMap<String, Option<PathBuf>>,
    namespaces: Namespaces,
    addresses: Vec<IpAddr>,
    /// The unit's control group, if this process may make others in it.
    unit: Option<PathBuf>,
    started: Timestamp,
}

impl<'a> Home<'a> {
    /// Makes namespaces that outlive every container, a network in them, and the pod's files.
    ///
    /// # Errors
    /// One of these cannot be made.
    pub fn make(
        dirs: &Dirs,
        declaration: &'a Declaration,
        pod: &'a Pod,
        images: &[Image],
    ) -> anyhow::Result<Self> {
        let mut manifest = make::manifest(pod, declaration, images, &[])?;
        let volumes = pod::volumes::ready(dirs, pod, &manifest, None)?;
        let has_network = !declaration.host_network;
        let holder = Holder::new(&manifest.hostname, has_network)?;
        let addresses = pod::attach(dirs, pod, &manifest, holder.pid())?;
        let namespaces = holder.into_namespaces(has_network)?;
        if !addresses.is_empty() {
            let created = manifest.created;
            manifest = make::manifest(pod, declaration, images, &addresses)?;
            manifest.created = created;
            pod.write_manifest(&manifest)?;
        }
        let home = Self {
            declaration,
            manifest,
            pod,
            volumes,
            namespaces,
            addresses,
            unit: unit_group(),
            started: Timestamp::now(),
        };
        home.write_files()?;
        home.write_record(&[])?;
        Ok(home)
    }

    fn files(&self) -> PathBuf {
        self.pod.path().join("files")
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let files = self.files();
        pod::write_files(&files, &self.manifest, &self.addresses)?;
        let of_host = pod::servers(!self.declaration.host_network);
        let path = files.join("resolv.conf");
        fs::write(&path, make::resolv_conf(self.declaration, &of_host))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Notes which processes the pod has: each app's name and its first process.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_record(&self, running: &[(&str, i32)]) -> anyhow::Result<()> {
        let process = |(name, pid): &(&str, i32)| {
            Some(AppProcess {
                name: (*name).to_owned(),
                pid: *pid,
                // One that has ended meanwhile is no process of the pod any more.
                start: start_of(*pid)?,
            })
        };
        self.pod.write_record(&Record {
            boot: Liveness::of_this_boot()?.boot().to_owned(),
            started: self.started,
            unit: std::env::var(detach::UNIT).ok(),
            apps: running.iter().filter_map(process).collect(),
            addresses: self.addresses.clone(),
        })?;
        Ok(())
    }

    /// Where probes ask.
    pub fn address(&self) -> IpAddr {
        let first = self.addresses.first().copied();
        first.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Starts an app from the beginning: with the files of its image. Returns also what it
    /// writes, if that is not for somebody else.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, app: &App) -> anyhow::Result<(Running, Option<Output>)> {
        let own = self.pod.path().join("apps").join(&app.name);
        match fs::remove_dir_all(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", own.display()));
            }
            _ => {}
        }
        let files = self.files();
        let place = Place {
            files: &files,
            volumes: &self.volumes,
            joined: Some(Joined::Held(&self.namespaces)),
            range: None,
            notify: None,
            is_limited: true,
        };
        let (streams, output) = streams(app)?;
        let plan = Plan {
            root: pod::root(self.pod, app, None)?,
            streams,
            cgroup: self.group(app),
            ..Plan::new(pod::spec(&self.manifest, app, &place)?)
        };
        Ok((runtime::create(&plan)?.start()?, output))
    }

    /// Begins another program in an app that runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn enter(&self, app: &App, pid: i32, command: &[String]) -> anyhow::Result<Running> {
        let silent = Streams {
            input: Stream::Null,
            output: Stream::Null,
            error: Stream::Null,
        };
        pod::begin(&self.manifest, app, pid, command, silent)
    }

    fn group(&self, app: &App) -> How {
        match &self.unit {
            Some(unit) => How::Path(unit.join(format!("app-{}", app.name))),
            None if app.limits.are_none() => How::Caller,
            None => pod::cgroup(&self.manifest, app),
        }
    }
}

/// The group of the unit that this process is the supervisor of, as systemd made it.
fn unit_group() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = Path::new(path);
    let is_ours = own.file_name().is_some_and(|name| name == GROUP);
    is_ours.then(|| own.parent().map(Path::to_owned)).flatten()
}

/// What an app writes is in the journal under its name, if that is where we write.
fn streams(app: &App) -> anyhow::Result<(Streams, Option<Output>)> {
    let mut streams = Streams {
        input: Stream::Null,
        ..Streams::default()
    };
    if !journal::is_there() {
        return Ok((streams, None));
    }
    let (output, pipe) = Output::new(&app.name, &app.user)?;
    let copy = pipe.try_clone().context("copying a descriptor")?;
    streams.output = Stream::File(pipe);
    streams.error = Stream::File(copy);
    Ok((streams, Some(output)))
}
