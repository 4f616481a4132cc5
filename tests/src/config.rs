//! A large config, and what a guest must look like after it.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use qemu::Vm;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::{contains, same};

/// Files in the config.
const FILES: usize = 200;
/// Modes that they have in turn.
const MODES: [u32; 7] = [0o644, 0o600, 0o755, 0o640, 0o444, 0o4750, 0o2711];
/// Owner and group that they have in turn: root, users and a group of the
/// config by name, numbers without a name.
const OWNERS: [(Owner, Owner); 4] = [
    (Owner::Id(0), Owner::Id(0)),
    (Owner::Name("ada", 2001), Owner::Name("crew", 3001)),
    (Owner::Name("ben", 2002), Owner::Id(0)),
    (Owner::Id(4242), Owner::Id(4243)),
];
/// Directories that they are in.
const PLACES: [&str; 4] = ["/etc/e2e", "/etc/e2e/deep/er", "/var/lib/e2e", "/opt/e2e"];

#[derive(Clone, Copy)]
enum Owner {
    Id(u32),
    Name(&'static str, u32),
}

impl Owner {
    fn id(self) -> u32 {
        match self {
            Self::Id(id) | Self::Name(_, id) => id,
        }
    }

    fn json(self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name(name, _) => json!({ "name": name }),
        }
    }
}

/// One file of the config.
struct Entry {
    path: String,
    mode: u32,
    owner: (Owner, Owner),
    content: Vec<u8>,
}

fn entry(n: usize) -> Entry {
    // Sizes from nothing over one block to some.
    let length = (n * n * 7) % 9000;
    let byte = |i: usize| (i * 31 + n * 17) as u8;
    Entry {
        path: format!("{}/file-{n:03}", PLACES[n % PLACES.len()]),
        mode: MODES[n % MODES.len()],
        owner: OWNERS[n % OWNERS.len()],
        content: (0..length).map(byte).collect(),
    }
}

/// 200 files of mixed modes and owners, three users with keys, groups, five
/// units with drop-ins, directories and links. `key` is one more key of the
/// user `ada`, a line of `authorized_keys`.
pub fn large(key: &str) -> Value {
    json!({
        "ignition": { "version": "3.6.0" },
        "passwd": { "groups": groups(), "users": users(key) },
        "storage": {
            "files": (0..FILES).map(|n| file(&entry(n))).collect::<Vec<_>>(),
            "directories": [
                { "path": "/var/lib/e2e/private", "mode": 0o700, "user": { "name": "cyd" } },
                { "path": "/srv/shared", "mode": 0o3775, "group": { "name": "crew" } },
            ],
            "links": [
                { "path": "/etc/e2e/soft", "target": "/var/lib/e2e/file-002" },
                { "path": "/var/lib/e2e/hard", "target": "/var/lib/e2e/file-002", "hard": true },
            ],
        },
        "systemd": { "units": units() },
    })
}

fn file(entry: &Entry) -> Value {
    let content = &entry.content;
    json!({
        "path": entry.path,
        "mode": entry.mode,
        "user": entry.owner.0.json(),
        "group": entry.owner.1.json(),
        "contents": {
            "source": data_url(content),
            "verification": { "hash": format!("sha256-{}", hex(content)) },
        },
    })
}

/// A URL that is its own content (RFC 2397).
pub fn data_url(content: impl AsRef<[u8]>) -> String {
    format!("data:;base64,{}", BASE64.encode(content))
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn groups() -> Value {
    json!([{ "name": "crew", "gid": 3001 }, { "name": "ops", "gid": 3002 }])
}

/// A key of which nobody has the private half.
fn public_key(n: u8) -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([n; 32]);
    format!("ssh-ed25519 {} user-{n}", BASE64.encode(blob))
}

fn users(key: &str) -> Value {
    json!([
        { "name": "ada", "uid": 2001, "groups": ["sudo", "crew"], "shell": "/bin/bash",
          "gecos": "Ada, who logs in", "sshAuthorizedKeys": [public_key(1), key] },
        { "name": "ben", "uid": 2002, "primaryGroup": "crew", "homeDir": "/var/lib/ben",
          "shell": "/usr/sbin/nologin", "sshAuthorizedKeys": [public_key(2)] },
        { "name": "cyd", "uid": 2003, "groups": ["ops"],
          "sshAuthorizedKeys": [public_key(3), public_key(4)] },
    ])
}

fn units() -> Value {
    let service = |n: u8, install: &str| {
        format!(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart=/bin/sh -c 'echo \"$WORD\" > /run/e2e-{n}'\n{install}"
        )
    };
    let dropin = |word: &str| {
        json!([{ "name": "10-word.conf",
                 "contents": format!("[Service]\nEnvironment=WORD={word}\n") }])
    };
    let install = "[Install]\nWantedBy=multi-user.target\n";
    json!([
        { "name": "e2e-1.service", "enabled": true, "contents": service(1, install),
          "dropins": dropin("one") },
        { "name": "e2e-2.service", "enabled": true, "contents": service(2, install),
          "dropins": [
            { "name": "10-word.conf", "contents": "[Service]\nEnvironment=WORD=zero\n" },
            { "name": "20-word.conf", "contents": "[Service]\nEnvironment=WORD=two\n" } ] },
        { "name": "e2e-3.service", "enabled": false, "contents": service(3, install),
          "dropins": dropin("three") },
        { "name": "e2e-4.service", "mask": true, "dropins": dropin("four") },
        { "name": "systemd-timesyncd.service", "dropins": [
            { "name": "10-e2e.conf", "contents": "[Service]\nEnvironment=E2E=five\n" } ] },
    ])
}

