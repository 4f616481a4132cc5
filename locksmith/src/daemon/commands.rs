//! What operators ask for.

use daemon::log::{self, chain};

use super::{Command, CommandError, Core, Reply, Verb};
use crate::lock::{HolderId, Lock, LockError, Reason, Released};
use crate::plan::{Allowed, Event, Plan, Why};
use crate::settings::Place;
use crate::view::Group;

fn refused(why: impl Into<String>) -> CommandError {
    CommandError::Refused(why.into())
}

/// What a group is asked.
enum Question {
    Group,
    Forget(HolderId),
    Change(Verb),
}

fn answer(reply: Reply, said: Result<String, CommandError>) {
    // Who asked may be gone.
    let _ = reply.send(said);
}

fn failed(error: &LockError) -> CommandError {
    let why = chain(error);
    match error {
        LockError::Asked(_) => CommandError::Refused(why),
        _ => CommandError::Failed(why),
    }
}

impl Core {
    /// Carries out a command. What takes long is done beside this, and answers by itself.
    pub fn command(&mut self, command: Command, reply: Reply) {
        let said = match command {
            Command::Reboot { reason, force } => self.wish(reason, force),
            Command::Lock { reason } => self.lock(reason),
            Command::Unlock if self.saved.plan == Plan::Resting => {
                return self.forget(reply);
            }
            Command::Unlock => self.unlock(),
            Command::Group => return self.ask(reply, Question::Group),
            Command::Change(Verb::Unlock(id)) if id == self.host.id => {
                return self.command(Command::Unlock, reply);
            }
            Command::Change(verb) => return self.ask(reply, Question::Change(verb)),
        };
        answer(reply, said);
    }

    /// A reboot, when the policy lets this host or at once.
    fn wish(&mut self, reason: String, force: bool) -> Result<String, CommandError> {
        let reason = reason_of(reason, "an operator wants it")?;
        if force {
            log::warn(format!(
                "rebooting at once, as an operator forces it: {reason}"
            ));
            let asked = self.machine.reboot();
            asked.map_err(|error| CommandError::Failed(format!("rebooting: {error}")))?;
            return Ok("rebooting at once".into());
        }
        if self.allowed() == Allowed::Unknown {
            return Err(refused(
                "the policy does not say whom to ask: see locksmithctl status, or use --force",
            ));
        }
        if matches!(self.saved.plan, Plan::Kept { .. }) {
            return Err(refused(
                "the lock is kept here by an operator: locksmithctl unlock, or use --force",
            ));
        }
        self.want(|saved| saved.wish = Some(reason))?;
        self.strikes = 0;
        Ok("this host reboots as soon as it may: see locksmithctl status".into())
    }

    /// The lock, without a reboot.
    fn lock(&mut self, reason: String) -> Result<String, CommandError> {
        let reason = reason_of(reason, "an operator keeps it")?;
        if self.allowed() != Allowed::Locked {
            return Err(self.no_group());
        }
        match &self.saved.plan {
            Plan::Resting | Plan::Kept { .. } | Plan::Releasing { .. } => {}
            plan => {
                return Err(refused(format!(
                    "the lock is asked for or held for a reboot already (plan: {})",
                    plan.name()
                )));
            }
        }
        self.want(|saved| saved.keep = Some(reason))?;
        Ok("the lock is asked for; it is kept until locksmithctl unlock".into())
    }

    /// Gives back what is held or asked for.
    fn unlock(&mut self) -> Result<String, CommandError> {
        if matches!(self.saved.plan, Plan::Rebooting { .. }) {
            return Err(refused("too late: this host is about to reboot"));
        }
        self.want(|saved| (saved.keep, saved.wish) = (None, None))?;
        self.leave(Event::CallOff(Why::Unlocked));
        Ok("the lock is given back".into())
    }

