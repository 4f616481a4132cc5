//! What will be run.

use std::fmt;
use std::path::Path;

use crate::scenario::Scenario;
use crate::scenarios;

/// Name of the step that runs `cargo test`.
const UNIT: &str = "unit";
/// Name of the step that compares our ignition with another one, and its claim.
pub const DIFFERENTIAL: &str = "ignition_does_what_go_ignition_does";
const CLAIM: &str = "Both make the same of the same configs, or refuse them; a few of all kinds.";

/// Names of the steps that make containers on this host, and their claims.
pub const CONTAINERS: &str = "containers_on_this_host_do_what_they_say";
const CONTAINERS_CLAIM: &str = "Bundles and pods that are made on this host are shut in, and a \
    rocket that is killed at any of its steps leaves nothing that is not collected.";
pub const MANY_CONTAINERS: &str = "containers_five_hundred_in_a_row_leave_nothing";
const MANY_CLAIM: &str = "Of 500 pods that ran on this host and were collected there is no mount, \
    control group, address or namespace left. By name only.";

/// Name of the step that takes locks in real etcd, and its claim.
pub const LOCK: &str = "lock_in_real_etcd_is_never_held_by_too_many";
const LOCK_CLAIM: &str = "Three members of etcd are killed, stopped and cut off while hosts \
    contend for a lock; who may use it is told by certificate or password.";

/// What one run of the program does.
pub struct Plan {
    /// Whether `cargo test` is run.
    pub unit: bool,
    /// Whether our ignition is compared with another one.
    pub differential: bool,
    /// Whether containers are made on this host.
    pub containers: bool,
    /// Whether many are.
    pub many_containers: bool,
    /// Whether locks are taken in real etcd.
    pub lock: bool,
    /// The scenarios, in the order in which they start.
    pub scenarios: Vec<Scenario>,
}

impl Plan {
    /// Everything, or what has `filter` in its name, also of what runs by name only.
    pub fn of(filter: Option<&str>) -> Self {
        let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
        let mut scenarios = scenarios::all();
        if filter.is_some() {
            scenarios.extend(scenarios::by_name());
        }
        scenarios.retain(|scenario| wanted(scenario.name));
        Self {
            unit: wanted(UNIT),
            differential: wanted(DIFFERENTIAL),
            containers: wanted(CONTAINERS),
            many_containers: filter.is_some() && wanted(MANY_CONTAINERS),
            lock: wanted(LOCK),
            scenarios,
        }
    }

    /// Tells people what is going to happen.
    pub fn announce(&self, images: &Path) {
        if !self.scenarios.is_empty() {
            println!("e2e: releases in {}", images.display());
        }
        if self.unit {
            println!("e2e: cargo test of the workspace");
        }
        if self.differential {
            println!("e2e: our ignition and Debian's, on the same configs");
        }
        if self.containers || self.many_containers {
            println!("e2e: containers on this host");
        }
        if self.lock {
            println!("e2e: locks in real etcd");
        }
        println!(
            "e2e: {} scenarios in virtual machines",
            self.scenarios.len()
        );
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unit {
            writeln!(f, "{UNIT}\n    cargo test --workspace")?;
        }
        if self.differential {
            writeln!(f, "{DIFFERENTIAL}\n    {CLAIM}")?;
        }
        if self.containers {
            writeln!(f, "{CONTAINERS}\n    {CONTAINERS_CLAIM}")?;
        }
        if self.many_containers {
            writeln!(f, "{MANY_CONTAINERS}\n    {MANY_CLAIM}")?;
        }
        if self.lock {
            writeln!(f, "{LOCK}\n    {LOCK_CLAIM}")?;
        }
        for scenario in &self.scenarios {
            writeln!(f, "{}\n    {}", scenario.name, scenario.claim)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_claims_and_each_is_there_once() {
        let plan = Plan::of(None);
        let names: BTreeSet<_> = plan.scenarios.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), plan.scenarios.len());
        assert!(plan.unit && plan.differential && plan.containers && plan.lock);
        assert!(!plan.many_containers && plan.scenarios.len() > 10);
        for scenario in &plan.scenarios {
            assert!(scenario.claim.ends_with('.'), "{}", scenario.name);
            assert!(scenario.name.contains('_'), "{}", scenario.name);
        }
    }

    #[test]
    fn a_filter_picks_by_part_of_the_name() {
        let plan = Plan::of(Some("unit"));
        assert!(plan.unit && !plan.differential && plan.scenarios.is_empty());
        assert!(Plan::of(Some("go_ignition")).differential);
        let plan = Plan::of(Some("containers_"));
        assert!(plan.containers && plan.many_containers && !plan.unit);
        let name = Plan::of(None).scenarios[0].name;
        let plan = Plan::of(Some(name));
        assert!(!plan.unit);
        assert_eq!(plan.scenarios[0].name, name);
        assert!(Plan::of(Some("no such name")).scenarios.is_empty());
    }
}
