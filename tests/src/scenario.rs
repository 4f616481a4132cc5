//! What a scenario is.

use std::time::Duration;

use anyhow::Result;

use crate::context::Context;

/// One claim about Ballast and how it is tested.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The claim as a name.
    pub name: &'static str,
    /// The claim as a sentence.
    pub claim: &'static str,
    /// What an idle two-core machine without KVM needs at most.
    pub deadline: Duration,
    /// Fails if the claim does not hold.
    pub run: fn(&Context) -> Result<()>,
}

/// A scenario named after its function, with the minutes it may take.
macro_rules! scenario {
    ($run:ident, $minutes:literal, $claim:literal) => {
        $crate::scenario::Scenario {
            name: stringify!($run),
            claim: $claim,
            deadline: ::std::time::Duration::from_secs(60 * $minutes),
            run: $run,
        }
    };
}
pub(crate) use scenario;
