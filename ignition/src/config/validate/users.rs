//! Users and groups.

use crate::config::{Group, User, filled, list};

use super::Check;
use super::storage::MAX_ID;

/// Checks all groups.
pub fn groups(groups: &[Group], check: &mut Check<'_>) {
    let named = groups.iter().enumerate();
    check.unique(named.map(|(n, g)| (format!("passwd.groups.{n}.name"), g.name.as_str())));
    for (number, group) in groups.iter().enumerate() {
        let key = format!("passwd.groups.{number}");
        name(&format!("{key}.name"), "group", &group.name, check);
        id(&format!("{key}.gid"), group.gid, check);
        let hash = group.password_hash.as_ref();
        field(&format!("{key}.passwordHash"), hash, check);
    }
}

/// Checks all users.
pub fn users(users: &[User], check: &mut Check<'_>) {
    let named = users.iter().enumerate();
    check.unique(named.map(|(n, u)| (format!("passwd.users.{n}.name"), u.name.as_str())));
    for (number, user) in users.iter().enumerate() {
        let key = format!("passwd.users.{number}");
        name(&format!("{key}.name"), "user", &user.name, check);
        id(&format!("{key}.uid"), user.uid, check);
        for (what, value) in [
            ("passwordHash", &user.password_hash),
            ("gecos", &user.gecos),
            ("homeDir", &user.home_dir),
            ("shell", &user.shell),
        ] {
            field(&format!("{key}.{what}"), value.as_ref(), check);
        }
        for (what, value) in [("homeDir", &user.home_dir), ("shell", &user.shell)] {
            if filled(value.as_ref()).is_some_and(|path| !path.starts_with('/')) {
                check.error(&format!("{key}.{what}"), "expected an absolute path");
            }
        }
        if let Some(group) = filled(user.primary_group.as_ref()) {
            reference(&format!("{key}.primaryGroup"), group, check);
        }
        for (what, values) in [
            ("groups", &user.groups),
            ("sshAuthorizedKeys", &user.ssh_authorized_keys),
        ] {
            let values = list(values.as_ref()).iter().enumerate();
            check.unique(values.map(|(n, v)| (format!("{key}.{what}.{n}"), v.as_str())));
        }
        for (number, group) in list(user.groups.as_ref()).iter().enumerate() {
            reference(&format!("{key}.groups.{number}"), group, check);
        }
        for (number, line) in list(user.ssh_authorized_keys.as_ref()).iter().enumerate() {
            if line.contains('\0') {
                let key = format!("{key}.sshAuthorizedKeys.{number}");
                check.error(&key, "a key cannot have a NUL character");
            }
        }
    }
}

/// Letters in a name, as many as shadow takes.
const LONGEST: usize = 256;

/// The names that useradd(8) of shadow accepts.
fn name(key: &str, what: &str, name: &str, check: &mut Check<'_>) {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let body = name.strip_suffix('$').unwrap_or(name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !starts || !body.chars().all(allowed) || name.len() > LONGEST {
        let message = format!(
            "{name:?} is not a {what} name: letters, digits, _ - and . after a letter or _, \
             at most {LONGEST}"
        );
        check.error(key, message);
    }
}

/// A group named by a user: a name or a number.
fn reference(key: &str, group: &str, check: &mut Check<'_>) {
    if group.is_empty() || group.starts_with('-') || group.contains([',', ':', '\n', ' ']) {
        check.error(key, format!("{group:?} is not a group name"));
    }
}

fn id(key: &str, id: Option<i64>, check: &mut Check<'_>) {
    if id.is_some_and(|id| !(0..=MAX_ID).contains(&id)) {
        check.error(key, format!("expected a number from 0 to {MAX_ID}"));
    }
}

fn field(key: &str, value: Option<&String>, check: &mut Check<'_>) {
    if value.is_some_and(|text| text.contains([':', '\n', '\0'])) {
        check.error(
            key,
            "a colon or newline cannot be in an account file's field",
        );
    }
}
