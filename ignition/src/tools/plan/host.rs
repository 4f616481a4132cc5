//! What becomes of the host's root: accounts, files, units.

use crate::config::{Config, File, NodeGroup, NodeUser, Unit, User, filled, list};
use crate::stage::files::{Item, items};

use super::{Plan, Step, origin};

impl Plan {
    pub(super) fn accounts(&mut self, config: &Config) {
        let Some(passwd) = &config.passwd else {
            return;
        };
        for group in list(passwd.groups.as_ref()) {
            let step = self.step("files", action(group.should_exist), &group.name);
            step.says("group");
            if let Some(gid) = group.gid {
                step.says(format!("gid {gid}"));
            }
        }
        for user in list(passwd.users.as_ref()) {
            self.user(user);
        }
    }

    fn user(&mut self, user: &User) {
        let step = self.step("files", action(user.should_exist), &user.name);
        step.says("user");
        if user.should_exist == Some(false) {
            return;
        }
        if let Some(uid) = user.uid {
            step.says(format!("uid {uid}"));
        }
        let groups = list(user.groups.as_ref());
        if !groups.is_empty() {
            step.says(format!("in {}", groups.join(", ")));
        }
        match list(user.ssh_authorized_keys.as_ref()).len() {
            0 => step.says("no SSH key"),
            1 => step.says("1 SSH key"),
            keys => step.says(format!("{keys} SSH keys")),
        };
        step.says_if(
            filled(user.password_hash.as_ref()).is_some(),
            "with a password",
        );
    }

    pub(super) fn entries(&mut self, config: &Config) {
        for item in items(config) {
            let path = item.path();
            let (overwrites, owner) = match &item {
                Item::Directory(_, d) => (d.overwrite, owner(d.user.as_ref(), d.group.as_ref())),
                Item::File(_, f) => (f.overwrite, owner(f.user.as_ref(), f.group.as_ref())),
                Item::Link(_, l) => (l.overwrite, owner(l.user.as_ref(), l.group.as_ref())),
            };
            let step = match &item {
                Item::Directory(_, directory) => {
                    let step = self.step("files", "make directory", path);
                    step.says(mode(directory.mode, 0o755))
                }
                Item::File(_, file) => self.file(file),
                Item::Link(_, link) => {
                    let hard = link.hard == Some(true);
                    let verb = if hard { "link hard" } else { "link" };
                    let target = link.target.as_deref().unwrap_or_default();
                    let step = self.step("files", verb, path);
                    step.says(format!("to {target}"))
                }
            };
            step.details.extend(owner);
            if overwrites == Some(true) {
                step.destroys = true;
                step.says("replaces what is there");
            }
        }
    }

    fn file(&mut self, file: &File) -> &mut Step {
        let contents = file.contents.as_ref().filter(|c| c.source.is_some());
        let fragments = list(file.append.as_ref());
        let adds = contents.is_none() && !fragments.is_empty();
        let verb = if adds { "append to" } else { "write" };
        let step = self.step("files", verb, &file.path);
        step.says(mode(file.mode, 0o644));
        for resource in contents.into_iter().chain(fragments) {
            step.says(origin(resource));
        }
        let empty = contents.is_none() && fragments.is_empty();
        step.says_if(empty, "empty, if it is not there")
    }

    pub(super) fn units(&mut self, config: &Config) {
        let units = config.systemd.as_ref().and_then(|s| s.units.as_ref());
        for unit in list(units) {
            let step = self.step("files", "set up", &unit.name);
            step.details.extend(unit_words(unit));
        }
    }
}

fn action(should_exist: Option<bool>) -> &'static str {
    match should_exist {
        Some(false) => "remove",
        _ => "make or change",
    }
}

fn unit_words(unit: &Unit) -> Vec<String> {
    let mut words = Vec::new();
    let masked = unit.mask == Some(true);
    if masked {
        words.push("masked".to_owned());
    } else if filled(unit.contents.as_ref()).is_some() {
        words.push(format!("written to /etc/systemd/system/{}", unit.name));
    }
    for dropin in list(unit.dropins.as_ref()) {
        words.push(format!("drop-in {}", dropin.name));
    }
    match unit.enabled {
        Some(true) => words.push("enabled".to_owned()),
        Some(false) => words.push("disabled".to_owned()),
        None => {}
    }
    words
}

fn mode(mode: Option<i64>, default: i64) -> String {
    format!("mode {:04o}", mode.unwrap_or(default))
}

fn owner(user: Option<&NodeUser>, group: Option<&NodeGroup>) -> Option<String> {
    let shown = |id: Option<i64>, name: Option<&String>| match (id, name) {
        (Some(id), _) => id.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "root".to_owned(),
    };
    if user.is_none() && group.is_none() {
        return None;
    }
    let user = user.map_or_else(|| "root".to_owned(), |u| shown(u.id, u.name.as_ref()));
    let group = group.map_or_else(|| "root".to_owned(), |g| shown(g.id, g.name.as_ref()));
    Some(format!("owner {user}:{group}"))
}
