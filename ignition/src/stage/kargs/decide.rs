//! What has to happen for a machine to run with the wanted kernel arguments. Pure.

use bootloader::Kargs;
use bootloader::kargs::{Outcome, confirmed, untried};
use bootloader::slot::SlotBits;

/// What is known about this boot.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the config wants.
    pub wanted: &'a Kargs,
    /// The command line that the kernel was started with.
    pub line: &'a str,
    /// The file of the ESP, if there is one.
    pub file: Option<&'a [u8]>,
    /// What the selector did with it; None if it saw none.
    pub outcome: Option<Outcome>,
    /// Whether the firmware checks signatures.
    pub secure: bool,
    /// How the trial of the file stands.
    pub trial: SlotBits,
}

/// What has to happen, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The new state of the trial, if it changes.
    pub trial: Option<SlotBits>,
    /// What becomes of the file.
    pub write: Write,
    /// How it goes on.
    pub then: Then,
}

/// What becomes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It stays as it is.
    Nothing,
    /// It says what is wanted.
    Wanted,
    /// It goes.
    Removal,
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The machine runs with the arguments.
    GoOn,
    /// It will after a reboot.
    Reboot,
}

/// Why the machine will not run with the arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Secure Boot does not let a host change them.
    #[error(
        "{unmet}, and Secure Boot is on: then the command line is the signed one of the release; \
         remove these arguments, or switch Secure Boot off"
    )]
    SecureBoot {
        /// What is not so.
        unmet: String,
    },
    /// Another boot loader, or not the initrd of a first boot.
    #[error(
        "kernel arguments are changed on the first boot of a machine that Ballast's boot selector \
         has started; this one is not, so that they cannot be"
    )]
    NoSelector,
    /// The selector did not look.
    #[error(
        "the arguments are written, but the boot selector has not read them: it is older than \
         this release; write a newer one to the ESP"
    )]
    NotRead,
    /// The selector did not use the file.
    #[error("the arguments are written, but the boot selector has not used them: {why}; {advice}")]
    NotUsed {
        /// Why not.
        why: Outcome,
        /// What to do.
        advice: &'static str,
    },
    /// The selector used the file, and it did not help.
    #[error(
        "{unmet}, also after a reboot into the arguments: the firmware or the hypervisor changes \
         the command line too; remove these arguments, or change them there"
    )]
    Unmet {
        /// What is not so.
        unmet: String,
    },
}

/// Decides what has to happen. Never to reboot for a file that is there already.
pub fn decide(facts: &Facts<'_>) -> Result<Decision, Refusal> {
    let holds = facts.wanted.unmet(facts.line).next().is_none();
    if facts.secure {
        return match holds {
            true => Ok(KEEP),
            false => Err(Refusal::SecureBoot {
                unmet: unmet(facts),
            }),
        };
    }
    match facts.file.map(Kargs::parse) {
        None if facts.wanted.is_empty() => Ok(KEEP),
        Some(Ok(there)) if there == *facts.wanted => settled(facts, holds),
        _ => Ok(replaced(facts, holds)),
    }
}

const KEEP: Decision = Decision {
    trial: None,
    write: Write::Nothing,
    then: Then::GoOn,
};

/// The file is as wanted: what became of it?
fn settled(facts: &Facts<'_>, holds: bool) -> Result<Decision, Refusal> {
    if holds {
        let confirm = !facts.trial.successful;
        return Ok(Decision {
            trial: confirm.then(confirmed),
            ..KEEP
        });
    }
    Err(match facts.outcome {
        None => Refusal::NotRead,
        Some(Outcome::Used) => Refusal::Unmet {
            unmet: unmet(facts),
        },
        Some(why) => Refusal::NotUsed {
            why,
            advice: advice(why),
        },
    })
}

/// The file is missing, or says something else than is wanted.
fn replaced(facts: &Facts<'_>, holds: bool) -> Decision {
    let then = match facts.outcome {
        // What another file changed is on the command line.
        Some(Outcome::Used) => Then::Reboot,
        _ if !holds => Then::Reboot,
        _ => Then::GoOn,
    };
    let (write, trial) = match (facts.wanted.is_empty(), then) {
        (true, _) => (Write::Removal, None),
        (false, Then::Reboot) => (Write::Wanted, Some(untried())),
        // The release has them. A later one may not.
        (false, Then::GoOn) => (Write::Wanted, Some(confirmed())),
    };
    Decision { trial, write, then }
}

fn unmet(facts: &Facts<'_>) -> String {
    let unmet = facts.wanted.unmet(facts.line);
    let said: Vec<String> = unmet.map(|unmet| unmet.to_string()).collect();
    said.join(", ")
}

fn advice(why: Outcome) -> &'static str {
    match why {
        Outcome::GivenUp => "remove the ones that it does not start with",
        Outcome::Key => "start the machine again without pressing it",
        Outcome::LastResort => "write a release to this disk again",
        Outcome::Wrong => "shorten them",
        Outcome::Used | Outcome::SecureBoot | Outcome::Failed => "start the machine again",
    }
}
