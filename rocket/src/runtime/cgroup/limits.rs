//! Limits of a spec, in the words of version 2 of control groups.
//!
//! Specs were written for version 1; the conversions are those of runc and crun, so that a
//! container has the same limits whoever runs it.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::runtime::error::{Error, Result};

/// A file of the group and what is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// In the group's directory.
    pub file: String,
    /// For the kernel.
    pub value: String,
    /// Whether a host that cannot do this may go without.
    pub optional: bool,
}

fn limit(file: &str, value: impl ToString) -> Limit {
    Limit {
        file: file.to_owned(),
        value: value.to_string(),
        optional: false,
    }
}

/// All limits that are asked for. What version 2 does not have is refused, unless it asks
/// for nothing.
pub fn files(resources: &LinuxResources) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    if let Some(cpu) = resources.cpu() {
        all.extend(self::cpu(cpu)?);
    }
    if let Some(memory) = resources.memory() {
        all.extend(self::memory(memory)?);
    }
    if let Some(pids) = resources.pids() {
        // What asks for no limit is no reason to need the controller.
        let none = pids.limit() <= 0;
        all.push(Limit {
            optional: none,
            ..limit("pids.max", or_max(pids.limit().max(0), none))
        });
    }
    if let Some(io) = resources.block_io() {
        all.extend(block_io(io)?);
    }
    for huge in resources.hugepage_limits().iter().flatten() {
        let size = plain("linux.resources.hugepageLimits", huge.page_size())?;
        all.push(limit(
            &format!("hugetlb.{size}.max"),
            or_max(huge.limit(), huge.limit() < 0),
        ));
    }
    all.extend(rdma(resources)?);
    if let Some(network) = resources.network()
        && (network.class_id().is_some_and(|id| id != 0)
            || network
                .priorities()
                .as_ref()
                .is_some_and(|all| !all.is_empty()))
    {
        return Err(Error::spec(
            "linux.resources.network",
            "cgroup v2 has no classes of traffic",
        ));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        let file = plain("linux.resources.unified", file)?;
        all.push(limit(file, value));
    }
    Ok(all)
}

/// A name of a file that is in the group and nowhere else.
fn plain<'a>(field: &str, name: &'a str) -> Result<&'a str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(valid) || name.starts_with('.') {
        return Err(Error::spec(
            field,
            format!("{name:?} is not a name of a limit"),
        ));
    }
    Ok(name)
}

fn or_max(value: impl ToString, unlimited: bool) -> String {
    if unlimited {
        "max".into()
    } else {
        value.to_string()
    }
}

fn cpu(cpu: &LinuxCpu) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
        all.push(limit("cpu.weight", weight(shares)));
    }
    if let Some(idle) = cpu.idle() {
        all.push(limit("cpu.idle", idle));
    }
    let burst = cpu.burst().map(|burst| limit("cpu.max.burst", burst));
    match (
        cpu.quota().unwrap_or(0),
        cpu.period().filter(|&period| period != 0),
    ) {
        (0, None) => {}
        (quota, period) => {
            let quota = or_max(quota, quota <= 0);
            all.push(limit(
                "cpu.max",
                format!("{quota} {}", period.unwrap_or(100_000)),
            ));
        }
    }
    all.extend(burst);
    if cpu.realtime_runtime().is_some_and(|time| time > 0) {
        return Err(Error::spec(
            "linux.resources.cpu.realtimeRuntime",
            "cgroup v2 has no limit of real-time processes",
        ));
    }
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            all.push(limit(file, list));
        }
    }
    Ok(all)
}

/// Shares are 2 to 262144 around 1024, weights 1 to 10000 around 100: the curve through
/// these three points in logarithms, which runc and crun agreed on.
fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

fn memory(memory: &LinuxMemory) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    let wanted = memory.limit().filter(|&limit| limit != 0);
    // Together with memory there, alone here.
    if let Some(swap) = memory.swap().filter(|&swap| swap != 0) {
        all.push(Limit {
            // Without swap there is nothing to limit.
            optional: true,
            ..limit("memory.swap.max", swap_alone(swap, wanted)?)
        });
    }
    if let Some(bytes) = wanted {
        all.push(limit("memory.max", or_max(bytes, bytes < 0)));
    }
    if let Some(bytes) = memory.reservation().filter(|&bytes| bytes != 0) {
        all.push(limit("memory.low", or_max(bytes, bytes < 0)));
    }
    let positive = |value: Option<i64>| value.is_some_and(|value| value > 0);
    if positive(memory.kernel_tcp()) {
        return Err(Error::spec(
            "linux.resources.memory.kernelTCP",
            "cgroup v2 counts it with the rest: use limit",
        ));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(Error::spec(
            "linux.resources.memory.disableOOMKiller",
            "cgroup v2 cannot do that",
        ));
    }
    Ok(all)
}

