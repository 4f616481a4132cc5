//! Runs a prepared pod.

pub(super) mod users;
pub(crate) mod volumes;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use uuid::Uuid;

use super::record::start_of;
use super::spec::{Joined, Place, spec};
use super::{
    App, AppProcess, Ended, Exit, Liveness, Manifest, Phase, Pod, Record, State, phase, release,
    settle,
};
use crate::detach;
use crate::dirs::Dirs;
use crate::image::Store;
use crate::network::{self, Names};
use crate::notify;
use crate::options::{NetOption, UserNamespace};
use crate::relay::Relay;
use crate::runtime::cgroup::How;
use crate::runtime::cgroup::systemd::Scope;
use crate::runtime::{self, Created, Plan, Root, Running, Session, Upper};

/// What to do when a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Be its apps' parent until the last one has ended.
    ForApps,
    /// Leave its only app to the service manager that started this process.
    Never,
}

/// Runs a pod, which the caller holds: one that was prepared, or one that the caller made and
/// that nobody else is to run. Returns the exit status: that of the first app
/// that did not end with 0, or 0.
///
/// # Errors
/// It could not be started. Then nothing of it runs, and it has ended.
pub fn run(dirs: &Dirs, pod: &mut Pod, wait: Wait) -> anyhow::Result<u8> {
    if !matches!(pod.state(), State::Preparing | State::Prepared) {
        bail!(
            "pod {} is not prepared, it is {}; see `rocket status`",
            pod.uuid(),
            told(pod)?
        );
    }
    let manifest = pod.manifest()?;
    pod.advance(State::Running)?;
    let relay = Relay::new(Session::Caller)?;
    let apps = match start(dirs, pod, &manifest, wait) {
        Ok(apps) => apps,
        Err(error) => {
            give_up(dirs, pod, &manifest);
            return Err(error);
        }
    };
    if wait == Wait::Never {
        apps.into_iter().for_each(|(_, running)| running.leave());
        return Ok(0);
    }
    let ended = until_all_ended(&relay, &apps)?;
    let status = ended
        .iter()
        .filter_map(|app| app.status)
        .find(|status| *status != 0);
    pod.write_exit(&Exit {
        finished: Timestamp::now(),
        apps: ended,
    })?;
    let released = release(dirs, pod);
    pod.advance(State::Exited)?;
    // The app's own status is what the caller has to know; the rest is for `rocket gc`.
    if let Err(error) = released {
        eprintln!("rocket: pod {}: {error:#}", pod.uuid());
    }
    Ok(status.unwrap_or(0))
}

/// Passes signals on to apps until the last of them has ended.
pub(super) fn until_all_ended(
    relay: &Relay,
    apps: &[(String, Running)],
) -> anyhow::Result<Vec<Ended>> {
    let programs: Vec<&Running> = apps.iter().map(|(_, running)| running).collect();
    let ended = relay.until_all_ended(&programs, None)?;
    let ended = ended.into_iter().map(|(number, exit)| Ended {
        name: apps[number].0.clone(),
        status: Some(exit.code()),
    });
    Ok(ended.collect())
}

/// A pod that has run is prepared again, with the files that its apps left.
///
/// # Errors
/// It runs, or cannot be moved.
pub fn again(dirs: &Dirs, pod: &mut Pod) -> anyhow::Result<()> {
    let live = Liveness::of_this_boot()?;
    match phase(pod, pod.record()?.as_ref(), &live) {
        Phase::Prepared => return Ok(()),
        Phase::Exited | Phase::Aborted | Phase::Starting => settle(dirs, pod)?,
        other => bail!("pod {} is {other}", pod.uuid()),
    }
    // In the boot in which they were written the kernel has all of an app's files; after a
    // crash nobody knows which of them are whole.
    let is_this_boot = pod
        .record()?
        .is_none_or(|record| record.boot == live.boot());
    for app in pod.manifest()?.apps {
        let own = pod.path().join("apps").join(&app.name);
        let stale = if is_this_boot {
            own.join("work/work/incompat")
        } else {
            own
        };
        match fs::remove_dir_all(&stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", stale.display()));
            }
            _ => {}
        }
    }
    pod.forget_run()?;
    // Pods go back nowhere else: who looks through the states in their order to see which
    // images are needed would miss this one.
    let _in_use = Store::open(dirs)?.in_use()?;
    pod.advance(State::Prepared)?;
    Ok(())
}

