//! Groups and users, through the root's own shadow tools.
//!
//! The tools change several files one after the other. So that a cut cannot
//! leave half an account, they work on a copy of the account files
//! (`--prefix`); the changed copies are made durable, declared ready by one
//! rename, and only then moved into place. A later attempt first finishes
//! moving a copy that was ready, or drops one that was not.

use crate::account::{find_group, find_user};
use crate::config::{Config, Group, User, filled, list};
use crate::log;
use crate::program;
use crate::root::RootError;

use super::{Context, FilesError, WORK, homes, keys};

/// Files that the tools change, below `/etc`.
const CHANGED: [&str; 6] = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"];
/// Files that the tools read, below `/etc`.
const CONSULTED: [&str; 2] = ["login.defs", "default/useradd"];

/// Makes the groups and users of `config`, then homes and keys.
pub fn apply(context: &Context<'_>, config: &Config) -> Result<(), FilesError> {
    let copy = format!("{WORK}/accounts");
    let ready = format!("{WORK}/accounts-ready");
    publish(context, &ready)?;
    context.root.remove(&copy)?;
    let Some(passwd) = &config.passwd else {
        return Ok(());
    };
    let groups = list(passwd.groups.as_ref());
    let users = list(passwd.users.as_ref());
    if groups.is_empty() && users.is_empty() {
        return Ok(());
    }
    stage(context, &copy)?;
    change(context, &copy, groups, users)?;
    for (number, user) in users.iter().enumerate() {
        let place = context.place(&format!("passwd.users.{number}"));
        let changed = find_user(&staged(context, &copy, "passwd")?, &user.name);
        homes::relocate(context, user)
            .and_then(|()| homes::hand_over(context, user, changed.as_ref()))
            .and_then(|()| homes::remove(context, user))
            .map_err(|source| FilesError::Change { place, source })?;
    }
    context.root.sync()?;
    context.at_once.rename(&copy, &ready)?;
    publish(context, &ready)?;
    keys::apply(context, users)
}

/// Makes, changes and deletes the accounts in the copy.
fn change(
    context: &Context<'_>,
    copy: &str,
    groups: &[Group],
    users: &[User],
) -> Result<(), FilesError> {
    let (text, accounts) = (
        staged(context, copy, "group")?,
        staged(context, copy, "passwd")?,
    );
    let ensure_groups = |last: bool| -> Result<(), FilesError> {
        for (number, group) in groups.iter().enumerate() {
            if goes_last(group, users, &text, &accounts) == last {
                let place = context.place(&format!("passwd.groups.{number}"));
                ensure_group(context, copy, &place, group)?;
            }
        }
        Ok(())
    };
    ensure_groups(false)?;
    for (number, user) in users.iter().enumerate() {
        let place = context.place(&format!("passwd.users.{number}"));
        ensure_user(context, copy, &place, user)?;
    }
    ensure_groups(true)
}

/// Whether `group` is to be deleted and is the primary one of one of `users` who is, too:
/// the user goes first, and may take the group along. `text` and `accounts` are the group
/// and account files as they were.
fn goes_last(group: &Group, users: &[User], text: &str, accounts: &str) -> bool {
    let gone = |user: &&User| user.should_exist == Some(false);
    let primary = |user: &User| find_user(accounts, &user.name).map(|account| account.gid);
    group.should_exist == Some(false)
        && find_group(text, &group.name)
            .is_some_and(|gid| users.iter().filter(gone).any(|u| primary(u) == Some(gid)))
}

/// Copies the account files to where the tools are to change them.
fn stage(context: &Context<'_>, copy: &str) -> Result<(), RootError> {
    for name in CHANGED.iter().chain(&CONSULTED) {
        let path = format!("/etc/{name}");
        // A file that is a link (to a default elsewhere) is copied as a file.
        let (Some(bytes), Some(entry)) = (context.root.read(&path)?, context.root.entry(&path)?)
        else {
            continue;
        };
        let staged = format!("{copy}/etc/{name}");
        context
            .root
            .write_bytes(&staged, &bytes, entry.attributes)?;
    }
    Ok(())
}

/// Moves changed account files into place, if a copy is ready.
fn publish(context: &Context<'_>, ready: &str) -> Result<(), RootError> {
    if context.root.entry(ready)?.is_none() {
        return Ok(());
    }
    for name in CHANGED {
        let from = format!("{ready}/etc/{name}");
        if context.root.entry(&from)?.is_none() {
            continue;
        }
        let to = format!("/etc/{name}");
        if context.root.read(&from)? != context.root.read(&to)? {
            context.root.rename(&from, &to)?;
            log::info(&format!("wrote path={to}"));
        }
    }
    context.root.sync()?;
    context.root.remove(ready)
}

fn ensure_group(
    context: &Context<'_>,
    copy: &str,
    place: &str,
    group: &Group,
) -> Result<(), FilesError> {
    let text = staged(context, copy, "group")?;
    let exists = find_group(&text, &group.name).is_some();
    let mut arguments = prefix(copy);
    let (tool, done) = match (group.should_exist != Some(false), exists) {
        (false, false) => return Ok(()),
        (false, true) => ("groupdel", "removed"),
        (true, true) => ("groupmod", "changed"),
        (true, false) => ("groupadd", "added"),
    };
    if tool != "groupdel" {
        if let Some(gid) = group.gid {
            arguments.extend(["--gid".to_owned(), gid.to_string()]);
        }
        let hash = filled(group.password_hash.as_ref()).unwrap_or("*");
        arguments.extend(["--password".to_owned(), hash.to_owned()]);
        if group.system == Some(true) && !exists {
            arguments.push("--system".to_owned());
        }
    }
    arguments.push(group.name.clone());
    run(context, place, tool, &arguments)?;
    let text = staged(context, copy, "group")?;
    let gid = find_group(&text, &group.name);
    let gid = gid.map_or_else(String::new, |gid| format!(" gid={gid}"));
    log::info(&format!("{done} group={}{gid}", group.name));
    Ok(())
}

