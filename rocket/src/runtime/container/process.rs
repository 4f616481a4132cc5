//! The program of a container: checked, in the kernel's terms.

use std::ffi::CString;
use std::path::PathBuf;

use nix::libc;
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimitType,
    Process, Scheduler,
};

use super::bounded;
use crate::runtime::caps::{self, Sets};
use crate::runtime::error::{Error, Result};
use crate::runtime::sys::process::Scheduling;

/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of arguments and environment together; the kernel takes less.
const MAX_BYTES: usize = 8 << 20;

/// A program and as whom it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    /// The first is the program.
    pub args: Vec<CString>,
    /// `KEY=value`
    pub env: Vec<CString>,
    /// Directories in which a program without `/` is looked for.
    pub search: Vec<PathBuf>,
    /// Whether the environment names a home.
    pub has_home: bool,
    /// Where it starts.
    pub cwd: PathBuf,
    /// As whom.
    pub uid: u32,
    /// As whom.
    pub gid: u32,
    /// As whom.
    pub groups: Vec<u32>,
    /// What new files are not.
    pub umask: u32,
    /// What it may do.
    pub capabilities: Sets,
    /// Whether execution may never give more.
    pub no_new_privileges: bool,
    /// Resource, soft and hard limit.
    pub limits: Vec<(u32, u64, u64)>,
    /// How early it is killed if memory is short.
    pub oom_score_adj: Option<i32>,
    /// A profile of AppArmor.
    pub apparmor: Option<String>,
    /// When it runs.
    pub scheduling: Option<Scheduling>,
    /// Class and level.
    pub io_priority: Option<(u32, u32)>,
    /// CPUs: until it is in the container's cgroup, and afterwards.
    pub affinity: (Vec<usize>, Vec<usize>),
    /// Rows and columns, if it has a terminal of its own.
    pub terminal: Option<(u16, u16)>,
}

impl ProcessPlan {
    /// Checks a process of a spec, which is at `field`.
    pub fn of(field: &str, process: &Process) -> Result<Self> {
        let args = strings(&format!("{field}.args"), process.args().as_deref())?;
        if args.is_empty() || args[0].is_empty() {
            return Err(Error::spec(format!("{field}.args"), "names no program"));
        }
        if process
            .selinux_label()
            .as_ref()
            .is_some_and(|label| !label.is_empty())
        {
            return Err(Error::spec(
                format!("{field}.selinuxLabel"),
                "rocket has no SELinux: turn labels off in the engine",
            ));
        }
        let env = process.env().as_deref();
        let user = process.user();
        let groups = user.additional_gids().clone().unwrap_or_default();
        bounded(&format!("{field}.user.additionalGids"), groups.len())?;
        Ok(Self {
            search: search(env),
            has_home: variable(env, "HOME").is_some_and(|home| !home.is_empty()),
            env: strings(&format!("{field}.env"), env)?,
            cwd: super::absolute(&format!("{field}.cwd"), process.cwd())?,
            uid: user.uid(),
            gid: user.gid(),
            groups,
            umask: user.umask().unwrap_or(0o022) & 0o777,
            capabilities: caps::sets(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges() == Some(true),
            limits: limits(field, process)?,
            oom_score_adj: oom(field, process.oom_score_adj())?,
            apparmor: apparmor(field, process)?,
            scheduling: process
                .scheduler()
                .as_ref()
                .map(|wanted| scheduling(field, wanted))
                .transpose()?,
            io_priority: process
                .io_priority()
                .as_ref()
                .map(|wanted| io_priority(field, wanted))
                .transpose()?,
            affinity: affinity(field, process)?,
            terminal: terminal(process),
            args,
        })
    }
}

fn strings(field: &str, list: Option<&[String]>) -> Result<Vec<CString>> {
    let list = list.unwrap_or_default();
    if list.iter().map(|text| text.len() + 1).sum::<usize>() > MAX_BYTES {
        return Err(Error::spec(field, "more than 8 MiB"));
    }
    list.iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| Error::spec(field, "has a zero byte")))
        .collect()
}

/// The value of a variable; the last one counts.
fn variable<'a>(env: Option<&'a [String]>, name: &str) -> Option<&'a str> {
    let value = |line: &'a String| line.strip_prefix(name)?.strip_prefix('=');
    env.unwrap_or_default().iter().rev().find_map(value)
}

fn search(env: Option<&[String]>) -> Vec<PathBuf> {
    let path = variable(env, "PATH").unwrap_or(DEFAULT_PATH);
    let here = |entry: &str| PathBuf::from(if entry.is_empty() { "." } else { entry });
    path.split(':').map(here).collect()
}

fn limits(field: &str, process: &Process) -> Result<Vec<(u32, u64, u64)>> {
    let all = process.rlimits().as_deref().unwrap_or_default();
    let mut limits: Vec<(u32, u64, u64)> = Vec::new();
    for (at, limit) in all.iter().enumerate() {
        let field = format!("{field}.rlimits[{at}]");
        let resource = resource(limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Error::spec(field, "the soft limit is above the hard one"));
        }
        if limits.iter().any(|(known, ..)| *known == resource) {
            return Err(Error::spec(field, format!("{} twice", limit.typ())));
        }
        limits.push((resource, limit.soft(), limit.hard()));
    }
    Ok(limits)
}

