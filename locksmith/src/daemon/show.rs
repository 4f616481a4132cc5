//! What the daemon shows of itself.

use jiff::Timestamp;

use super::Core;
use crate::lock::Wait;
use crate::plan::{self, By, Goal, Known, Plan, Why};
use crate::view::{self, View};

impl Core {
    /// Everything at this moment.
    pub fn view(&self) -> View {
        let need = self.need();
        View {
            schema: view::SCHEMA,
            host: self.shown_host(),
            plan: self.shown_plan(),
            need_unknown: need == Known::Unknown,
            need: match need {
                Known::Yes(need) => Some(shown_need(&need)),
                Known::No | Known::Unknown => None,
            },
            window: {
                let opening = self.windows.at(Timestamp::now());
                view::Window {
                    open: opening.is_open(),
                    until: opening.until(),
                }
            },
            lock: self.shown_lock(),
            keep: self.saved.keep.clone(),
            pause: self.pausing(),
            last: self.last.as_ref().map(|(at, why)| view::Last {
                at: *at,
                reason: why.to_string(),
                braked: match why {
                    Why::Braked(version) => Some(version.to_string()),
                    _ => None,
                },
            }),
            problems: self.problems(),
            warnings: self.warnings.clone(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.follower.problems().iter();
        let mut problems: Vec<_> = problems.map(ToString::to_string).collect();
        if !self.whole {
            problems.push(
                "the policy cannot be read whole: this host does not reboot by itself until \
                 it can"
                    .into(),
            );
        }
        problems
    }

    fn shown_host(&self) -> view::Host {
        let version = self.engine.running().or(self.host.version.as_ref());
        view::Host {
            id: self.host.id.to_string(),
            name: self.host.name.to_string(),
            version: version.map(ToString::to_string),
            settled: self.engine.is_settled(),
        }
    }

    fn shown_plan(&self) -> view::Plan {
        let plan = &self.saved.plan;
        view::Plan {
            state: plan.name().into(),
            since: self.saved.since,
            reason: match plan {
                Plan::Releasing { why } => Some(why.to_string()),
                Plan::Kept { reason }
                | Plan::Asking {
                    goal: Goal::Keep { reason },
                } => Some(reason.clone()),
                _ => plan.need().map(|need| need.reason.clone()),
            },
            grace_until: self.step.grace_until(),
        }
    }

    fn shown_lock(&self) -> view::Lock {
        let place = self.place().filter(|_| self.saved.plan != Plan::Resting);
        let place = place.or_else(|| self.settings.place());
        let (position, refused) = match &self.wait {
            Some(Wait::Queued { position, .. }) => (Some(*position), None),
            Some(Wait::Refused { reason }) => (None, Some(reason.clone())),
            None => (None, None),
        };
        let plan = &self.saved.plan;
        let asks = matches!(plan, Plan::Resting | Plan::Asking { .. });
        let trouble = self.trouble.why();
        view::Lock {
            strategy: self.settings.reboot.strategy.to_string(),
            group: place.map(|place| place.group().to_string()),
            held: self.saved.place.is_some() && !asks,
            position,
            refused,
            error: trouble.map(ToString::to_string),
        }
    }
}

fn shown_need(need: &plan::Need) -> view::Need {
    view::Need {
        reason: need.reason.clone(),
        to: need.to.as_ref().map(ToString::to_string),
        by: match need.by {
            By::Host => "host".into(),
            By::Operator => "operator".into(),
        },
    }
}
