//! Users and groups of the root that is provisioned, from its own files.

use crate::root::{Root, RootError};

/// A line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group's id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// The account called `name`.
pub fn user(root: &Root, name: &str) -> Result<Option<Account>, RootError> {
    let text = root.read("/etc/passwd")?.unwrap_or_default();
    Ok(find_user(&String::from_utf8_lossy(&text), name))
}

/// The id of the group called `name`.
pub fn group(root: &Root, name: &str) -> Result<Option<u32>, RootError> {
    let text = root.read("/etc/group")?.unwrap_or_default();
    Ok(find_group(&String::from_utf8_lossy(&text), name))
}

/// The account called `name` in the text of a passwd file.
pub fn find_user(passwd: &str, name: &str) -> Option<Account> {
    passwd
        .lines()
        .filter(|line| line.split(':').next() == Some(name))
        .find_map(parse)
}

/// All accounts, in the order of the file.
pub fn users(root: &Root) -> Result<Vec<Account>, RootError> {
    let text = root.read("/etc/passwd")?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let _password = fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let _comment = fields.next()?;
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        home: fields.next()?.to_owned(),
    })
}

/// The id of the group called `name` in the text of a group file.
pub fn find_group(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let _name = fields.next().filter(|found| *found == name)?;
        let _password = fields.next()?;
        fields.next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_found() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\ncore:x:1000:1001::/home/core:/bin/sh\n";
        let core = find_user(passwd, "core").unwrap();
        assert_eq!(
            (core.uid, core.gid, core.home.as_str()),
            (1000, 1001, "/home/core")
        );
        assert_eq!(find_user(passwd, "cor"), None);
        assert_eq!(find_user(passwd, "broken"), None);
        assert_eq!(find_group("a:x:5:\nab:x:6:u\n", "ab"), Some(6));
    }
}
