//! What is known of a host, and what follows from it.

use super::{By, Event, Goal, Need, Plan, Why};

/// What is known of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Why it is to reboot, as far as that is known.
    pub need: Known<Need>,
    /// An operator wants the lock to be held, and says why.
    pub keep: Option<String>,
    /// What the policy says.
    pub allowed: Allowed,
    /// A window is open.
    pub open: bool,
    /// What runs is kept, and whoever has to know of a release that was left does.
    pub settled: bool,
    /// After a failure there is a pause.
    pub pausing: bool,
    /// The lock that is held or asked for is not the policy's any more.
    pub moved: bool,
}

/// Something that may not be known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<T> {
    /// Nobody has said yet.
    Unknown,
    /// There is none.
    No,
    /// There is one.
    Yes(T),
}

/// Whether the policy lets a host reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Nobody, or only an operator's wish.
    ByOperator,
    /// Without asking.
    Alone,
    /// With a lock.
    Locked,
    /// The policy cannot be read whole: what it says about locks is not known.
    Unknown,
}

impl Plan {
    /// What follows from what is known; nothing if there is an answer to wait for.
    pub fn next(&self, facts: &Facts) -> Option<Event> {
        match self {
            Self::Resting => begin(facts),
            Self::Asking {
                goal: Goal::Reboot(need),
            } => call_off(need, facts),
            Self::Asking {
                goal: Goal::Keep { .. },
            }
            | Self::Kept { .. } => {
                let unlocked = facts.keep.is_none();
                unlocked.then_some(Event::CallOff(Why::Unlocked))
            }
            // The window is looked at again when the time is over.
            Self::Grace { need } => call_off(need, facts)
                .filter(|event| !matches!(event, Event::CallOff(Why::WindowClosed))),
            // Programs have begun to move away what ran here: a window that closes now is
            // no reason to have done that in vain.
            Self::Draining { .. } | Self::Rebooting { .. } | Self::Releasing { .. } => None,
            Self::Settling => facts.settled.then_some(Event::Settled),
        }
    }
}

/// Whether it is time for something.
fn begin(facts: &Facts) -> Option<Event> {
    if facts.pausing {
        return None;
    }
    if let Some(reason) = &facts.keep
        && facts.allowed == Allowed::Locked
    {
        let reason = reason.clone();
        return Some(Event::Begin(Goal::Keep { reason }));
    }
    // A host on trial has to show first that it is well.
    let Known::Yes(need) = &facts.need else {
        return None;
    };
    if !facts.open || !facts.settled {
        return None;
    }
    let need = need.clone();
    match (facts.allowed, need.by) {
        (Allowed::Locked, _) => Some(Event::Begin(Goal::Reboot(need))),
        (Allowed::Alone, _) | (Allowed::ByOperator, By::Operator) => Some(Event::BeginAlone(need)),
        (Allowed::ByOperator, By::Host) | (Allowed::Unknown, _) => None,
    }
}

/// Why a reboot that has begun is not to be.
fn call_off(need: &Need, facts: &Facts) -> Option<Event> {
    let why = match (&facts.need, facts.allowed) {
        (Known::No, _) => Why::NotNeeded,
        (Known::Yes(now), _) if now.to != need.to => Why::NotNeeded,
        _ if facts.moved => Why::Policy,
        (_, Allowed::ByOperator) if need.by == By::Host => Why::Policy,
        _ if !facts.open => Why::WindowClosed,
        _ => return None,
    };
    Some(Event::CallOff(why))
}