    /// Nothing is planned; the lock may know this host all the same.
    fn forget(&mut self, reply: Reply) {
        let forgotten = self.want(|saved| (saved.keep, saved.wish) = (None, None));
        let done = "nothing is planned here any more";
        match forgotten {
            Ok(()) if self.settings.place().is_some() => {
                self.ask(reply, Question::Forget(self.host.id.clone()));
            }
            Ok(()) => answer(reply, Ok(done.into())),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Asks the group something, with a lock of its own, beside whatever the plan does with
    /// its lock.
    fn ask(&mut self, reply: Reply, question: Question) {
        let Some(place) = self.settings.place() else {
            return answer(reply, Err(self.no_group()));
        };
        let mut lock = match self.locks.open(&place) {
            Ok(lock) => lock,
            Err(error) => return answer(reply, Err(failed(&error))),
        };
        tokio::spawn(async move {
            let said = match question {
                Question::Group => show(lock.as_mut(), &place).await,
                Question::Forget(id) => forget(lock.as_mut(), &id).await,
                Question::Change(verb) => change(lock.as_mut(), verb, &place).await,
            };
            answer(reply, said);
        });
    }

    fn no_group(&self) -> CommandError {
        let strategy = self.settings.reboot.strategy;
        refused(match self.settings.allowed() {
            Allowed::Unknown => format!(
                "the strategy is {strategy}, but the policy does not say where the lock is: \
                 see updatectl config check"
            ),
            _ => format!("there is no lock with the strategy {strategy} ([reboot] strategy)"),
        })
    }
}

/// What an operator said, short enough; `otherwise` if that is nothing.
fn reason_of(reason: String, otherwise: &str) -> Result<String, CommandError> {
    match reason.trim() {
        "" => Ok(otherwise.into()),
        said => match Reason::new(said) {
            Ok(said) => Ok(said.as_str().into()),
            Err(error) => Err(refused(format!("the reason cannot be kept: {error}"))),
        },
    }
}

async fn show(lock: &mut dyn Lock, place: &Place) -> Result<String, CommandError> {
    let view = lock.view().await.map_err(|error| failed(&error))?;
    let Some(view) = view else {
        return Err(refused(format!("{place} does not tell who holds its lock")));
    };
    serde_json::to_string(&Group::from(view)).map_err(|e| CommandError::Failed(e.to_string()))
}

async fn forget(lock: &mut dyn Lock, id: &HolderId) -> Result<String, CommandError> {
    let released = lock.release(id).await.map_err(|error| failed(&error))?;
    Ok(match released {
        Released::Given => "the lock was held here, and is given back".into(),
        Released::NotHeld => "the lock is not held here, and nothing is planned any more".into(),
    })
}

async fn change(lock: &mut dyn Lock, verb: Verb, place: &Place) -> Result<String, CommandError> {
    let Some(operator) = lock.operator() else {
        return Err(refused(format!("{place} cannot be changed from here")));
    };
    let said = match verb {
        Verb::SetMax(max) => operator
            .set_max(max)
            .await
            .map(|before| format!("{max} hosts may hold the lock at once; it was {before}")),
        Verb::Unlock(id) => operator.unlock(&id).await.map(|holder| match holder {
            Some(holder) => {
                let host = &holder.claim.host;
                format!("{id} ({host}) does not hold the lock any more")
            }
            None => format!("{id} did not hold the lock"),
        }),
        Verb::Lift(version) => operator.lift(&version).await.map(|brake| match brake {
            Some(_) => format!("hosts may reboot into {version} again"),
            None => format!("nobody had to leave {version}"),
        }),
        Verb::Migrate(file) => operator.migrate(file).await.map(|migration| {
            let holders = migration.holders.iter().map(|id| id.as_str());
            let holders = match holders.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "nobody".to_string(),
                some => some,
            };
            let (from, max) = (&migration.from, migration.max);
            format!("taken over from {from}: max is {max}, held by {holders}")
        }),
    };
    let said = said.map_err(|error| failed(&error))?;
    log::info(format!("{place}: {said}, as an operator asked"));
    Ok(said)
}
