//! The scenarios: one module for each theme, one function for each claim.

mod containers;
mod declared;
mod documented;
mod engines;
mod example;
mod failing;
mod fetching;
mod host;
mod joining;
mod kargs;
mod pages;
mod provisioning;
mod reboots;
mod rejected;
mod slots;
mod trust;
mod update;
mod volumes;

use crate::scenario::Scenario;

/// Scenarios that run when they are asked for by name: the documented examples and the commands
/// of the pages. What they show in pieces others show too, and a run is long enough.
pub fn by_name() -> Vec<Scenario> {
    [documented::SCENARIOS, pages::SCENARIOS].concat()
}

/// All other scenarios. Long ones come first, so that workers finish together.
pub fn all() -> Vec<Scenario> {
    [
        joining::SCENARIOS,
        update::SCENARIOS,
        provisioning::SCENARIOS,
        volumes::SCENARIOS,
        fetching::SCENARIOS,
        containers::SCENARIOS,
        declared::SCENARIOS,
        engines::SCENARIOS,
        trust::SCENARIOS,
        failing::SCENARIOS,
        kargs::SCENARIOS,
        host::SCENARIOS,
        example::SCENARIOS,
        slots::SCENARIOS,
        rejected::SCENARIOS,
    ]
    .concat()
}
