//! What tasks report, and what comes of it.

use daemon::log;
use tokio::time::Instant;

use super::Core;
use super::locker::{Heard, Order};
use crate::lock::{Answer, Brake, Grant, LockError, Standing, Wait};
use crate::plan::{Event, Plan};
use crate::sessions::Session;
use crate::state::Reported;

/// What a task reports.
#[derive(Debug)]
pub enum Done {
    /// The lock answered to the order with this number.
    Lock(u64, Heard),
    /// Who is logged in, asked for in the step with this number.
    Sessions(u64, Result<Vec<Session>, String>),
    /// The operator's programs ended, begun in the step with this number.
    Drained(u64, Result<(), String>),
    /// The group was told of a release that this host had to leave.
    Reported(Reported, Result<Option<Brake>, LockError>),
}

impl Core {
    /// A task reported.
    pub fn done(&mut self, done: Done) {
        if let Done::Lock(number, _) = &done
            && self.busy == Some(*number)
        {
            self.busy = None;
        }
        match done {
            Done::Lock(number, heard) if self.step.asked == Some(number) => {
                self.step.asked = None;
                self.heard(heard);
            }
            Done::Sessions(number, sessions) if self.step.task == Some(number) => {
                self.step.task = None;
                self.looked(sessions);
            }
            Done::Drained(number, result) if self.step.task == Some(number) => match result {
                Ok(()) => self.happen(Event::Drained),
                Err(why) => self.happen(Event::DrainFailed(why)),
            },
            Done::Reported(reported, result) => self.told(reported, result),
            // Too late: the plan went on.
            Done::Lock(..) | Done::Sessions(..) | Done::Drained(..) => {}
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Acquired(Ok(answer)) => {
                self.trouble.over();
                self.acquired(answer);
            }
            Heard::Alive(Ok(standing)) => {
                self.trouble.over();
                self.stands(standing);
            }
            Heard::Released(Ok(_)) => {
                self.trouble.over();
                self.happen(Event::Released);
            }
            Heard::Changed(Ok(())) => {}
            Heard::Acquired(Err(error))
            | Heard::Alive(Err(error))
            | Heard::Released(Err(error))
            | Heard::Changed(Err(error)) => {
                self.trouble.failed(&error);
                // A sign of life that did not come through is due again.
                self.step.alive = self.trouble.again().unwrap_or_else(Instant::now);
            }
        }
    }

    fn acquired(&mut self, answer: Answer) {
        match answer {
            Answer::Granted(Grant { expired, .. }) => {
                for gone in expired {
                    log::warn(format!(
                        "lock: {} ({}) was taken for gone, since it was silent for longer \
                         than the policy allows",
                        gone.claim.id, gone.claim.host
                    ));
                }
                let open = self.is_open();
                self.happen(Event::Granted { open });
            }
            Answer::Waiting(wait) => {
                if self.wait.is_none() {
                    log::info(waits(&wait));
                }
                self.wait = Some(wait);
                self.order(Order::Change);
            }
            Answer::Braked(brake) => self.happen(Event::Braked(brake.version)),
        }
    }

    fn stands(&mut self, standing: Standing) {
        let plan = self.saved.plan.clone();
        match (standing, plan) {
            (Standing::Held, Plan::Rebooting { .. }) => self.reboot_now(),
            (Standing::Held, _) => {}
            // What was booted is booted, and what is kept does not reboot.
            (Standing::Braked(_), Plan::Settling | Plan::Kept { .. }) => {}
            (Standing::Braked(brake), _) => self.leave(Event::Braked(brake.version)),
            (Standing::Lost, _) => self.leave(Event::Lost),
        }
    }

    /// Ends what goes on before its time.
    pub(super) fn leave(&mut self, event: Event) {
        let was_draining = matches!(self.saved.plan, Plan::Draining { .. });
        self.happen(event);
        if was_draining && !matches!(self.saved.plan, Plan::Draining { .. }) {
            let machine = self.machine.clone();
            tokio::spawn(async move { machine.stop_drain().await });
        }
    }
}

/// Whom this host waits for, for people.
fn waits(wait: &Wait) -> String {
    match wait {
        Wait::Queued { position, view } => {
            let holders: Vec<_> = view.holders.iter().map(|h| &*h.claim.host).collect();
            let holders = match holders.as_slice() {
                [] => "nobody, as max is 0".to_string(),
                some => some.join(", "),
            };
            format!("lock: held by {holders}; this host is number {position} in the queue")
        }
        Wait::Refused { reason } => format!("lock: not now: {reason}"),
    }
}