fn swap_alone(both: i64, memory: Option<i64>) -> Result<String> {
    let field = "linux.resources.memory.swap";
    match (both, memory) {
        (both, _) if both < 0 => Ok("max".into()),
        (_, Some(memory)) if memory < 0 => Err(Error::spec(field, "limited, but memory is not")),
        (_, None) => Err(Error::spec(
            field,
            "memory and swap together: needs limit as well",
        )),
        (both, Some(memory)) if both < memory => Err(Error::spec(
            field,
            "memory and swap together: cannot be less than limit",
        )),
        (both, Some(memory)) => Ok((both - memory).to_string()),
    }
}

fn block_io(io: &LinuxBlockIo) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        all.push(limit("io.weight", format!("default {}", io_weight(weight))));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let (major, minor) = (device.major(), device.minor());
            all.push(limit(
                "io.weight",
                format!("{major}:{minor} {}", io_weight(weight)),
            ));
        }
    }
    for (key, list) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        all.extend(list.iter().flatten().map(|device| throttle(key, device)));
    }
    Ok(all)
}

/// 10 to 1000 there, 1 to 10000 here.
fn io_weight(weight: u16) -> u64 {
    let weight = u64::from(weight.clamp(10, 1000));
    1 + (weight - 10) * 9999 / 990
}

fn throttle(key: &str, device: &LinuxThrottleDevice) -> Limit {
    let (major, minor, rate) = (device.major(), device.minor(), device.rate());
    limit(
        "io.max",
        format!("{major}:{minor} {key}={}", or_max(rate, rate == 0)),
    )
}

fn rdma(resources: &LinuxResources) -> Result<Vec<Limit>> {
    let mut all = Vec::new();
    for (device, wanted) in resources.rdma().iter().flatten() {
        let device = plain("linux.resources.rdma", device)?;
        let part = |key: &str, value: Option<u32>| {
            value.map_or(String::new(), |value| format!(" {key}={value}"))
        };
        let handles = part("hca_handle", wanted.hca_handles());
        let objects = part("hca_object", wanted.hca_objects());
        all.push(limit("rdma.max", format!("{device}{handles}{objects}")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(json: &str) -> Result<Vec<(String, String)>> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        Ok(files(&resources)?
            .into_iter()
            .map(|l| (l.file, l.value))
            .collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn limits_are_converted() {
        let json = r#"{
            "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1"},
            "pids": {"limit": 42},
            "blockIO": {"weight": 1000,
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
            "unified": {"memory.high": "800"}}"#;
        let expected = pairs(&[
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0-1"),
            ("memory.swap.max", "500"),
            ("memory.max", "1000"),
            ("memory.low", "500"),
            ("pids.max", "42"),
            ("io.weight", "default 10000"),
            ("io.max", "8:0 rbps=5"),
            ("hugetlb.2MB.max", "9"),
            ("memory.high", "800"),
        ]);
        assert_eq!(of(json).unwrap(), expected);
    }

    #[test]
    fn no_limit_is_max_and_nothing_is_nothing() {
        assert_eq!(of("{}").unwrap(), []);
        let json = r#"{"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1},
                       "cpu": {"quota": -1, "shares": 0}}"#;
        let expected = pairs(&[
            ("cpu.max", "max 100000"),
            ("memory.swap.max", "max"),
            ("memory.max", "max"),
            ("pids.max", "max"),
        ]);
        assert_eq!(of(json).unwrap(), expected);
    }

    #[test]
    fn what_version_2_cannot_do_is_refused_by_its_place() {
        for (json, place) in [
            (r#"{"memory": {"swap": 5}}"#, "memory.swap"),
            (r#"{"memory": {"limit": 9, "swap": 5}}"#, "memory.swap"),
            (
                r#"{"memory": {"disableOOMKiller": true}}"#,
                "disableOOMKiller",
            ),
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, "realtimeRuntime"),
            (r#"{"network": {"classID": 5}}"#, "network"),
            (r#"{"unified": {"../x": "1"}}"#, "unified"),
            (r#"{"unified": {"a/b": "1"}}"#, "unified"),
            (
                r#"{"hugepageLimits": [{"pageSize": "../", "limit": 9}]}"#,
                "hugepageLimits",
            ),
        ] {
            let error = of(json).unwrap_err().to_string();
            assert!(error.contains(place), "{json}: {error}");
        }
    }

    #[test]
    fn weights_meet_at_the_ends_and_in_the_middle() {
        let all = [0, 2, 1024, 262_144, u64::MAX].map(weight);
        assert_eq!(all, [1, 1, 100, 10_000, 10_000]);
    }

    proptest! {
        #[test]
        fn more_shares_are_never_less_weight(a in 2..262_144_u64, b in 2..262_144_u64) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(weight(less) <= weight(more));
            prop_assert!((1..=10_000).contains(&weight(a)));
        }
    }
}
