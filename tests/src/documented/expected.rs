//! What a host must look like that was provisioned with configs.
//!
//! Of several configs the last word on a path, a unit or a user counts, as when they are
//! merged; keys and groups of users come together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One thing to ask a shell on the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What it is about.
    pub what: String,
    /// The question.
    pub command: String,
    /// The answer.
    pub says: String,
}

/// Where an entry goes, with what must be there.
type Asked = BTreeMap<String, Expectation>;

/// What `configs` and the configs that they name ask for; `served` are the contents of their
/// server at `server`.
pub fn of_configs(
    configs: &[Value],
    server: &str,
    served: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<Expectation>> {
    let source = Source { server, served };
    let mut all = Vec::new();
    for config in configs {
        flatten(config, &source, &mut all)?;
    }
    let mut asked = Asked::new();
    for config in &all {
        entries(config, &source, &mut asked)?;
        units(config, &mut asked);
    }
    accounts(&all, &mut asked);
    Ok(asked.into_values().collect())
}

/// Where contents come from.
struct Source<'a> {
    server: &'a str,
    served: &'a BTreeMap<String, Vec<u8>>,
}

impl Source<'_> {
    /// The bytes of a resource of a config.
    fn bytes(&self, resource: &Value) -> Result<Vec<u8>> {
        let Some(source) = resource["source"].as_str() else {
            return Ok(Vec::new());
        };
        let bytes = match source.strip_prefix("data:") {
            Some(data) => of_data(data).with_context(|| format!("reading {source}"))?,
            None => {
                let path = source.strip_prefix(self.server);
                let path = path.unwrap_or_default().trim_start_matches('/');
                let served = self.served.get(path);
                served
                    .with_context(|| format!("{source} is not served"))?
                    .clone()
            }
        };
        if resource["compression"] != "gzip" {
            return Ok(bytes);
        }
        let mut plain = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
        Ok(plain)
    }
}

/// What a data URL holds, without its scheme.
fn of_data(data: &str) -> Result<Vec<u8>> {
    let (kind, text) = data.split_once(',').context("a data URL without a comma")?;
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: Vec<u8> = rest.by_ref().take(2).collect();
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?);
    }
    match kind.ends_with(";base64") {
        true => Ok(BASE64.decode(bytes)?),
        false => Ok(bytes),
    }
}

