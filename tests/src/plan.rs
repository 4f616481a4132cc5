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

/// What one run of the program does.
pub struct Plan {
    /// Whether `cargo test` is run.
    pub unit: bool,
    /// Whether our ignition is compared with another one.
    pub differential: bool,
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
        assert!(plan.unit && plan.differential && plan.scenarios.len() > 10);
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
        let name = Plan::of(None).scenarios[0].name;
        let plan = Plan::of(Some(name));
        assert!(!plan.unit);
        assert_eq!(plan.scenarios[0].name, name);
        assert!(Plan::of(Some("no such name")).scenarios.is_empty());
    }
}
