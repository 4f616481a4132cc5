//! What operators ask for.

use std::fs;
use std::path::Path;

use daemon::durable;
use daemon::log::{self, chain};
use jiff::Timestamp;
use semver::Version;

use super::task::Ask;
use super::{Answer, Command, CommandError, Core};
use crate::attempt::{Attempt, By, Event, Job};
use crate::host::Host;
use crate::marks;
use crate::next::Wish;
use crate::settings::ChannelName;
use crate::state::{Hold, Outcome};

/// The fragment that `updatectl channel` writes, in the highest directory.
pub const CHANNEL_FRAGMENT: &str = "80-updatectl-channel.toml";

/// Reason of a version that an operator left.
pub const BY_OPERATOR: &str = "rolled back by operator";

/// Longest reason of a hold, in characters.
const MAX_REASON: usize = 500;

fn refused(why: impl Into<String>) -> CommandError {
    CommandError::Refused(why.into())
}

impl Core {
    /// Carries out a command. Those that take long are only begun.
    pub fn command(&mut self, command: Command) -> Result<Answer, CommandError> {
        // What was written a moment ago counts, told by the watch already or not.
        let looks = matches!(command, Command::Check | Command::Apply { .. });
        let changed = looks && self.read_policy();
        let answer = self.carry_out(command);
        if changed && answer.is_err() {
            self.look_soon();
        }
        answer
    }

    fn carry_out(&mut self, command: Command) -> Result<Answer, CommandError> {
        match command {
            Command::Check => self.begin(Wish::Policy, By::Policy, true),
            Command::Apply { version, downgrade } => self.apply(version, downgrade),
            Command::RollBack { reboot } => self.roll_back(reboot),
            Command::Bless => self.bless(),
            Command::Hold { reason } => self.hold(reason),
            Command::Unhold => self.unhold(),
            Command::Allow(version) => self.allow(&version),
            Command::SetChannel(name) => self.set_channel(&name),
            Command::Cancel => self.cancel(),
            Command::History => Ok(Answer::History(self.store.history().0)),
        }
    }

    fn host(&self) -> Result<Host, CommandError> {
        self.host.clone().map_err(CommandError::Refused)
    }

    fn begin(&mut self, wish: Wish, by: By, only_check: bool) -> Result<Answer, CommandError> {
        let job = self.jobs.wrapping_add(1);
        let ask = Ask {
            job,
            wish,
            by,
            only_check,
        };
        match &mut self.task {
            Some(task) if task.gives_way() => {
                task.cancel();
                task.instead = Some(ask);
            }
            Some(task) if !only_check && task.installs_unasked(&ask.wish) => task.job = Some(job),
            _ => self.ask(ask)?,
        }
        self.jobs = job;
        Ok(Answer::Job(job))
    }

    fn apply(&mut self, version: Option<Version>, downgrade: bool) -> Result<Answer, CommandError> {
        if let Attempt::Trial { job } = &self.state.attempt {
            return Err(refused(format!(
                "{} runs on trial: another release is taken once it is blessed",
                job.to
            )));
        }
        let (wish, by) = match (version, downgrade) {
            (None, false) => (Wish::Channel, By::Operator),
            (None, true) => return Err(refused("a downgrade needs a version")),
            (Some(version), downgrade) => {
                let by = if downgrade {
                    By::OperatorDowngrade
                } else {
                    By::OperatorVersion
                };
                (Wish::Version { version, downgrade }, by)
            }
        };
        self.begin(wish, by, false)
    }

    fn roll_back(&mut self, reboot: bool) -> Result<Answer, CommandError> {
        let host = self.host()?;
        match &self.state.attempt {
            Attempt::Fetching { .. } | Attempt::Written { .. } | Attempt::Armed { .. } => {
                return Err(refused(
                    "the other slot holds an update that never ran: use updatectl cancel",
                ));
            }
            _ if self.task.is_some() => return Err(refused("a check is under way: try again")),
            _ => {}
        }
        let other = host.slot.other();
        let table = marks::read(&host.disk).map_err(failed)?;
        if !table.bits(other).successful {
            return Err(refused(format!(
                "slot {other} holds no release that once came up healthy"
            )));
        }
        let current = self.state.attempt.job();
        let current = current.filter(|job| job.slot == host.slot && job.to == host.version);
        let job = Job {
            id: current.map_or(0, |job| job.id),
            from: current.map_or(host.version.clone(), |job| job.from.clone()),
            to: host.version,
            slot: host.slot,
            by: By::Operator,
        };
        let reason = BY_OPERATOR.to_string();
        self.transition(Event::RollBack { job, reason })?;
        self.do_duty().map_err(CommandError::Failed)?;
        if reboot {
            let asked = self.machine.reboot();
            asked.map_err(|error| CommandError::Failed(format!("rebooting: {error}")))?;
        }
        Ok(Answer::Done)
    }

