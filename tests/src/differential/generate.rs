//! Configs from a seed: the same seed and number always give the same config.
//!
//! Most of a config is sound, and about what is in the root directory already; now and
//! then there is a mistake, and the programs must agree on refusing it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::cases::{Case, packed, sha256};
use super::random::Random;

const VERSIONS: [&str; 4] = ["3.0.0", "3.1.0", "3.2.0", "3.3.0"];

/// Things that are there, and things that are not.
const PATHS: [&str; 20] = [
    "/etc/hostname",
    "/etc/no-newline",
    "/home/old/f",
    "/home/old/note",
    "/new/deep/path/f",
    "/opt/a",
    "/opt/a/b",
    "/opt/a/b/c",
    "/opt/d/e",
    "/opt/f",
    "/opt/l",
    "/present/dangling",
    "/present/directory",
    "/present/directory/below/file",
    "/present/directory/new",
    "/present/file",
    "/present/link",
    "/present/owned",
    "/present/private",
    "/present/to-directory/new",
];
const TEXTS: [&str; 6] = [
    "",
    "text",
    "two\nlines\n",
    "no newline",
    "ünïcode ✓",
    "%;,&+#?",
];
const USERS: [&str; 6] = ["old", "root", "u", "v", "w", "x-1"];
// None that is there already: with these the programs differ on purpose.
const GROUPS: [&str; 4] = ["g", "h", "i", "u"];
const UNITS: [&str; 9] = [
    "a.service",
    "b.timer",
    "c.socket",
    "masked.service",
    "present.service",
    "systemd-networkd.service",
    "t@.service",
    "t@x.service",
    "t@y.service",
];
const MODES: [u32; 9] = [0, 0o400, 0o600, 0o640, 0o644, 0o755, 0o777, 0o1777, 0o4755];

/// The config number `number` of `seed`.
pub fn case(seed: u64, number: u64) -> Case {
    let mut random = Random::new(seed, number);
    let mut config = random.config(0);
    if random.chance(12) {
        random.spoil(&mut config);
    }
    Case::text(&format!("generated/{seed}-{number}"), &config.to_string())
}

impl Random {
    fn config(&mut self, depth: usize) -> Value {
        let mut config = json!({"ignition": {"version": self.pick(&VERSIONS)}});
        if self.chance(80) {
            config["storage"] = self.storage();
        }
        if self.chance(40) {
            config["passwd"] = self.passwd();
        }
        if self.chance(40) {
            let units = self.some(&UNITS, 4);
            let units: Vec<_> = units.into_iter().map(|name| self.unit(name)).collect();
            config["systemd"] = json!({"units": units});
        }
        if depth < 2 && self.chance(25) {
            let children: Vec<_> = (0..=self.below(2)).map(|_| self.child(depth)).collect();
            config["ignition"]["config"] = match self.chance(15) {
                true => json!({"replace": children[0]}),
                false => json!({"merge": children}),
            };
        }
        config
    }

    fn child(&mut self, depth: usize) -> Value {
        let text = self.config(depth + 1).to_string();
        match self.below(3) {
            0 => json!({"source": packed(text.as_bytes()), "compression": "gzip"}),
            _ => json!({"source": format!("data:;base64,{}", STANDARD.encode(text))}),
        }
    }

    fn storage(&mut self) -> Value {
        let mut lists = [Vec::new(), Vec::new(), Vec::new()];
        for path in self.some(&PATHS, 6) {
            match self.below(5) {
                0 => lists[1].push(self.directory(path)),
                1 => lists[2].push(self.link(path)),
                _ => lists[0].push(self.file(path)),
            }
        }
        let [files, directories, links] = lists;
        json!({"files": files, "directories": directories, "links": links})
    }

    fn node(&mut self, path: &str) -> Map<String, Value> {
        let mut node = Map::new();
        node.insert("path".into(), json!(path));
        if self.chance(30) {
            node.insert("user".into(), self.owner(&["old", "root", "daemon"]));
        }
        if self.chance(30) {
            node.insert("group".into(), self.owner(&["staff", "root", "shadow"]));
        }
        node
    }