/// `config` behind what it merges; or what replaces it.
fn flatten(config: &Value, source: &Source<'_>, all: &mut Vec<Value>) -> Result<()> {
    let other = &config["ignition"]["config"];
    let read = |resource: &Value| -> Result<Value> {
        serde_json::from_slice(&source.bytes(resource)?).context("reading a merged config")
    };
    if other["replace"]["source"].is_string() {
        return flatten(&read(&other["replace"])?, source, all);
    }
    for child in items(&other["merge"]) {
        flatten(&read(child)?, source, all)?;
    }
    all.push(config.clone());
    Ok(())
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn add(asked: &mut Asked, kind: &str, name: &str, command: String, says: String) {
    let what = format!("{kind} {name}");
    let expectation = Expectation {
        what: what.clone(),
        command,
        says,
    };
    asked.insert(what, expectation);
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn entries(config: &Value, source: &Source<'_>, asked: &mut Asked) -> Result<()> {
    let storage = &config["storage"];
    for file in items(&storage["files"]) {
        let path = text(&file["path"]);
        let mut bytes = source.bytes(&file["contents"])?;
        for more in items(&file["append"]) {
            bytes.extend(source.bytes(more)?);
        }
        let command = format!("sha256sum < {} | cut -d ' ' -f 1", quoted(path));
        add(asked, "contents of", path, command, hex(&bytes));
        status(file, path, "regular file", 0o644, asked);
    }
    for directory in items(&storage["directories"]) {
        let path = text(&directory["path"]);
        status(directory, path, "directory", 0o755, asked);
    }
    for link in items(&storage["links"]) {
        if link["hard"] == true {
            bail!("hard links are not looked at");
        }
        let path = text(&link["path"]);
        let command = format!("readlink {}", quoted(path));
        add(
            asked,
            "link",
            path,
            command,
            text(&link["target"]).to_owned(),
        );
    }
    Ok(())
}

/// Kind, mode and owners of an entry.
fn status(entry: &Value, path: &str, kind: &str, mode: u64, asked: &mut Asked) {
    let mode = entry["mode"].as_u64().unwrap_or(mode);
    let mut format = "%F %a".to_owned();
    let mut says = format!("{kind} {mode:o}");
    for (key, by_name, by_id) in [("user", " %U", " %u"), ("group", " %G", " %g")] {
        let owner = &entry[key];
        match owner["name"].as_str() {
            Some(name) => {
                format += by_name;
                says += &format!(" {name}");
            }
            None => {
                format += by_id;
                says += &format!(" {}", owner["id"].as_u64().unwrap_or(0));
            }
        }
    }
    // An empty file is a kind of its own.
    let command = format!(
        "stat -c '{format}' {} | sed 's/^regular empty file/regular file/'",
        quoted(path)
    );
    add(asked, "status of", path, command, says);
}

fn units(config: &Value, asked: &mut Asked) {
    const UNITS: &str = "/etc/systemd/system";
    for unit in items(&config["systemd"]["units"]) {
        let name = text(&unit["name"]);
        let path = format!("{UNITS}/{name}");
        if let Some(contents) = unit["contents"].as_str() {
            let command = format!("sha256sum < {} | cut -d ' ' -f 1", quoted(&path));
            add(asked, "unit", name, command, hex(contents.as_bytes()));
        }
        for dropin in items(&unit["dropins"]) {
            let path = format!("{path}.d/{}", text(&dropin["name"]));
            let command = format!("sha256sum < {} | cut -d ' ' -f 1", quoted(&path));
            let contents = text(&dropin["contents"]);
            add(asked, "drop-in", &path, command, hex(contents.as_bytes()));
        }
        if unit["mask"] == true {
            let command = format!("readlink {}", quoted(&path));
            add(asked, "mask of", name, command, "/dev/null".to_owned());
        } else if unit["enabled"] == true {
            // A unit of the release that is started by others cannot be enabled.
            let command = format!(
                "systemctl is-enabled {} | sed s/static/enabled/",
                quoted(name)
            );
            add(asked, "preset of", name, command, "enabled".to_owned());
        }
    }
}

fn accounts(configs: &[Value], asked: &mut Asked) {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for config in configs {
        for user in items(&config["passwd"]["users"]) {
            let name = text(&user["name"]);
            if user["shouldExist"] == false {
                let command = format!("getent passwd {}; echo gone", quoted(name));
                add(asked, "no user", name, command, "gone".to_owned());
                continue;
            }
            let groups = users.entry(name).or_default();
            groups.extend(items(&user["groups"]).iter().map(text));
            for key in items(&user["sshAuthorizedKeys"]) {
                let kept = format!("~{name}/.ssh/authorized_keys.d/ignition");
                let command = format!("grep -cxF {} {kept}", quoted(text(key)));
                let what = format!("{name}: {}", text(key));
                add(asked, "key of", &what, command, "1".to_owned());
            }
            if let Some(hash) = user["passwordHash"].as_str() {
                let command = format!("getent shadow {} | cut -d : -f 2", quoted(name));
                add(asked, "password of", name, command, hash.to_owned());
            }
        }
    }
    for (name, groups) in users {
        // Those that it must be in, of those that it is in.
        let list = groups.iter().copied().collect::<Vec<_>>();
        let pattern = list.iter().map(|g| format!(" -e {g}")).collect::<String>();
        let command = match list.is_empty() {
            true => format!("id -un {}", quoted(name)),
            false => format!(
                "id -nG {} | tr ' ' '\\n' | grep -xF{pattern} | sort",
                quoted(name)
            ),
        };
        let says = match list.is_empty() {
            true => name.to_owned(),
            false => list.join("\n"),
        };
        add(asked, "user", name, command, says);
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_word_on_a_path_counts_and_children_speak_first() {
        let file = |text: &str| {
            json!({"storage": {"files": [{"path": "/f",
                "contents": {"source": format!("data:,{text}")}}]}})
        };
        let mut parent = file("parent");
        let child = BASE64.encode(file("child").to_string());
        parent["ignition"]["config"]["merge"] =
            json!([{"source": format!("data:;base64,{child}")}]);
        let says = |config: &Value| {
            let found = of_configs(std::slice::from_ref(config), "", &BTreeMap::new()).unwrap();
            let contents = found.into_iter().find(|e| e.what == "contents of /f");
            contents.unwrap().says
        };
        assert_eq!(says(&parent), hex(b"parent"));
        let both = [file("1"), file("2%0A")];
        let found = of_configs(&both, "", &BTreeMap::new()).unwrap();
        assert_eq!(found[0].says, hex(b"2\n"));
        assert_eq!(found[1].says, "regular file 644 0 0");
    }

    #[test]
    fn groups_of_a_user_come_together() {
        let user = |group: &str| json!({"passwd": {"users": [{"name": "a", "groups": [group]}]}});
        let found = of_configs(&[user("x"), user("y")], "", &BTreeMap::new()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].says, "x\ny");
    }
}
