//! Pods in units of their own: systemd starts them, knows their main process, and keeps what
//! they write.

use std::path::Path;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use uuid::Uuid;
use zbus::{OwnedObjectPath, Variant};

use crate::options::Restart;
use crate::pod::{Limits, Manifest};

/// systemd's manager, org.freedesktop.systemd1(5).
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload(&self) -> zbus::Result<()>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// One program and its arguments, as systemd takes it: path, arguments with the program's name
/// first, whether a failure counts as success.
type Program = Vec<(String, Vec<String>, bool)>;

/// The variable by which a pod that is started in a unit of its own knows that unit.
pub const UNIT: &str = "ROCKET_UNIT";

/// The unit of a pod.
pub fn unit(pod: Uuid) -> String {
    format!("rocket-{pod}.service")
}

/// Starts a prepared pod in a transient unit. When this returns, its apps run.
///
/// # Errors
/// systemd cannot be asked, or the unit did not start.
pub fn start(root: Option<&Path>, pod: &Manifest, restart: Restart) -> anyhow::Result<()> {
    let rocket = std::env::current_exe().context("finding rocket's own program")?;
    let rocket = rocket
        .to_str()
        .context("the path of rocket's own program is not UTF-8")?;
    let unit = unit(pod.uuid);
    let properties = properties(rocket, root, pod, restart);
    let result = block_on(async {
        let manager = manager().await?;
        manager.subscribe().await?;
        let removed = manager.receive_job_removed().await?;
        let job = manager
            .start_transient_unit(&unit, "fail", &properties, &[])
            .await
            .with_context(|| format!("asking systemd to start {unit}"))?;
        until_removed(removed, &job).await
    })?;
    if result == "done" {
        return Ok(());
    }
    bail!("{unit} did not start ({result}); `journalctl --unit={unit}` says why")
}

/// Waits until a job is over, and says how it went.
async fn until_removed(
    mut removed: JobRemovedStream,
    job: &OwnedObjectPath,
) -> anyhow::Result<String> {
    while let Some(signal) = removed.next().await {
        let done = signal.args()?;
        if done.job == *job {
            return Ok(done.result.clone());
        }
    }
    bail!("systemd went away meanwhile")
}

/// Has systemd read its units again, and run its generators.
///
/// # Errors
/// systemd cannot be asked, or cannot do it.
pub fn reload() -> anyhow::Result<()> {
    block_on(async {
        let reloaded = manager().await?.reload().await;
        reloaded.context("asking systemd to read its units again")
    })
}

/// Asks systemd to start a unit. Does not wait.
///
/// # Errors
/// systemd cannot be asked, or there is no such unit.
pub fn begin(unit: &str) -> anyhow::Result<()> {
    block_on(async {
        let job = manager().await?.start_unit(unit, "replace").await;
        job.map(drop)
            .with_context(|| format!("asking systemd to start {unit}"))
    })
}

/// Asks systemd to stop a unit if it runs, and to start it. Does not wait.
///
/// # Errors
/// systemd cannot be asked, or there is no such unit.
pub fn begin_again(unit: &str) -> anyhow::Result<()> {
    block_on(async {
        let job = manager().await?.restart_unit(unit, "replace").await;
        job.map(drop)
            .with_context(|| format!("asking systemd to restart {unit}"))
    })
}

/// Stops a unit, and waits until it has.
///
/// # Errors
/// systemd cannot be asked, or it did not stop.
pub fn end(unit: &str) -> anyhow::Result<()> {
    let result = block_on(async {
        let manager = manager().await?;
        manager.subscribe().await?;
        let removed = manager.receive_job_removed().await?;
        let job = manager.stop_unit(unit, "replace").await;
        let job = job.with_context(|| format!("asking systemd to stop {unit}"))?;
        until_removed(removed, &job).await
    })?;
    if result == "done" {
        return Ok(());
    }
    bail!("{unit} did not stop ({result})")
}

