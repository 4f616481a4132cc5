//! `files`: groups, users, their keys; directories, files, links, crypttab; units. Then
//! the record that says the host is provisioned.
//!
//! The stage may be cut off at any instant and run again:
//!
//! - account files change in a private copy that replaces them as a whole
//!   ([`passwd`]);
//! - a journal, written before the first entry is touched, says what each
//!   path held before ([`journal`]), so that a second run starts from there
//!   and not from what the first one left;
//! - every file appears by a rename, and what it replaces is there until it is complete
//!   on the disk; what is new is flushed at the end, together, because a second run makes
//!   it again;
//! - the record is written last, when all else is on the disk; a host with
//!   the record is never provisioned again.

mod crypttab;
mod entries;
mod error;
mod homes;
mod journal;
mod keys;
mod order;
mod passwd;
mod record;
mod skeleton;
mod units;

use std::io;
use std::path::Path;

use crate::config::Config;
use crate::fetch::{Fetcher, Network};
use crate::log;
use crate::root::{Root, RootError};
use crate::state::State;

use super::{Settings, mount};

#[cfg(feature = "tools")]
pub(crate) use entries::{Item, items};
pub use error::FilesError;
pub use keys::KeysFile;
#[cfg(feature = "tools")]
pub(crate) use record::PATH as RECORD;
pub(crate) use record::rfc3339;

/// Working directory of this stage, on the root's disk. Removed at the end.
const WORK: &str = "/etc/.ignition";

/// What all steps share.
struct Context<'a> {
    /// The root; changes are on its disk after a `sync`.
    root: &'a Root,
    /// The same, for what must be on the disk before the next step.
    at_once: &'a Root,
    fetcher: &'a Fetcher,
    state: &'a State,
    keys_file: KeysFile,
}

impl Context<'_> {
    /// `key`, with where it was written if that is known.
    fn place(&self, key: &str) -> String {
        self.state.place(key)
    }
}

/// Whether `root` has the record, so that nothing may be changed any more.
pub(super) fn provisioned(root: &Root) -> Result<bool, RootError> {
    let there = root.entry(record::PATH)?.is_some();
    if there {
        log::info(&format!(
            "already provisioned: {} is there; nothing is changed",
            record::PATH
        ));
    }
    Ok(there)
}

/// Carries `config` out below the root.
pub fn run(settings: &Settings, config: &Config, state: &State) -> Result<(), FilesError> {
    let open = |how: fn(&Path) -> io::Result<Root>| {
        how(&settings.root).map_err(|source| FilesError::Root {
            path: settings.root.clone(),
            source,
        })
    };
    let at_once = open(Root::open)?;
    if provisioned(&at_once)? {
        return Ok(());
    }
    let root = open(Root::open_deferring)?;
    let mut fetcher =
        Fetcher::new(Network::Present, settings.fetch_timeout).on_platform(&settings.platform);
    fetcher
        .configure(config)
        .map_err(|source| FilesError::Fetch {
            place: "key ignition.security".to_owned(),
            source,
        })?;
    let context = Context {
        root: &root,
        at_once: &at_once,
        fetcher: &fetcher,
        state,
        keys_file: settings.keys_file,
    };
    passwd::apply(&context, config)?;
    entries::apply(&context, config)?;
    crypttab::apply(&context, config)?;
    units::apply(&context, config)?;
    root.sync()?;
    if mount::asked(config) {
        // Programs may have written below mount points, too.
        nix::unistd::sync();
    }
    record::write(&at_once, state)?;
    root.remove(WORK)?;
    root.sync()?;
    Ok(())
}