fn told(pod: &Pod) -> anyhow::Result<Phase> {
    Ok(phase(
        pod,
        pod.record()?.as_ref(),
        &Liveness::of_this_boot()?,
    ))
}

/// A pod that did not come up has ended; what cannot be noted or given back is left to
/// `rocket gc`, because the first failure is what the caller has to know.
pub(crate) fn give_up(dirs: &Dirs, pod: &mut Pod, manifest: &Manifest) {
    let ended = |app: &App| Ended {
        name: app.name.clone(),
        status: None,
    };
    let exit = Exit {
        finished: Timestamp::now(),
        apps: manifest.apps.iter().map(ended).collect(),
    };
    let _ = pod.write_exit(&exit);
    let _ = release(dirs, pod);
    let _ = pod.advance(State::Exited);
}

fn start(
    dirs: &Dirs,
    pod: &Pod,
    manifest: &Manifest,
    wait: Wait,
) -> anyhow::Result<Vec<(String, Running)>> {
    let range = match manifest.users {
        UserNamespace::Host => None,
        UserNamespace::Auto => Some(users::take(dirs, pod.uuid())?),
    };
    let volumes = volumes::ready(dirs, pod, manifest, range)?;
    let files = pod.path().join("files");
    write_files(&files, manifest, &[])?;
    let notify = notify::socket().filter(|path| path.is_absolute());
    let mut created: Vec<Created> = Vec::new();
    for app in &manifest.apps {
        let place = Place {
            files: &files,
            volumes: &volumes,
            joined: created.first().map(Created::pid).map(Joined::Process),
            range,
            notify: notify.as_deref(),
            // The unit of a pod that is left to it has the app's limits already.
            is_limited: wait == Wait::ForApps,
        };
        let spec = spec(manifest, app, &place).with_context(|| format!("app {}", app.name))?;
        let plan = Plan {
            root: root(pod, app, range)?,
            streams: streams(app)?,
            cgroup: match app.limits.are_none() || wait == Wait::Never {
                true => How::Caller,
                false => cgroup(manifest, app),
            },
            dies_with_parent: wait == Wait::ForApps,
            ..Plan::new(spec)
        };
        created.push(runtime::create(&plan).with_context(|| format!("starting app {}", app.name))?);
    }
    let first = created
        .first()
        .map(Created::pid)
        .context("the pod has no apps")?;
    let addresses = attach(dirs, pod, manifest, first)?;
    if !addresses.is_empty() {
        write_files(&files, manifest, &addresses)?;
    }
    pod.write_record(&record(manifest, &created, addresses)?)?;
    if wait == Wait::Never {
        // Before the app runs, so that what it says itself comes later.
        notify::send(&format!("MAINPID={first}\nREADY=1")).context("telling systemd")?;
    }
    let mut running = Vec::new();
    for (app, created) in manifest.apps.iter().zip(created) {
        let started = created.start();
        running.push((
            app.name.clone(),
            started.with_context(|| format!("starting app {}", app.name))?,
        ));
    }
    Ok(running)
}

fn record(
    manifest: &Manifest,
    created: &[Created],
    addresses: Vec<IpAddr>,
) -> anyhow::Result<Record> {
    let process = |(app, created): (&App, &Created)| {
        let pid = created.pid();
        let start = start_of(pid).with_context(|| format!("app {} ended at once", app.name))?;
        Ok(AppProcess {
            name: app.name.clone(),
            pid,
            start,
        })
    };
    Ok(Record {
        boot: Liveness::of_this_boot()?.boot().to_owned(),
        started: Timestamp::now(),
        unit: std::env::var(detach::UNIT).ok(),
        apps: manifest
            .apps
            .iter()
            .zip(created)
            .map(process)
            .collect::<anyhow::Result<_>>()?,
        addresses,
    })
}

/// The pod's network, made through the namespace of its first app.
pub(crate) fn attach(
    dirs: &Dirs,
    pod: &Pod,
    manifest: &Manifest,
    first: i32,
) -> anyhow::Result<Vec<IpAddr>> {
    if manifest.network != NetOption::Host {
        network::loopback(first)?;
    }
    match &manifest.network {
        NetOption::Host | NetOption::None => Ok(Vec::new()),
        NetOption::Default => Ok(network::attach(dirs, pod.uuid(), first, &manifest.ports)?),
        NetOption::Cni(names) => {
            let keep = |attachments: &[network::Attachment]| {
                pod.write_attachments(attachments)
                    .map_err(|error| network::CniError::Kept(error.to_string()))
            };
            let member = network::Member {
                pod: pod.uuid(),
                pid: Some(first),
            };
            let made = network::attach_cni(dirs, names, member, &manifest.ports, keep)?;
            Ok(made
                .iter()
                .flat_map(network::Attachment::addresses)
                .collect())
        }
    }
}