    fn owner(&mut self, names: &[&str]) -> Value {
        match self.below(5) {
            0 => json!({"name": self.pick(names)}),
            1 => json!({}),
            _ => json!({"id": self.below(70_000)}),
        }
    }

    fn file(&mut self, path: &str) -> Value {
        let mut file = self.node(path);
        if self.chance(60) {
            file.insert("mode".into(), json!(self.pick(&MODES)));
        }
        let contents = self.chance(70);
        if contents {
            file.insert("contents".into(), self.resource());
            if self.chance(70) {
                file.insert("overwrite".into(), json!(true));
            }
        }
        if self.chance(if contents { 15 } else { 60 }) {
            let fragments: Vec<_> = (0..self.below(4)).map(|_| self.resource()).collect();
            file.insert("append".into(), fragments.into());
        }
        file.into()
    }

    fn resource(&mut self) -> Value {
        let text = self.pick(&TEXTS);
        let encoded = |byte: u8| format!("%{byte:02X}");
        let mut resource = match self.below(4) {
            0 => json!({"source": packed(text.as_bytes()), "compression": "gzip"}),
            1 => json!({"source": format!("data:;base64,{}", STANDARD.encode(text))}),
            2 => {
                json!({"source": format!("data:text/plain;charset=utf-8,{}", text.bytes().map(encoded).collect::<String>())})
            }
            _ => {
                json!({"source": format!("data:,{}", text.bytes().map(encoded).collect::<String>())})
            }
        };
        match self.below(20) {
            0 => resource["verification"] = json!({"hash": sha256(b"another text")}),
            1..6 => resource["verification"] = json!({"hash": sha256(text.as_bytes())}),
            _ => {}
        }
        resource
    }

    fn directory(&mut self, path: &str) -> Value {
        let mut directory = self.node(path);
        if self.chance(50) {
            directory.insert("mode".into(), json!(self.pick(&MODES)));
        }
        if self.chance(40) {
            directory.insert("overwrite".into(), json!(self.chance(80)));
        }
        directory.into()
    }

    fn link(&mut self, path: &str) -> Value {
        let mut link = self.node(path);
        if self.chance(30) {
            link.insert("hard".into(), json!(true));
            let targets = ["/present/file", "/etc/hostname", "/opt/f"];
            link.insert("target".into(), json!(self.pick(&targets)));
        } else {
            let targets = ["file", "/etc/hostname", "../x", "directory", "a//b/"];
            let target = self.pick(&targets);
            link.insert("target".into(), json!(target));
            // For a link that is there already ours sets the owner, theirs does not.
            if (path, target) == ("/present/link", "file") {
                link.retain(|key, _| !matches!(key.as_str(), "user" | "group"));
            }
        }
        if self.chance(60) {
            link.insert("overwrite".into(), json!(true));
        }
        link.into()
    }

    fn passwd(&mut self) -> Value {
        let groups = self.some(&GROUPS, 2);
        let groups: Vec<_> = groups.into_iter().map(|name| self.group(name)).collect();
        let users = self.some(&USERS, 3);
        let users: Vec<_> = users.into_iter().map(|name| self.user(name)).collect();
        json!({"groups": groups, "users": users})
    }

    fn group(&mut self, name: &str) -> Value {
        let mut group = json!({"name": name});
        if self.chance(40) {
            group["gid"] = json!(2000 + self.below(20));
        }
        if self.chance(20) {
            group["system"] = json!(true);
        }
        if self.chance(20) {
            group["passwordHash"] = json!("$6$group$hash");
        }
        group
    }

