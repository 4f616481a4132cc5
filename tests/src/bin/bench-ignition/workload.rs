//! The config: two hundred files, and what a host has beside them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// Files of the config.
pub const FILES: usize = 200;
const DIRECTORIES: usize = 20;
const LINKS: usize = 20;
const USERS: usize = 5;
const UNITS: usize = 20;

/// Bytes of a file, in turn.
const SIZES: [usize; 5] = [200, 700, 2_000, 6_000, 20_000];
/// Every so many files comes a large one.
const LARGE_EACH: usize = 50;
/// Its bytes.
const LARGE: usize = 1 << 20;

/// The config of spec 3.3.0, the newest that both know. What it fetches is laid into the
/// directory `site`, which is served at `url`.
pub fn config(site: &Path, url: &str) -> Result<Vec<u8>> {
    let files = (0..FILES).map(|number| file(number, site, url));
    let config = json!({
        "ignition": {"version": "3.3.0"},
        "passwd": {
            "groups": [{"name": "team"}, {"name": "ops", "gid": 2000}],
            "users": (0..USERS).map(user).collect::<Vec<_>>(),
        },
        "storage": {
            "files": files.collect::<Result<Vec<_>>>()?,
            "directories": (0..DIRECTORIES).map(directory).collect::<Vec<_>>(),
            "links": (0..LINKS).map(link).collect::<Vec<_>>(),
        },
        "systemd": {"units": (0..UNITS).map(unit).collect::<Vec<_>>()},
    });
    Ok(serde_json::to_vec(&config)?)
}

fn path(number: usize) -> String {
    format!("/opt/app-{}/conf.d/{number}.conf", number % DIRECTORIES)
}

/// In turn: a data URL, one that is compressed, a URL, one of compressed contents.
fn file(number: usize, site: &Path, url: &str) -> Result<Value> {
    let (remote, packed) = ([false, false, true, true], [false, true, false, true]);
    let large = number % LARGE_EACH == 2;
    let bytes = text(
        number,
        if large {
            LARGE
        } else {
            SIZES[number % SIZES.len()]
        },
    );
    let mut contents = json!({"verification": {"hash": hash(number, &bytes)}});
    let mut stored = bytes;
    if packed[number % 4] {
        stored = gzip(&stored)?;
        contents["compression"] = json!("gzip");
    }
    contents["source"] = if remote[number % 4] {
        let at = site.join(number.to_string());
        fs::write(&at, stored).with_context(|| format!("writing {}", at.display()))?;
        json!(format!("{url}/{number}"))
    } else {
        json!(format!("data:;base64,{}", STANDARD.encode(stored)))
    };
    let mut file = json!({"path": path(number), "contents": contents, "mode": 0o640});
    if number.is_multiple_of(10) {
        file["user"] = json!({"name": format!("user-{}", number % USERS)});
        file["group"] = json!({"name": "team"});
    }
    Ok(file)
}

/// Lines as configuration files have them, other ones for every number.
fn text(number: usize, length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "listen = 127.0.0.1:",
        "# Set by the fleet's owner: ",
        "Environment=KEY_",
        "path = /var/lib/data/",
        "[section ",
        "timeout_seconds = ",
        "allow from 10.0.0.",
        "retries: ",
    ];
    let mut state = number as u64 + 1;
    let mut text = Vec::with_capacity(length + 64);
    while text.len() < length {
        // Knuth's constants for a linear congruential generator; the upper bits are good.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let word = WORDS[usize::from((state >> 61) as u8)];
        // Writing to memory does not fail.
        let _ = writeln!(text, "{word}{}", state >> 40);
    }
    text.truncate(length);
    text
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// One kind for every other file.
fn hash(number: usize, bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    match number.is_multiple_of(2) {
        true => format!("sha512-{}", hex(&Sha512::digest(bytes))),
        false => format!("sha256-{}", hex(&Sha256::digest(bytes))),
    }
}

fn user(number: usize) -> Value {
    let key = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043} user-{number}");
    json!({"name": format!("user-{number}"), "groups": ["team"], "sshAuthorizedKeys": [key]})
}

fn directory(number: usize) -> Value {
    let owner = format!("user-{}", number % USERS);
    json!({"path": format!("/srv/data-{number}"), "mode": 0o750, "user": {"name": owner}})
}

/// One in ten is a hard link.
fn link(number: usize) -> Value {
    let target = path(number);
    match number % 10 {
        9 => json!({"path": format!("/opt/hard-{number}"), "target": target, "hard": true}),
        _ => json!({"path": format!("/etc/app-{number}.conf"), "target": target}),
    }
}

fn unit(number: usize) -> Value {
    let contents = format!(
        "[Unit]\nDescription=Application {number}\n[Service]\nExecStart=/bin/true\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    let dropin = json!({"name": "10-restart.conf", "contents": "[Service]\nRestart=always\n"});
    json!({
        "name": format!("app-{number}.service"), "enabled": true, "contents": contents,
        "dropins": [dropin],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_has_every_kind_of_contents_and_is_the_same_each_time() {
        let site = tempfile::tempdir().unwrap();
        let made = config(site.path(), "http://h").unwrap();
        assert_eq!(made, config(site.path(), "http://h").unwrap());
        let made: Value = serde_json::from_slice(&made).unwrap();
        let files = made["storage"]["files"].as_array().unwrap();
        assert_eq!(files.len(), FILES);
        for (scheme, compression) in [
            ("data:", None),
            ("data:", Some("gzip")),
            ("http:", None),
            ("http:", Some("gzip")),
        ] {
            let of_kind = files.iter().filter(|file| {
                let contents = &file["contents"];
                contents["source"].as_str().unwrap().starts_with(scheme)
                    && contents["compression"].as_str() == compression
            });
            assert_eq!(of_kind.count(), FILES / 4, "{scheme} {compression:?}");
        }
        let served = fs::read_dir(site.path()).unwrap();
        assert_eq!(served.count(), FILES / 2);
        let large = fs::metadata(site.path().join("2")).unwrap();
        assert_eq!(large.len(), LARGE as u64);
    }
}