/// The image's layers below a directory of the app's own.
pub(crate) fn root(pod: &Pod, app: &App, range: Option<(u32, u32)>) -> anyhow::Result<Root> {
    let own = pod.path().join("apps").join(&app.name);
    let (upper, work) = (own.join("upper"), own.join("work"));
    for path in [&upper, &work] {
        make(path, 0o755)?;
        if let Some((first, _)) = range {
            std::os::unix::fs::chown(path, Some(first), Some(first))
                .with_context(|| format!("giving {} to the pod's root", path.display()))?;
        }
    }
    Ok(Root::Overlay {
        lower: app.layers.clone(),
        upper: Some(Upper {
            upper,
            work,
            // A pod does not outlive a crash of the host.
            volatile: true,
        }),
    })
}

fn streams(app: &App) -> anyhow::Result<runtime::Streams> {
    use crate::options::Stream;
    let open = |stream: &Stream, is_input: bool| -> anyhow::Result<runtime::Stream> {
        Ok(match stream {
            Stream::Inherit => runtime::Stream::Inherit,
            Stream::Null => runtime::Stream::Null,
            Stream::File(path) => {
                let mut options = fs::File::options();
                if is_input {
                    options.read(true);
                } else {
                    options.append(true).create(true);
                }
                let file = options.open(path);
                let file = file.with_context(|| format!("opening {}", path.display()))?;
                runtime::Stream::File(file.into())
            }
        })
    };
    let [input, output, error] = &app.streams;
    Ok(runtime::Streams {
        input: open(input, true)?,
        output: open(output, false)?,
        error: open(error, false)?,
    })
}

/// `hosts`, `resolv.conf` and `hostname`. Apps have these very files mounted: they are written
/// in place.
pub(crate) fn write_files(
    dir: &Path,
    manifest: &Manifest,
    addresses: &[IpAddr],
) -> anyhow::Result<()> {
    make(dir, 0o755)?;
    let has_own = manifest.network != NetOption::Host;
    let of_host = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let servers = servers(has_own);
    let names = Names {
        hostname: &manifest.hostname,
        addresses,
    };
    let hosts = network::hosts(names, &manifest.hosts, &of_host);
    let resolv = network::resolv_conf(&manifest.dns, &servers, has_own);
    let hostname = format!("{}\n", manifest.hostname);
    for (name, text) in [
        ("hosts", hosts),
        ("resolv.conf", resolv),
        ("hostname", hostname),
    ] {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The host's `resolv.conf`, for a pod with a network of its own or without.
pub(crate) fn servers(has_own: bool) -> String {
    let of_host = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // resolved's own list has the servers behind the one on the host's loopback.
    let servers = match has_own {
        true => "/run/systemd/resolve/resolv.conf",
        false => "/etc/resolv.conf",
    };
    match of_host(servers) {
        text if text.is_empty() => of_host("/etc/resolv.conf"),
        text => text,
    }
}

/// For an app with limits: a scope that systemd makes, or, where there is none, a group of
/// our own. The caller's is the caller's.
pub(crate) fn cgroup(manifest: &Manifest, app: &App) -> How {
    if Path::new("/run/systemd/system").is_dir() {
        return How::Scope(Scope {
            slice: "machine.slice".to_owned(),
            name: format!("rocket-{}-{}.scope", manifest.uuid, app.name),
        });
    }
    How::Path(group(manifest.uuid).join(&app.name))
}

/// Below this are the control groups of a pod's apps that are our own.
pub(super) fn group(pod: Uuid) -> PathBuf {
    Path::new("/rocket").join(pod.to_string())
}

/// Waits until no other rocket changes what is in the directory.
fn lock(dir: &Path) -> anyhow::Result<fs::File> {
    let lock = fs::File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    let locked = lock.lock();
    locked.with_context(|| format!("locking {}", dir.display()))?;
    Ok(lock)
}

pub(super) fn make(path: &Path, mode: u32) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("creating {}", path.display()))
}
