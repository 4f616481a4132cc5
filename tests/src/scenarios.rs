//! The scenarios: one module for each theme, one function for each claim.

mod documented;
mod example;
mod failing;
mod fetching;
mod host;
mod kargs;
mod provisioning;
mod rejected;
mod slots;
mod update;
mod volumes;

use crate::scenario::Scenario;

/// All scenarios. Long ones come first, so that workers finish together.
pub fn all() -> Vec<Scenario> {
    [
        update::SCENARIOS,
        provisioning::SCENARIOS,
        volumes::SCENARIOS,
        fetching::SCENARIOS,
        documented::SCENARIOS,
        failing::SCENARIOS,
        kargs::SCENARIOS,
        host::SCENARIOS,
        example::SCENARIOS,
        slots::SCENARIOS,
        rejected::SCENARIOS,
    ]
    .concat()
}
