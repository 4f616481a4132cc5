//! Kernel arguments of a host: what it adds to and removes from the command line of
//! whichever release is started.
//!
//! They are kept in the file [`FILE`] of the ESP, which provisioning writes once and
//! the selector reads on every boot:
//!
//! ```text
//! # A comment.
//! +net.ifnames=0
//! -quiet
//! ```
//!
//! A line adds (`+`) or removes (`-`) one argument. A file that is anything else is
//! not used at all. Which system runs is not for a host to say: arguments about that
//! are refused ([`protects`]), here as in configs.
//!
//! # Trial
//!
//! An argument can keep a machine from booting, so that new ones are on trial, like a
//! release. The state is in the attribute bits of the ESP's entry, encoded as a
//! slot's ([`SlotBits`], without a priority): the selector takes a try, durably,
//! before it starts a kernel with the arguments, and leaves them away when none is
//! left; provisioning confirms them once it runs with them. See [`decide`].

mod error;
mod word;

use alloc::{string::String, vec::Vec};
use core::fmt::{self, Write};

use crate::choose::Reason;
use crate::slot::SlotBits;

pub use error::Problem;
pub use word::{protects, same, words};

/// The file, as the firmware names it.
pub const FILE: &str = r"\EFI\ballast\kargs";

/// Most bytes of the file.
pub const FILE_BYTES: usize = 4096;

/// Most bytes of all arguments of a host together, with one more for each.
pub const ARGUMENT_BYTES: usize = 1536;

/// Most bytes of a command line. The kernel cuts off the rest (`COMMAND_LINE_SIZE` on
/// x86, without the NUL).
pub const LINE_BYTES: usize = 2047;

/// How often a machine may fail to come up with new arguments.
pub const TRIES: u8 = 3;

const HEADER: &str = "\
# Kernel arguments of this host, for every release: + adds one, - removes one.
# Written on first boot, read by the boot selector. To boot once without them,
# hold the key k while the machine starts.
";

/// What a host adds to and removes from a command line. Sound by construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kargs {
    add: Vec<String>,
    remove: Vec<String>,
}

impl Kargs {
    /// The arguments that shall be there and those that shall not, in this order.
    /// What is named twice counts once.
    ///
    /// Each text holds any number of arguments with blanks between them. Fails if one
    /// is not allowed, if one shall both be there and not, or if they are too long.
    pub fn new<'a>(
        exist: impl IntoIterator<Item = &'a str>,
        not_exist: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Problem> {
        let add = checked(exist)?;
        let remove = checked(not_exist)?;
        let kargs = Self { add, remove };
        if let Some(word) = kargs.add.iter().find(|word| kargs.removes(word)) {
            return Err(Problem::Both { word: word.clone() });
        }
        let all = kargs.add.iter().chain(&kargs.remove);
        let length = all.map(|word| word.len() + 1).sum();
        if length > ARGUMENT_BYTES {
            return Err(Problem::Long {
                length,
                limit: ARGUMENT_BYTES,
            });
        }
        Ok(kargs)
    }

    /// Reads the content of the file.
    pub fn parse(file: &[u8]) -> Result<Self, Problem> {
        if file.len() > FILE_BYTES {
            return Err(Problem::Long {
                length: file.len(),
                limit: FILE_BYTES,
            });
        }
        let text = core::str::from_utf8(file).map_err(|_| Problem::NotText)?;
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_ascii();
            let list = match line.as_bytes().first() {
                None | Some(b'#') => continue,
                Some(b'+') => &mut add,
                Some(b'-') => &mut remove,
                Some(_) => return Err(Problem::Line { number: index + 1 }),
            };
            let word = line[1..].trim_ascii();
            if words(word).count() != 1 {
                return Err(Problem::Line { number: index + 1 });
            }
            list.push(word);
        }
        Self::new(add, remove)
    }

    /// The content of a file that says this; at most [`FILE_BYTES`].
    pub fn render(&self) -> String {
        let mut text = String::from(HEADER);
        for (sign, word) in self.signed() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{sign}{word}");
        }
        text
    }

    /// Nothing is added or removed.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// `line` without what is removed, and with what is added and is not there yet at
    /// its end. Doing it twice changes nothing.
    ///
    /// Fails if the kernel would cut the result.
    pub fn apply(&self, line: &str) -> Result<String, Problem> {
        let mut kept: Vec<&str> = words(line).filter(|word| !self.removes(word)).collect();
        for word in &self.add {
            if !kept.iter().any(|there| same(there, word)) {
                kept.push(word);
            }
        }
        let line = kept.join(" ");
        match line.len() {
            length if length > LINE_BYTES => Err(Problem::Long {
                length,
                limit: LINE_BYTES,
            }),
            _ => Ok(line),
        }
    }

    /// What of this is not so on the command line `line`. Nothing, if it holds.
    pub fn unmet<'a>(&'a self, line: &'a str) -> impl Iterator<Item = Unmet<'a>> + 'a {
        let there = move |wanted: &str| words(line).any(|word| same(word, wanted));
        let missing = self.add.iter().filter(move |word| !there(word));
        let left = self.remove.iter().filter(move |word| there(word));
        let missing = missing.map(|word| Unmet::Missing(word));
        missing.chain(left.map(|word| Unmet::Left(word)))
    }

    fn removes(&self, word: &str) -> bool {
        self.remove.iter().any(|other| same(word, other))
    }

    fn signed(&self) -> impl Iterator<Item = (char, &str)> {
        let added = self.add.iter().map(|word| ('+', word.as_str()));
        added.chain(self.remove.iter().map(|word| ('-', word.as_str())))
    }
}