/// Asks systemd to stop a pod's unit: it sends the signal, and does not start it again. Does
/// not wait.
///
/// # Errors
/// systemd cannot be asked.
pub fn stop(unit: &str) -> anyhow::Result<()> {
    block_on(async {
        manager()
            .await?
            .stop_unit(unit, "replace")
            .await
            .map(drop)
            .with_context(|| format!("asking systemd to stop {unit}"))
    })
}

/// Kills all of a pod's unit.
///
/// # Errors
/// systemd cannot be asked.
pub fn kill(unit: &str) -> anyhow::Result<()> {
    block_on(async {
        manager()
            .await?
            .kill_unit(unit, "all", nix::libc::SIGKILL)
            .await
            .with_context(|| format!("asking systemd to kill {unit}"))
    })
}

/// What the unit is. A pod of one app is left to systemd, which then has the app itself as its
/// main process; a pod of several needs a parent that waits for all of them.
fn properties<'a>(
    rocket: &'a str,
    root: Option<&Path>,
    pod: &Manifest,
    restart: Restart,
) -> Vec<(&'a str, Variant<'a>)> {
    let is_left = pod.apps.len() == 1;
    let apps: Vec<&str> = pod.apps.iter().map(|app| app.name.as_str()).collect();
    let call = |verb: &str, flags: &[&str]| -> Program {
        let mut words = vec![rocket.to_owned()];
        if let Some(root) = root {
            words.push(format!("--root={}", root.display()));
        }
        words.push(verb.to_owned());
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.push(pod.uuid.to_string());
        vec![(rocket.to_owned(), words, false)]
    };
    let flags: &[&str] = if is_left {
        &["--again", "--leave"]
    } else {
        &["--again"]
    };
    let fields: Vec<Vec<u8>> = vec![
        format!("ROCKET_POD={}", pod.uuid).into_bytes(),
        format!("ROCKET_APP={}", apps.join(",")).into_bytes(),
    ];
    let mut properties = vec![
        (
            "Description",
            Variant::from(format!("Pod {} ({})", pod.uuid, apps.join(", "))),
        ),
        ("Slice", Variant::from("machine.slice")),
        ("Delegate", Variant::from(true)),
        ("KillMode", Variant::from("mixed")),
        ("CollectMode", Variant::from("inactive-or-failed")),
        // What the pod's record calls it; apps have an environment of their own.
        (
            "Environment",
            Variant::from(vec![format!("{UNIT}={}", unit(pod.uuid))]),
        ),
        ("Type", Variant::from("notify")),
        ("NotifyAccess", Variant::from("all")),
        ("LogExtraFields", Variant::from(fields)),
        ("ExecStart", Variant::from(call("run-prepared", flags))),
        ("ExecStopPost", Variant::from(call("finish", &[]))),
        (
            "Restart",
            Variant::from(match restart {
                Restart::No => "no",
                Restart::OnFailure => "on-failure",
                Restart::Always => "always",
            }),
        ),
    ];
    if let (true, Some(app)) = (is_left, pod.apps.first()) {
        properties.push(("KillSignal", Variant::from(app.stop_signal)));
        properties.extend(limits(&app.limits));
    }
    properties
}

/// An app's limits as those of its unit, systemd.resource-control(5).
fn limits(limits: &Limits) -> Vec<(&'static str, Variant<'static>)> {
    let memory = limits.memory.into_iter().flat_map(|bytes| {
        // What was asked for is all there is: no swap beside it.
        [
            ("MemoryMax", Variant::from(bytes)),
            ("MemorySwapMax", Variant::from(0_u64)),
        ]
    });
    // Microseconds of processor time in each second.
    let cpus = limits.cpus.map(|thousandths| {
        let each_second = u64::from(thousandths) * 1000;
        ("CPUQuotaPerSecUSec", Variant::from(each_second))
    });
    let pids = limits
        .pids
        .map(|most| ("TasksMax", Variant::from(u64::from(most))));
    memory.chain(cpus).chain(pids).collect()
}

async fn manager() -> anyhow::Result<ManagerProxy<'static>> {
    let bus = zbus::Connection::system().await;
    let bus = bus.context("reaching systemd over the system's message bus")?;
    Ok(ManagerProxy::new(&bus).await?)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a conversation with systemd")?
        .block_on(work)
}
