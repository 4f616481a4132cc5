//! Homes of accounts that move or go.
//!
//! Both are done while the account file still says where the home was, so that an attempt
//! that was cut off finds it again.

use crate::account::{self, Account};
use crate::config::{User, filled};
use crate::log;
use crate::root::{Kind, RootError, split};

use super::Context;

/// Where mail of accounts is, unless `MAIL_DIR` of login.defs(5) says otherwise.
const MAIL: &str = "/var/mail";

/// Moves the home of an account whose `homeDir` changes.
pub fn relocate(context: &Context<'_>, user: &User) -> Result<(), RootError> {
    let (Some(account), Some(home)) = (
        account::user(context.root, &user.name)?,
        filled(user.home_dir.as_ref()),
    ) else {
        return Ok(());
    };
    if account.home == home
        || user.should_exist == Some(false)
        || context.root.entry(&account.home)?.is_none()
        || context.root.entry(home)?.is_some()
    {
        return Ok(());
    }
    context.root.make_directories(split(home).0)?;
    context.root.rename(&account.home, home)?;
    log::info(&format!("moved path={} to={home}", account.home));
    Ok(())
}

/// Gives what an account has in its home, and its mail, to its new ids: the tools that
/// change account files leave that out in a copy of them.
pub fn hand_over(
    context: &Context<'_>,
    user: &User,
    changed: Option<&Account>,
) -> Result<(), RootError> {
    let (Some(before), Some(after)) = (account::user(context.root, &user.name)?, changed) else {
        return Ok(());
    };
    if (before.uid, before.gid) == (after.uid, after.gid) || user.should_exist == Some(false) {
        return Ok(());
    }
    let home = after.home.trim_end_matches('/');
    let own = context.root.entry(home)?;
    if own.is_some_and(|entry| [before.uid, after.uid].contains(&entry.attributes.uid)) {
        hand_over_tree(context, home, &before, after)?;
        log::info(&format!(
            "gave path={home} uid={} gid={}",
            after.uid, after.gid
        ));
    }
    let mail = format!("{}/{}", mail_directory(context)?, after.name);
    match context.root.entry(&mail)? {
        Some(entry) if entry.attributes.uid == before.uid => {
            context.root.own(&mail, after.uid, entry.attributes.gid)
        }
        _ => Ok(()),
    }
}

fn hand_over_tree(
    context: &Context<'_>,
    path: &str,
    before: &Account,
    after: &Account,
) -> Result<(), RootError> {
    let Some(entry) = context.root.entry(path)? else {
        return Ok(());
    };
    if entry.kind == Kind::Directory {
        for name in context.root.names(path)? {
            hand_over_tree(context, &format!("{path}/{name}"), before, after)?;
        }
    }
    let now = entry.attributes;
    let new = |now, before, after| if now == before { after } else { now };
    let uid = new(now.uid, before.uid, after.uid);
    let gid = new(now.gid, before.gid, after.gid);
    match (uid, gid) == (now.uid, now.gid) {
        true => Ok(()),
        false => context.root.own(path, uid, gid),
    }
}

/// Removes home and mail of an account that is to go, as upstream does. What is not the
/// account's own stays.
pub fn remove(context: &Context<'_>, user: &User) -> Result<(), RootError> {
    if user.should_exist != Some(false) {
        return Ok(());
    }
    let Some(account) = account::user(context.root, &user.name)? else {
        return Ok(());
    };
    let mail = format!("{}/{}", mail_directory(context)?, account.name);
    for path in [account.home.trim_end_matches('/'), &mail] {
        // The path of the root directory is empty here, and is no entry.
        let Some(entry) = context.root.entry(path)? else {
            continue;
        };
        if entry.attributes.uid != account.uid {
            let owner = entry.attributes.uid;
            log::warn(&format!(
                "kept {path} of user {}: it belongs to uid {owner}",
                account.name
            ));
        } else if let Some(other) = other_home(context, &account, path)? {
            log::warn(&format!(
                "kept {path} of user {}: the home of user {other} is there",
                account.name
            ));
        } else {
            context.root.remove(path)?;
            log::info(&format!("removed path={path}"));
        }
    }
    Ok(())
}

/// Another account whose home is `path` or below it.
fn other_home(
    context: &Context<'_>,
    account: &Account,
    path: &str,
) -> Result<Option<String>, RootError> {
    let accounts = account::users(context.root)?;
    let other = accounts.into_iter().find(|other| {
        let below = other.home.strip_prefix(path);
        other.name != account.name && below.is_some_and(|b| b.is_empty() || b.starts_with('/'))
    });
    Ok(other.map(|other| other.name))
}

fn mail_directory(context: &Context<'_>) -> Result<String, RootError> {
    let text = context.root.read("/etc/login.defs")?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let named = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "MAIL_DIR")?;
        words.next()
    });
    Ok(named.unwrap_or(MAIL).trim_end_matches('/').to_owned())
}