/// The changes, as in the file, in one line.
impl fmt::Display for Kargs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (sign, word)) in self.signed().enumerate() {
            let blank = if index > 0 { " " } else { "" };
            write!(f, "{blank}{sign}{word}")?;
        }
        Ok(())
    }
}

/// An argument that is not as it shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet<'a> {
    /// It is not on the command line.
    Missing(&'a str),
    /// It still is.
    Left(&'a str),
}

impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(word) => write!(f, "{word} is missing"),
            Self::Left(word) => write!(f, "{word} is still there"),
        }
    }
}

/// All words of `texts` once each, if they are allowed.
fn checked<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, Problem> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        for word in word::check(text)? {
            if !found.iter().any(|other| same(other, word)) {
                found.push(String::from(word));
            }
        }
    }
    Ok(found)
}

/// What becomes of a host's arguments on one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel is started with them.
    Used,
    /// Only the signed command line of the release counts.
    SecureBoot,
    /// Nothing that is started had a claim: only what the release brings is used.
    LastResort,
    /// Somebody asked for it.
    Key,
    /// The machine did not come up with them.
    GivenUp,
    /// The file cannot be used.
    Wrong,
    /// The firmware or the disk failed.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Used,
        Self::SecureBoot,
        Self::LastResort,
        Self::Key,
        Self::GivenUp,
        Self::Wrong,
        Self::Failed,
    ];

    /// The word for it, in the selector's EFI variable `BallastKernelArguments`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::SecureBoot => "secure-boot",
            Self::LastResort => "last-resort",
            Self::Key => "key",
            Self::GivenUp => "given-up",
            Self::Wrong => "wrong",
            Self::Failed => "failed",
        }
    }

    /// What has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "they are used",
            Self::SecureBoot => "Secure Boot is on",
            Self::LastResort => "this slot is the last resort",
            Self::Key => "the key k was pressed",
            Self::GivenUp => "the machine did not come up with them",
            Self::Wrong => "the file is wrong",
            Self::Failed => "they could not be read, or a try not be recorded",
        })
    }
}

/// How a boot stands when the arguments are decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Why the slot is started.
    pub reason: Reason,
    /// The firmware checks signatures.
    pub secure: bool,
    /// Somebody at the machine wants to boot without them.
    pub refused: bool,
    /// The state of the trial.
    pub trial: SlotBits,
}

/// Decides whether a host's arguments are used: [`Outcome::Used`], or why not. Pure.
pub fn decide(boot: &Boot) -> Outcome {
    let may_be_tried = boot.trial.successful || boot.trial.tries > 0;
    match boot {
        Boot { secure: true, .. } => Outcome::SecureBoot,
        Boot { refused: true, .. } => Outcome::Key,
        Boot {
            reason: Reason::LastResort,
            ..
        } => Outcome::LastResort,
        _ if !may_be_tried => Outcome::GivenUp,
        _ => Outcome::Used,
    }
}

/// The state of the trial for arguments that were just written.
pub fn untried() -> SlotBits {
    SlotBits {
        priority: 0,
        tries: TRIES,
        successful: false,
    }
}

/// The state of the trial for arguments with which a machine came up.
pub fn confirmed() -> SlotBits {
    SlotBits {
        priority: 0,
        tries: 0,
        successful: true,
    }
}

/// The state that must be on the disk before a kernel is started with arguments whose
/// trial stands at `trial`; None if that is there already.
pub fn taken(trial: SlotBits) -> Option<SlotBits> {
    (!trial.successful).then(|| SlotBits {
        tries: trial.tries.saturating_sub(1),
        ..trial
    })
}
