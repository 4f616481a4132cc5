//! `update`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::args;
use super::spec;
use super::store::Store;
use crate::runtime::cgroup::systemd;
use crate::runtime::state::Status;

/// Bytes of standard input.
const MAX_BYTES: u64 = 1 << 20;

/// Changes limits. Those that are not named stay.
pub fn update(store: &Store, args: &args::Update) -> anyhow::Result<()> {
    let resources = match &args.resources {
        Some(path) => read(path)?,
        None => resources(args),
    };
    let locked = store.lock(&args.id)?;
    let container = &locked.container;
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    let group = container
        .cgroup()
        .context("the container has no cgroup of its own")?;
    if let Some(scope) = &container.record.scope {
        systemd::update(scope, &resources)?;
    }
    // Devices stay as they are unless they are named.
    if resources
        .devices()
        .as_ref()
        .is_some_and(|rules| !rules.is_empty())
    {
        return Ok(group.limit(Some(&resources))?);
    }
    Ok(group.set_limits(Some(&resources))?)
}

fn read(path: &Path) -> anyhow::Result<LinuxResources> {
    if path != Path::new("-") {
        return spec::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .context("reading standard input")?;
    spec::parse(&bytes).context("reading standard input")
}

fn resources(args: &args::Update) -> LinuxResources {
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(args.memory)
        .set_reservation(args.memory_reservation)
        .set_swap(args.memory_swap);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share)
        .set_period(args.cpu_period)
        .set_quota(args.cpu_quota)
        .set_cpus(args.cpuset_cpus.clone())
        .set_mems(args.cpuset_mems.clone());
    let mut io = LinuxBlockIo::default();
    io.set_weight(args.blkio_weight);
    let mut resources = LinuxResources::default();
    resources
        .set_memory(Some(memory))
        .set_cpu(Some(cpu))
        .set_block_io(Some(io))
        .set_pids(args.pids_limit.map(|limit| {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            pids
        }));
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cgroup::limits;

    #[test]
    fn only_what_is_named_changes() {
        let args = args::Update {
            memory: Some(5),
            ..args::Update::default()
        };
        let files = limits::files(&resources(&args)).unwrap();
        let names: Vec<&str> = files.iter().map(|limit| limit.file.as_str()).collect();
        assert_eq!(names, ["memory.max"]);
    }
}
