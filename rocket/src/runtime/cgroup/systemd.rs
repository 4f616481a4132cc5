//! Control groups that systemd makes: a scope around a process that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use oci_spec::runtime::LinuxResources;
use zbus::{OwnedObjectPath, Variant};

use super::{Cgroup, limits};
use crate::runtime::error::{During, Error, Result};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// A scope is made in a fraction of this, or the host is in trouble.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A scope and the slice it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `NAME.slice`
    pub slice: String,
    /// `PREFIX-ID.scope`
    pub name: String,
}

impl Scope {
    /// From `slice:prefix:name`, as engines write it into `linux.cgroupsPath`. Without one
    /// the scope is named after the container.
    pub fn parse(path: Option<&Path>, id: &str) -> Result<Self> {
        let text = path
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default();
        let parts: Vec<&str> = match text.as_str() {
            "" => vec!["", "rocket", id],
            text => text.split(':').collect(),
        };
        let [slice, prefix, name] = parts[..] else {
            return Err(Error::spec(
                "linux.cgroupsPath",
                format!("{text:?}: with --systemd-cgroup it is slice:prefix:name"),
            ));
        };
        let name = match (prefix, name.strip_suffix(".slice")) {
            (_, Some(_)) => {
                return Err(Error::spec(
                    "linux.cgroupsPath",
                    "a container is a scope, not a slice",
                ));
            }
            ("", None) => format!("{name}.scope"),
            (prefix, None) => format!("{prefix}-{name}.scope"),
        };
        let slice = if slice.is_empty() {
            "system.slice"
        } else {
            slice
        };
        let scope = Self {
            slice: slice.to_owned(),
            name,
        };
        match scope.is_plain() {
            true => Ok(scope),
            false => Err(Error::spec(
                "linux.cgroupsPath",
                format!("{text:?} names no unit"),
            )),
        }
    }

    fn is_plain(&self) -> bool {
        let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let plain = |name: &str| name.len() < 256 && name.chars().all(valid);
        plain(&self.slice) && plain(&self.name) && self.slice.ends_with(".slice")
    }
}

/// Puts a process into a scope of its own and sets limits there. systemd knows the most
/// important ones itself, so that it does not undo them when it reloads.
pub fn start(scope: &Scope, pid: i32, resources: Option<&LinuxResources>) -> Result<Cgroup> {
    let step = || format!("asking systemd for the scope {}", scope.name);
    on_bus(&step, async {
        let manager = manager().await?;
        let mut removed = manager.receive_signal("JobRemoved").await?;
        let pids = [u32::try_from(pid).unwrap_or(0)];
        let mut properties: Vec<(&str, Variant)> = vec![
            ("Description", Variant::from("container of rocket")),
            ("Slice", Variant::from(scope.slice.as_str())),
            ("Delegate", Variant::from(true)),
            ("DefaultDependencies", Variant::from(false)),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("PIDs", Variant::from(&pids[..])),
        ];
        properties.extend(known(resources));
        let auxiliary: Vec<(&str, Vec<(&str, Variant)>)> = Vec::new();
        let body = (scope.name.as_str(), "fail", properties, auxiliary);
        let job: OwnedObjectPath = manager.call("StartTransientUnit", &body).await?;
        while let Some(signal) = removed.next().await {
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
                signal.body().deserialize()?;
            if path == job {
                return Ok(result);
            }
        }
        Ok("lost".to_owned())
    })
    .and_then(|result| match result.as_str() {
        "done" => Ok(()),
        other => Err(Error::refused(step(), format!("the job ended as {other}"))),
    })?;
    let group = Cgroup::of_process(pid)?;
    group.limit(resources)?;
    Ok(group)
}

/// Ends a scope. One that is not there is no error.
pub fn stop(scope: &str) -> Result<()> {
    let step = || format!("asking systemd to end the scope {scope}");
    on_bus(&step, async {
        let manager = manager().await?;
        let _: zbus::Result<OwnedObjectPath> = manager.call("StopUnit", &(scope, "replace")).await;
        let _: zbus::Result<()> = manager.call("ResetFailedUnit", &(scope,)).await;
        Ok(())
    })
}