    fn bless(&mut self) -> Result<Answer, CommandError> {
        let host = self.host()?;
        let bits = marks::read(&host.disk).map_err(failed)?.bits(host.slot);
        // The bits first: they are what counts, and the next start reads them. Nothing
        // is written, and no lock is waited for, where they are right already.
        let changed = !bits.successful && marks::bless(&host.disk, host.slot).map_err(failed)?;
        if matches!(self.state.attempt, Attempt::Trial { .. }) {
            self.transition(Event::Bless)?;
            self.look_soon();
        } else if changed {
            log::info(format!("{} in slot {} is blessed", host.version, host.slot));
        }
        Ok(Answer::Done)
    }

    fn hold(&mut self, reason: String) -> Result<Answer, CommandError> {
        if reason.chars().count() > MAX_REASON {
            return Err(refused(format!(
                "a reason has at most {MAX_REASON} characters"
            )));
        }
        let since = Timestamp::now();
        log::info(format!("held: {reason}"));
        self.save(|state| state.held = Some(Hold { since, reason }))?;
        Ok(Answer::Done)
    }

    fn unhold(&mut self) -> Result<Answer, CommandError> {
        if self.state.held.is_some() {
            self.save(|state| state.held = None)?;
            log::info("not held any more");
            self.look_soon();
        }
        Ok(Answer::Done)
    }

    fn allow(&mut self, version: &Version) -> Result<Answer, CommandError> {
        let others = self.denied.iter().filter(|d| d.version != *version);
        let left: Vec<_> = others.cloned().collect();
        if left.len() == self.denied.len() {
            return Err(refused(format!("{version} is not denied")));
        }
        if let Attempt::RolledBack { job, .. } = &self.state.attempt
            && job.to == *version
        {
            if self.host().is_ok_and(|host| host.slot == job.slot) {
                return Err(refused(format!(
                    "this host still runs {version} and leaves it with the next reboot"
                )));
            }
            // Otherwise the state would deny it again.
            self.transition(Event::Pardon)?;
        }
        let saved = self.store.save_denied(&left);
        saved.map_err(|error| CommandError::Failed(chain(&error)))?;
        self.denied = left;
        log::info(format!("{version} is allowed again"));
        self.look_soon();
        Ok(Answer::Done)
    }

    fn set_channel(&mut self, name: &str) -> Result<Answer, CommandError> {
        let channel: ChannelName = name.parse().map_err(|e| refused(format!("{e}")))?;
        let directories = self.follower.roots().directories();
        let directory = directories
            .last()
            .ok_or_else(|| refused("the policy has no directory"))?;
        let path = directory.join(CHANNEL_FRAGMENT);
        let text = format!("# Written by updatectl channel.\n[update]\nchannel = \"{channel}\"\n");
        write_fragment(&path, &text)
            .map_err(|e| CommandError::Failed(format!("writing {}: {e}", path.display())))?;
        log::info(format!("channel: {} -> {channel}", self.update.channel));
        self.reload();
        if self.update.channel == channel {
            return Ok(Answer::Done);
        }
        let origin = self.follower.policy().origin("update", "channel");
        let winner = origin.map_or("a problem in the policy".into(), ToString::to_string);
        Err(CommandError::Failed(format!(
            "{} was written, but {winner} keeps the channel {}",
            path.display(),
            self.update.channel
        )))
    }

    fn cancel(&mut self) -> Result<Answer, CommandError> {
        if let Some(task) = &mut self.task {
            task.cancel();
            if let Some(ask) = task.instead.take() {
                self.tell(ask.job, "cancelled", "cancelled");
            }
            return Ok(Answer::Done);
        }
        match self.state.attempt.clone() {
            Attempt::Fetching { .. } | Attempt::Written { .. } => {
                self.give_up(Outcome::Cancelled, "cancelled");
            }
            Attempt::Armed { job, .. } => {
                // The bits first: where the state is not saved, the next start sees
                // that the slot is not armed.
                marks::disarm(&self.host()?.disk, job.slot).map_err(failed)?;
                self.transition(Event::Disarm)?;
                self.next = None;
                self.record(&job, |record| {
                    record.outcome = Outcome::Cancelled;
                    record.reason = Some("cancelled while it was armed".into());
                    record.ended = Some(Timestamp::now());
                });
            }
            _ => return Err(refused("there is nothing to cancel")),
        }
        Ok(Answer::Done)
    }
}

fn failed(error: marks::MarksError) -> CommandError {
    CommandError::Failed(chain(&error))
}

/// Policy is for everybody to read.
fn write_fragment(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    durable::replace_with(path, text.as_bytes(), 0o644)
}