fn resource(name: PosixRlimitType) -> u32 {
    use PosixRlimitType as R;
    match name {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn oom(field: &str, wanted: Option<i32>) -> Result<Option<i32>> {
    match wanted {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Error::spec(
            format!("{field}.oomScoreAdj"),
            format!("{score} is not between -1000 and 1000"),
        )),
        wanted => Ok(wanted),
    }
}

fn apparmor(field: &str, process: &Process) -> Result<Option<String>> {
    let Some(profile) = process
        .apparmor_profile()
        .as_ref()
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if profile.len() > 1024 || !profile.bytes().all(plain) {
        return Err(Error::spec(
            format!("{field}.apparmorProfile"),
            "a name of at most 1024 printable characters",
        ));
    }
    Ok(Some(profile.clone()))
}

fn scheduling(field: &str, wanted: &Scheduler) -> Result<Scheduling> {
    use LinuxSchedulerFlag as F;
    use LinuxSchedulerPolicy as P;
    let field = format!("{field}.scheduler");
    let policy = match wanted.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => return Err(Error::spec(field, "Linux has no SCHED_ISO")),
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let flag = |flag: &F| match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    };
    let priority = wanted.priority().unwrap_or(0);
    Ok(Scheduling {
        policy,
        flags: wanted
            .flags()
            .iter()
            .flatten()
            .fold(0, |all, one| all | flag(one)),
        nice: wanted.nice().unwrap_or(0),
        priority: u32::try_from(priority)
            .map_err(|_| Error::spec(field, "a priority is not negative"))?,
        runtime: wanted.runtime().unwrap_or(0),
        deadline: wanted.deadline().unwrap_or(0),
        period: wanted.period().unwrap_or(0),
        ..Scheduling::default()
    })
}

fn io_priority(field: &str, wanted: &LinuxIOPriority) -> Result<(u32, u32)> {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(wanted.priority()) {
        Ok(level) if level < 8 => Ok((class, level)),
        _ => Err(Error::spec(
            format!("{field}.ioPriority.priority"),
            "levels are 0 to 7",
        )),
    }
}

fn affinity(field: &str, process: &Process) -> Result<(Vec<usize>, Vec<usize>)> {
    let Some(wanted) = process.exec_cpu_affinity() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let list = |list: &Option<String>| {
        cpus(list.as_deref().unwrap_or_default()).ok_or_else(|| {
            Error::spec(
                format!("{field}.execCPUAffinity"),
                "not a list of CPUs like 0-3,7 (up to 1023)",
            )
        })
    };
    Ok((list(wanted.initial())?, list(wanted.cpu_affinity_final())?))
}

/// The CPUs of a list like `0-3,7`.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > 1023 {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn terminal(process: &Process) -> Option<(u16, u16)> {
    if process.terminal() != Some(true) {
        return None;
    }
    let short = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
    let size = process
        .console_size()
        .map(|size| (short(size.height()), short(size.width())));
    Some(size.unwrap_or((0, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0-2, 7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(cpus(""), Some(vec![]));
        for wrong in ["3-1", "a", "5000", "-"] {
            assert_eq!(cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_variable_of_a_name_counts() {
        let env = [
            "PATH=/a".to_owned(),
            "PATH=/b::/c".to_owned(),
            "PATHS=/d".to_owned(),
        ];
        let expected = ["/b", ".", "/c"].map(PathBuf::from);
        assert_eq!(search(Some(&env)), expected);
        assert_eq!(search(None)[0], PathBuf::from("/usr/local/sbin"));
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_place() {
        for (json, place) in [
            (r#"{"cwd": "/", "args": []}"#, "process.args"),
            (r#"{"cwd": "x", "args": ["a"]}"#, "process.cwd"),
            (r#"{"cwd": "/", "args": ["a\u0000b"]}"#, "process.args"),
            (
                r#"{"cwd": "/", "args": ["a"], "oomScoreAdj": 2000}"#,
                "process.oomScoreAdj",
            ),
            (
                r#"{"cwd": "/", "args": ["a"], "selinuxLabel": "x"}"#,
                "process.selinuxLabel",
            ),
            (
                r#"{"cwd": "/", "args": ["a"],
                    "rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}"#,
                "process.rlimits[0]",
            ),
            (
                r#"{"cwd": "/", "args": ["a"],
                    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 9}}"#,
                "process.ioPriority.priority",
            ),
        ] {
            let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
            value["user"] = serde_json::json!({"uid": 0, "gid": 0});
            let process: Process = serde_json::from_value(value).unwrap();
            let error = ProcessPlan::of("process", &process)
                .unwrap_err()
                .to_string();
            assert!(error.contains(place), "{json}: {error}");
        }
    }
}
