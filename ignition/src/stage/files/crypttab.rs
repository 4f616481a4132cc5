//! Lines of crypttab(5), by which the host opens encrypted volumes on later boots.

use crate::config::{Config, Luks, filled, is_bound, list};
use crate::durable::Attributes;
use crate::log;

use super::{Context, FilesError};

const PATH: &str = "/etc/crypttab";

/// Adds a line for every volume of `config` to what is there; one of an earlier
/// attempt is replaced.
pub fn apply(context: &Context<'_>, config: &Config) -> Result<(), FilesError> {
    let storage = config.storage.as_ref();
    let volumes = list(storage.and_then(|s| s.luks.as_ref()));
    if volumes.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for (index, wanted) in volumes.iter().enumerate() {
        let uuid = context.state.volumes.get(&wanted.name);
        let Some(uuid) = uuid.filter(|uuid| !uuid.is_empty()) else {
            return Err(FilesError::Conflict {
                place: context.place(&format!("storage.luks.{index}")),
                message: format!(
                    "the stage disks left no UUID of {:?}; run it again",
                    wanted.name
                ),
            });
        };
        lines.push((wanted.name.as_str(), line(wanted, uuid)));
    }
    let there = context.root.read(PATH)?.unwrap_or_default();
    let text = merged(&String::from_utf8_lossy(&there), &lines);
    let attributes = Attributes::own(0o600);
    context
        .root
        .write_bytes(PATH, text.as_bytes(), attributes)?;
    log::info(&format!(
        "wrote path={PATH} mode=0600 volumes={}",
        lines.len()
    ));
    Ok(())
}

/// As upstream has it.
fn line(wanted: &Luks, uuid: &str) -> String {
    let name = &wanted.name;
    let clevis = wanted.clevis.as_ref();
    let custom = clevis.and_then(|clevis| clevis.custom.as_ref());
    let given = wanted.key_file.as_ref();
    let given = given.is_some_and(|key| filled(key.source.as_ref()).is_some());
    let key = match is_bound(wanted) && !given {
        true => "none".to_owned(),
        false => format!("/etc/luks/{name}"),
    };
    let network = clevis.is_some_and(|clevis| !list(clevis.tang.as_ref()).is_empty())
        || custom.is_some_and(|custom| custom.needs_network == Some(true));
    let options = if network { "luks,_netdev" } else { "luks" };
    format!("{name} UUID={uuid} {key} {options}\n")
}

/// `there` without the lines of these names, and with the new ones at its end.
fn merged(there: &str, lines: &[(&str, String)]) -> String {
    let stays = |line: &&str| {
        let name = line.split_whitespace().next();
        !lines.iter().any(|(ours, _)| name == Some(*ours))
    };
    let mut text: String = there
        .lines()
        .filter(stays)
        .flat_map(|line| [line, "\n"])
        .collect();
    text.extend(lines.iter().map(|(_, line)| line.as_str()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(body: Value) -> String {
        let mut luks = body;
        luks["name"] = json!("data");
        luks["device"] = json!("/dev/a");
        line(&serde_json::from_value(luks).unwrap(), "u-1")
    }

    #[test]
    fn lines_are_those_of_upstream() {
        let key = json!({"source": "data:,k"});
        let tang = json!([{"url": "http://t", "thumbprint": "x"}]);
        for (body, expected) in [
            (json!({}), "data UUID=u-1 /etc/luks/data luks\n"),
            (
                json!({"keyFile": key}),
                "data UUID=u-1 /etc/luks/data luks\n",
            ),
            (json!({"clevis": {}}), "data UUID=u-1 /etc/luks/data luks\n"),
            (
                json!({"clevis": {"tpm2": true}}),
                "data UUID=u-1 none luks\n",
            ),
            (
                json!({"clevis": {"tang": tang}}),
                "data UUID=u-1 none luks,_netdev\n",
            ),
            (
                json!({"clevis": {"tpm2": true}, "keyFile": key}),
                "data UUID=u-1 /etc/luks/data luks\n",
            ),
            (
                json!({"clevis": {"custom": {"pin": "sss", "config": "{}", "needsNetwork": true}}}),
                "data UUID=u-1 none luks,_netdev\n",
            ),
        ] {
            assert_eq!(shown(body), expected);
        }
    }

    #[test]
    fn lines_of_others_stay_and_ours_are_there_once() {
        let lines = [("a", "a new\n".to_owned()), ("b", "b new\n".to_owned())];
        assert_eq!(merged("", &lines), "a new\nb new\n");
        let there = "# mine\nb old\nc UUID=1 none\nab x";
        let once = merged(there, &lines);
        assert_eq!(once, "# mine\nc UUID=1 none\nab x\na new\nb new\n");
        assert_eq!(merged(&once, &lines), once);
    }
}