fn ensure_user(
    context: &Context<'_>,
    copy: &str,
    place: &str,
    user: &User,
) -> Result<(), FilesError> {
    let exists = find_user(&staged(context, copy, "passwd")?, &user.name).is_some();
    let (tool, arguments, done) = match (user.should_exist != Some(false), exists) {
        (false, false) => return Ok(()),
        (false, true) => {
            let arguments = [prefix(copy), vec![user.name.clone()]].concat();
            ("userdel", arguments, "removed")
        }
        (true, true) => ("usermod", user_arguments(copy, user, true), "changed"),
        (true, false) => ("useradd", user_arguments(copy, user, false), "added"),
    };
    // usermod with nothing to change is an error.
    if !(tool == "usermod" && arguments.len() == prefix(copy).len() + 1) {
        run(context, place, tool, &arguments)?;
    }
    let account = find_user(&staged(context, copy, "passwd")?, &user.name);
    let facts = account.map_or_else(String::new, |account| {
        let (uid, gid, home) = (account.uid, account.gid, account.home);
        format!(" uid={uid} gid={gid} home={home}")
    });
    log::info(&format!("{done} user={}{facts}", user.name));
    Ok(())
}

/// What useradd or usermod is told, as upstream does; homes excepted, which
/// are made by [`keys`], after the account files are in place.
fn user_arguments(copy: &str, user: &User, exists: bool) -> Vec<String> {
    let mut arguments = prefix(copy);
    let mut option = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            arguments.extend([format!("--{name}"), value.to_owned()]);
        }
    };
    let home = filled(user.home_dir.as_ref());
    option(if exists { "home" } else { "home-dir" }, home);
    // No password and an empty one both mean: no login by password. An
    // account that was there keeps what it has unless told otherwise.
    let hash = match user.password_hash.as_deref() {
        Some("") => Some("*"),
        None if !exists => Some("*"),
        hash => hash,
    };
    option("password", hash);
    option("uid", user.uid.map(|uid| uid.to_string()).as_deref());
    option("comment", filled(user.gecos.as_ref()));
    option("gid", filled(user.primary_group.as_ref()));
    let groups = list(user.groups.as_ref());
    option(
        "groups",
        (!groups.is_empty()).then(|| groups.join(",")).as_deref(),
    );
    option("shell", filled(user.shell.as_ref()));
    if !exists {
        arguments.push("--no-create-home".to_owned());
        for (flag, set) in [
            ("--no-user-group", user.no_user_group),
            ("--system", user.system),
            ("--no-log-init", user.no_log_init),
        ] {
            if set == Some(true) {
                arguments.push(flag.to_owned());
            }
        }
    }
    arguments.push(user.name.clone());
    arguments
}

fn staged(context: &Context<'_>, copy: &str, name: &str) -> Result<String, RootError> {
    let bytes = context.root.read(&format!("{copy}/etc/{name}"))?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

fn prefix(copy: &str) -> Vec<String> {
    vec!["--prefix".to_owned(), copy.to_owned()]
}

fn run(
    context: &Context<'_>,
    place: &str,
    tool: &str,
    arguments: &[String],
) -> Result<(), FilesError> {
    let program = format!("/usr/sbin/{tool}");
    program::run_inside(context.root.path(), &program, arguments).map_err(|source| {
        FilesError::Program {
            place: place.to_owned(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_users_get_no_password_and_all_keys() {
        let mut user = User::new("u".to_owned());
        user.uid = Some(7);
        user.gecos = Some("G".to_owned());
        user.home_dir = Some("/h".to_owned());
        user.primary_group = Some("p".to_owned());
        user.groups = Some(vec!["a".to_owned(), "b".to_owned()]);
        user.shell = Some("/bin/sh".to_owned());
        user.no_user_group = Some(true);
        user.system = Some(true);
        user.no_log_init = Some(true);
        assert_eq!(
            user_arguments("/c", &user, false).join(" "),
            "--prefix /c --home-dir /h --password * --uid 7 --comment G --gid p --groups a,b \
             --shell /bin/sh --no-create-home --no-user-group --system --no-log-init u"
        );
    }

    #[test]
    fn a_group_goes_after_the_user_whose_primary_one_it_is_when_both_are_deleted() {
        let (text, accounts) = ("a:x:7:\nb:x:8:\n", "a:x:1:7::/:/bin/sh\n");
        let mut group = Group::new("a".to_owned());
        let mut user = User::new("a".to_owned());
        let last = |group: &Group, user: &User| {
            goes_last(group, std::slice::from_ref(user), text, accounts)
        };
        assert!(!last(&group, &user));
        group.should_exist = Some(false);
        assert!(!last(&group, &user));
        user.should_exist = Some(false);
        assert!(last(&group, &user));
        group.name = "b".to_owned();
        assert!(!last(&group, &user));
    }

    #[test]
    fn present_users_keep_what_is_not_said() {
        let mut user = User::new("u".to_owned());
        assert_eq!(user_arguments("/c", &user, true).join(" "), "--prefix /c u");
        user.password_hash = Some(String::new());
        let arguments = user_arguments("/c", &user, true).join(" ");
        assert_eq!(arguments, "--prefix /c --password * u");
    }
}