/// Tells systemd limits that were changed.
pub fn update(scope: &str, resources: &LinuxResources) -> Result<()> {
    let step = || format!("asking systemd to change the scope {scope}");
    on_bus(&step, async {
        let manager = manager().await?;
        let body = (scope, true, known(Some(resources)));
        manager.call("SetUnitProperties", &body).await
    })
}

async fn manager() -> zbus::Result<zbus::Proxy<'static>> {
    let bus = zbus::Connection::system().await?;
    zbus::Proxy::new(&bus, SYSTEMD, PATH, MANAGER).await
}

/// Runs a conversation with the bus; threads are not needed for it.
fn on_bus<T>(step: &impl Fn() -> String, talk: impl Future<Output = zbus::Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during(step)?;
    let refused = |problem: String| Error::refused(step(), problem);
    match runtime.block_on(async { tokio::time::timeout(TIMEOUT, talk).await }) {
        Ok(result) => result.map_err(|error| refused(error.to_string())),
        Err(_) => Err(refused(format!("no answer within {} s", TIMEOUT.as_secs()))),
    }
}

/// Limits as properties of a unit.
fn known(resources: Option<&LinuxResources>) -> Vec<(&'static str, Variant<'static>)> {
    let Some(Ok(limits)) = resources.map(limits::files) else {
        // Wrong ones are refused when they are set.
        return Vec::new();
    };
    let mut all = Vec::new();
    for limit in limits {
        let number = || limit.value.parse::<u64>().unwrap_or(u64::MAX);
        match limit.file.as_str() {
            "memory.max" => all.push(("MemoryMax", Variant::from(number()))),
            "memory.low" => all.push(("MemoryLow", Variant::from(number()))),
            "memory.swap.max" => all.push(("MemorySwapMax", Variant::from(number()))),
            "pids.max" => all.push(("TasksMax", Variant::from(number()))),
            "cpu.weight" => all.push(("CPUWeight", Variant::from(number()))),
            "cpu.max" => all.extend(cpu_quota(&limit.value)),
            _ => {}
        }
    }
    all
}

/// Microseconds per second, and the period.
fn cpu_quota(value: &str) -> Vec<(&'static str, Variant<'static>)> {
    let mut words = value.split(' ').map(|word| word.parse::<u64>().ok());
    let (quota, period) = (words.next().flatten(), words.next().flatten());
    let period = period.filter(|&period| period > 0).unwrap_or(100_000);
    let per_second = quota.map_or(u64::MAX, |quota| quota.saturating_mul(1_000_000) / period);
    vec![
        ("CPUQuotaPerSecUSec", Variant::from(per_second)),
        ("CPUQuotaPeriodUSec", Variant::from(period)),
    ]
}

/// The scope that a group is, if systemd made it.
pub fn scope_of(path: &Path) -> Option<String> {
    let name = PathBuf::from(path.file_name()?);
    let name = name.to_str()?;
    name.ends_with(".scope").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Scope> {
        Scope::parse(Some(Path::new(path)), "id")
    }

    #[test]
    fn scopes_are_named_as_engines_write_them() {
        let scope = parse("machine.slice:libpod:abc").unwrap();
        assert_eq!(
            (scope.slice.as_str(), scope.name.as_str()),
            ("machine.slice", "libpod-abc.scope")
        );
        let scope = parse("::abc").unwrap();
        assert_eq!(
            (scope.slice.as_str(), scope.name.as_str()),
            ("system.slice", "abc.scope")
        );
        let scope = Scope::parse(None, "x").unwrap();
        assert_eq!(scope.name, "rocket-x.scope");
        for wrong in [
            "/a/b",
            "a:b",
            "x.slice:a:b.slice",
            "slice:a:b",
            "a.slice:x:../y",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotas_are_per_second() {
        let per_second = |value| cpu_quota(value)[0].1.clone();
        assert_eq!(per_second("50000 100000"), Variant::from(500_000_u64));
        assert_eq!(per_second("max 100000"), Variant::from(u64::MAX));
    }
}
