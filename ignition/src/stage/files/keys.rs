//! Home directories and the SSH keys in them.

use crate::account::{self, Account};
use crate::config::{User, list};
use crate::durable::Attributes;
use crate::log;
use crate::root::RootError;

use super::skeleton::NewHomes;
use super::{Context, FilesError};

/// The file below a home's `.ssh` that has the keys of the config.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeysFile {
    /// `authorized_keys.d/ignition`, which sshd reads beside the user's own file.
    #[default]
    Fragment,
    /// `authorized_keys`, for an sshd that reads only that.
    Whole,
}

impl KeysFile {
    /// What `IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT` says (as upstream): with `false`
    /// or `0` the whole file.
    pub fn from_environment() -> Self {
        let said = std::env::var("IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT");
        match said.as_deref() {
            Ok("false" | "0") => Self::Whole,
            _ => Self::Fragment,
        }
    }
}

/// Homes of accounts that have none.
const NO_HOME: [&str; 3] = ["", "/", "/nonexistent"];

/// Makes the homes of `users`, unless they are there, and writes their keys.
pub fn apply(context: &Context<'_>, users: &[User]) -> Result<(), FilesError> {
    let mut homes = NewHomes::default();
    let mut found = Vec::new();
    for (number, user) in users.iter().enumerate() {
        if user.should_exist == Some(false) {
            continue;
        }
        let place = context.place(&format!("passwd.users.{number}"));
        let account = account(context, &place, user)?;
        if user.no_create_home != Some(true) && !is_homeless(&account) {
            homes
                .add(context, &account)
                .map_err(|source| changing(&place, source))?;
        }
        found.push((place, account, user));
    }
    homes.finish(context)?;
    for (place, account, user) in found {
        let keys = list(user.ssh_authorized_keys.as_ref());
        if !keys.is_empty() {
            write_keys(context, &account, keys).map_err(|source| changing(&place, source))?;
        }
    }
    Ok(())
}

/// The account of `user`, which can hold the keys that it is to have.
fn account(context: &Context<'_>, place: &str, user: &User) -> Result<Account, FilesError> {
    let conflict = |message| FilesError::Conflict {
        place: place.to_owned(),
        message,
    };
    let account =
        account::user(context.root, &user.name).map_err(|source| changing(place, source))?;
    let Some(account) = account else {
        return Err(conflict(format!(
            "there is no user {:?} on this host",
            user.name
        )));
    };
    if is_homeless(&account) && !list(user.ssh_authorized_keys.as_ref()).is_empty() {
        return Err(conflict(format!(
            "user {:?} has no home directory for SSH keys",
            user.name
        )));
    }
    Ok(account)
}

fn is_homeless(account: &Account) -> bool {
    NO_HOME.contains(&account.home.as_str())
}

fn changing(place: &str, source: RootError) -> FilesError {
    FilesError::Change {
        place: place.to_owned(),
        source,
    }
}

fn write_keys(context: &Context<'_>, account: &Account, keys: &[String]) -> Result<(), RootError> {
    let own = |mode| Attributes {
        uid: account.uid,
        gid: account.gid,
        mode,
    };
    let directory = format!("{}/.ssh", account.home.trim_end_matches('/'));
    let parent = match context.keys_file {
        KeysFile::Fragment => format!("{directory}/authorized_keys.d"),
        KeysFile::Whole => directory.clone(),
    };
    for path in [&directory, &parent] {
        if context.root.entry(path)?.is_none() {
            context.root.make_directories(path)?;
            context.root.set_attributes(path, own(0o700))?;
        }
    }
    let mut text = keys.join("\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let path = match context.keys_file {
        KeysFile::Fragment => format!("{parent}/ignition"),
        KeysFile::Whole => format!("{parent}/authorized_keys"),
    };
    context
        .root
        .write_bytes(&path, text.as_bytes(), own(0o600))?;
    log::info(&format!(
        "wrote path={path} mode=0600 uid={} gid={} keys={}",
        account.uid,
        account.gid,
        keys.len()
    ));
    Ok(())
}