    fn user(&mut self, name: &str) -> Value {
        let mut user = Map::new();
        user.insert("name".into(), json!(name));
        let number = self.below(20);
        let groups = self.some(&["staff", "sudo", "spare"], 2);
        let new = !matches!(name, "old" | "root");
        // For who is there, none without a parent: with these the programs differ on purpose.
        let home = match new {
            true => format!("/srv/home/{name}"),
            false => format!("/srv/{name}"),
        };
        let choices = [
            ("uid", 30, json!(3000 + number), name != "root"),
            ("gecos", 30, json!("A User"), true),
            ("homeDir", 30, json!(home), name != "root"),
            ("primaryGroup", 20, json!("staff"), true),
            ("groups", 40, json!(groups), true),
            ("shell", 40, json!("/bin/bash"), true),
            ("passwordHash", 40, json!("$6$user$hash"), true),
            ("sshAuthorizedKeys", 40, json!(["ssh-ed25519 AAAA k"]), true),
            ("noUserGroup", 10, json!(true), new),
            ("noLogInit", 10, json!(true), true),
            ("system", 10, json!(true), new),
        ];
        for (key, percent, value, sensible) in choices {
            if sensible && self.chance(percent) {
                user.insert(key.into(), value);
            }
        }
        user.into()
    }

    fn unit(&mut self, name: &str) -> Value {
        let mut unit = Map::new();
        unit.insert("name".into(), json!(name));
        if self.chance(70) {
            let text = "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n";
            unit.insert(
                "contents".into(),
                json!(self.pick(&[text, text.trim_end(), ""])),
            );
        }
        if self.chance(60) {
            unit.insert("enabled".into(), json!(self.chance(70)));
        }
        if self.chance(20) {
            unit.insert("mask".into(), json!(self.chance(60)));
        }
        if self.chance(30) {
            let text = json!("[Unit]\nDescription=y\n");
            let dropins = self.some(&["a.conf", "b.conf", "c.conf"], 2);
            let dropin = |name: &str| json!({"name": name, "contents": text});
            unit.insert("dropins".into(), dropins.into_iter().map(dropin).collect());
        }
        unit.into()
    }

    /// Puts a mistake into `config`.
    fn spoil(&mut self, config: &mut Value) {
        let file = |body: Value| json!({"files": [body]});
        let contents =
            |source: &str| file(json!({"path": "/opt/f", "contents": {"source": source}}));
        let storages = [
            file(json!({"path": "opt/f"})),
            file(json!({"path": "/opt/f", "mode": 10_000})),
            file(json!({"path": "/opt/f", "overwrite": true})),
            file(json!({"path": "/opt/f", "user": {"id": 1, "name": "old"}})),
            file(json!({"path": "/opt/f", "user": {"name": "nobody-knows"}})),
            file(json!({"path": "/opt/f", "contents": {"source": "data:,x", "compression": "xz"}})),
            json!({"files": [{"path": "/opt/f"}], "links": [{"path": "/opt/f", "target": "x"}]}),
            json!({"links": [{"path": "/opt/l"}]}),
            json!({"directories": [{"path": "/opt/d"}, {"path": "/opt/d"}]}),
            contents("gopher://host.invalid/f"),
            contents("data:;base64,!"),
            contents("no scheme"),
        ];
        let units = [
            json!({"name": "a.conf"}),
            json!({"name": "a.service", "contents": "[Unit"}),
            json!({"name": "a.service", "enabled": "true"}),
            json!({"name": "a.service", "dropins": [{"name": "b"}]}),
        ];
        let number = self.below(storages.len() + units.len() + 2);
        if let Some(storage) = storages.get(number) {
            config["storage"] = storage.clone();
        } else if let Some(unit) = units.get(number - storages.len()) {
            config["systemd"] = json!({"units": [unit]});
        } else if self.chance(50) {
            config["ignition"]["version"] = json!("2.3.0");
        } else {
            config["passwd"] = json!({"users": [{"name": "u"}, {"name": "u"}]});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_always_gives_the_same_configs_and_they_are_many() {
        let of = |seed| (0..200).map(move |n| case(seed, n).config);
        assert!(of(7).eq(of(7)));
        let different: BTreeSet<_> = of(7).chain(of(8)).collect();
        assert!(different.len() > 350, "{}", different.len());
    }
}