/// Fails unless the guest is exactly what [`large`] says.
pub fn check_large(vm: &mut Vm) -> Result<()> {
    check_files(vm)?;
    check_users(vm)?;
    check_units(vm)
}

fn check_files(vm: &mut Vm) -> Result<()> {
    let entries: Vec<Entry> = (0..FILES).map(entry).collect();
    let mut paths: Vec<&str> = entries.iter().map(|e| e.path.as_str()).collect();
    paths.sort_unstable();
    vm.write_file("/run/e2e-paths", (paths.join("\n") + "\n").as_bytes())?;
    let found = vm.exec_ok(
        "xargs stat -c '%n %F %a %u:%g %s' < /run/e2e-paths; xargs sha256sum < /run/e2e-paths",
    )?;
    same("the 200 files", &found, &files_report(entries))?;
    let found = vm.exec(
        "stat -c '%n %F %a %u:%g' /var/lib/e2e/private /srv/shared /etc/e2e /etc/e2e/deep; \
         readlink /etc/e2e/soft; stat -c %h /var/lib/e2e/hard; \
         test /var/lib/e2e/hard -ef /var/lib/e2e/file-002 && echo same; \
         find /etc/e2e /var/lib/e2e /opt/e2e /srv/shared -type f | wc -l; \
         test -e /etc/.ignition || echo no work is left",
    )?;
    let found = found.stdout;
    let expected = "/var/lib/e2e/private directory 700 2003:0\n\
        /srv/shared directory 3775 0:3001\n\
        /etc/e2e directory 755 0:0\n/etc/e2e/deep directory 755 0:0\n\
        /var/lib/e2e/file-002\n2\nsame\n201\nno work is left\n";
    same("directories and links", &found, expected)
}

fn files_report(mut entries: Vec<Entry>) -> String {
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut expected = String::new();
    for Entry {
        path,
        mode,
        owner,
        content,
    } in &entries
    {
        let kind = match content.is_empty() {
            true => "regular empty file",
            false => "regular file",
        };
        let (user, group, size) = (owner.0.id(), owner.1.id(), content.len());
        // Writing to a string cannot fail.
        let _ = writeln!(expected, "{path} {kind} {mode:o} {user}:{group} {size}");
    }
    for entry in &entries {
        let _ = writeln!(expected, "{}  {}", hex(&entry.content), entry.path);
    }
    expected
}

fn check_users(vm: &mut Vm) -> Result<()> {
    let found = vm.exec_ok(
        "getent passwd ada ben cyd | cut -d: -f1,3,6,7; getent group crew ops | cut -d: -f1,3; \
         for u in ada ben cyd; do echo $u: $(id -nG $u | tr ' ' '\\n' | sort); done; \
         stat -c '%n %a %U' ~ada ~ben ~cyd ~ada/.ssh/authorized_keys.d/ignition; \
         cat ~ada/.ssh/authorized_keys.d/ignition | wc -l; \
         cat ~ben/.ssh/authorized_keys.d/ignition ~cyd/.ssh/authorized_keys.d/ignition; \
         passwd -S ada | cut -d' ' -f2",
    )?;
    let keys = [2, 3, 4].map(public_key).join("\n");
    let expected = format!(
        "ada:2001:/home/ada:/bin/bash\nben:2002:/var/lib/ben:/usr/sbin/nologin\n\
         cyd:2003:/home/cyd:/bin/sh\ncrew:3001\nops:3002\n\
         ada: ada crew sudo\nben: crew\ncyd: cyd ops\n\
         /home/ada 700 ada\n/var/lib/ben 700 ben\n/home/cyd 700 cyd\n\
         /home/ada/.ssh/authorized_keys.d/ignition 600 ada\n2\n{keys}\nL\n"
    );
    same("users and groups", &found, &expected)
}

fn check_units(vm: &mut Vm) -> Result<()> {
    let found = vm.exec(
        "cat /run/e2e-*[0-9]; for n in 1 2 3 4; do systemctl is-enabled e2e-$n.service; done; \
         systemctl show -p Environment --value e2e-3.service; \
         systemctl show -p Environment --value systemd-timesyncd.service",
    )?;
    let lines: Vec<&str> = found.stdout.lines().collect();
    let found_text = lines[..lines.len().saturating_sub(1)].join("\n");
    let expected = "one\ntwo\nenabled\nenabled\ndisabled\nmasked\nWORD=three";
    same("units", &found_text, expected)?;
    let last = lines.last().copied().unwrap_or_default();
    contains("systemd-timesyncd.service's environment", last, "E2E=five")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_config_has_what_the_claim_says() {
        let config = large("ssh-ed25519 AAAA x");
        let count = |path: &str| config.pointer(path).unwrap().as_array().unwrap().len();
        assert_eq!(count("/storage/files"), 200);
        assert_eq!(count("/passwd/users"), 3);
        assert_eq!(count("/systemd/units"), 5);
        let empty = (0..FILES).filter(|n| entry(*n).content.is_empty()).count();
        assert!(empty > 0 && empty < 20);
        let report = files_report(vec![entry(0)]);
        assert!(report.starts_with("/etc/e2e/file-000 regular empty file 644 0:0 0\ne3b0c442"));
    }
}
