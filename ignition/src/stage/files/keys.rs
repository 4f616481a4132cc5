//! Home directories and the SSH keys in them.

use std::io;

use crate::account::{self, Account};
use crate::config::{User, list};
use crate::durable::Attributes;
use crate::log;
use crate::root::{Kind, RootError, split};

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

/// Where new homes' files come from.
const SKELETON: &str = "/etc/skel";
/// Homes of accounts that have none.
const NO_HOME: [&str; 3] = ["", "/", "/nonexistent"];

/// Makes the home of `user`, unless there is one, and writes the keys.
pub fn apply(context: &Context<'_>, place: &str, user: &User) -> Result<(), FilesError> {
    let change = |source| FilesError::Change {
        place: place.to_owned(),
        source,
    };
    let Some(account) = account::user(context.root, &user.name).map_err(change)? else {
        return Err(FilesError::Conflict {
            place: place.to_owned(),
            message: format!("there is no user {:?} on this host", user.name),
        });
    };
    let homeless = NO_HOME.contains(&account.home.as_str());
    if user.no_create_home != Some(true) && !homeless {
        make_home(context, &account).map_err(change)?;
    }
    let keys = list(user.ssh_authorized_keys.as_ref());
    if keys.is_empty() {
        return Ok(());
    }
    if homeless {
        return Err(FilesError::Conflict {
            place: place.to_owned(),
            message: format!("user {:?} has no home directory for SSH keys", user.name),
        });
    }
    write_keys(context, &account, keys).map_err(change)
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

/// A copy of the skeleton that appears complete or not at all.
fn make_home(context: &Context<'_>, account: &Account) -> Result<(), RootError> {
    let home = account.home.trim_end_matches('/');
    if context.root.entry(home)?.is_some() {
        return Ok(());
    }
    let parent = split(home).0;
    context.root.make_directories(parent)?;
    let unfinished = format!("{parent}/.ignition-home");
    context.root.remove(&unfinished)?;
    let mode = home_mode(context)?;
    copy_tree(context, SKELETON, &unfinished, account)?;
    let attributes = Attributes {
        uid: account.uid,
        gid: account.gid,
        mode,
    };
    context.root.set_attributes(&unfinished, attributes)?;
    context.root.rename(&unfinished, home)?;
    log::info(&format!(
        "made home path={home} mode={mode:04o} uid={} gid={}",
        account.uid, account.gid
    ));
    Ok(())
}

/// Copies a directory for its new owner; modes are kept.
fn copy_tree(
    context: &Context<'_>,
    from: &str,
    to: &str,
    account: &Account,
) -> Result<(), RootError> {
    let root = context.root;
    root.make_directories(to)?;
    for name in root.names(from)? {
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let Some(entry) = root.entry(&from)? else {
            continue;
        };
        let attributes = Attributes {
            uid: account.uid,
            gid: account.gid,
            mode: entry.attributes.mode,
        };
        match entry.kind {
            Kind::Directory => {
                copy_tree(context, &from, &to, account)?;
                root.set_attributes(&to, attributes)?;
            }
            Kind::Link => {
                let target = root.link_target(&from)?;
                root.make_link(&to, &target, account.uid, account.gid)?;
            }
            Kind::File => copy_file(context, &from, &to, attributes)?,
            Kind::Special => {}
        }
    }
    Ok(())
}

fn copy_file(
    context: &Context<'_>,
    from: &str,
    to: &str,
    attributes: Attributes,
) -> Result<(), RootError> {
    let Some(mut original) = context.root.open_file(from)? else {
        return Ok(());
    };
    context.root.write(to, attributes, |copy| {
        io::copy(&mut original, copy)
            .map(drop)
            .map_err(|source| RootError {
                operation: "copying",
                path: from.to_owned(),
                root: context.root.path().to_owned(),
                source,
            })
    })
}

/// `HOME_MODE`, else what `UMASK` leaves, of login.defs(5).
fn home_mode(context: &Context<'_>) -> Result<u32, RootError> {
    let text = context.root.read("/etc/login.defs")?.unwrap_or_default();
    Ok(mode_of(&String::from_utf8_lossy(&text)))
}

fn mode_of(login_defs: &str) -> u32 {
    let value = |wanted: &str| {
        login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let _name = words.next().filter(|name| *name == wanted)?;
            u32::from_str_radix(words.next()?, 8).ok()
        })
    };
    let mode = value("HOME_MODE").unwrap_or_else(|| 0o777 & !value("UMASK").unwrap_or(0o022));
    mode & 0o7777
}

#[cfg(test)]
mod tests {
    use super::mode_of;

    #[test]
    fn home_modes() {
        assert_eq!(
            mode_of("# HOME_MODE 0755\nHOME_MODE\t0700\nUMASK 022\n"),
            0o700
        );
        assert_eq!(mode_of("UMASK 027"), 0o750);
        assert_eq!(mode_of(""), 0o755);
    }
}
