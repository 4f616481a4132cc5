//! Configurations: `NAME.conflist`, and `NAME.conf` of a single plugin.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::CniError;

/// What is read of a file at most.
const MOST: u64 = 1 << 20;

/// A network: its plugins in the order in which they are called, each with the network's name
/// and version in its configuration.
#[derive(Debug, PartialEq)]
pub struct List {
    pub name: String,
    pub plugins: Vec<Value>,
}

/// The network of that name. The first file in the order of names wins, as with other users of
/// CNI.
pub fn find(dir: &Path, name: &str) -> Result<List, CniError> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|ext| ext.to_str());
            matches!(extension, Some("conflist" | "conf" | "json"))
        })
        .collect();
    paths.sort();
    let mut others = Vec::new();
    for path in paths {
        let found = read(&path)?;
        if found.name == name {
            return Ok(found);
        }
        others.push(found.name);
    }
    Err(CniError::Unknown {
        name: name.to_owned(),
        dir: dir.to_owned(),
        others: if others.is_empty() {
            "none".to_owned()
        } else {
            others.join(", ")
        },
    })
}

fn read(path: &Path) -> Result<List, CniError> {
    let wrong = |message: String| CniError::Config {
        path: path.to_owned(),
        message,
    };
    let length = fs::metadata(path)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if length > MOST {
        return Err(wrong("more than 1 MiB".into()));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    parse(value).map_err(wrong)
}

fn parse(value: Value) -> Result<List, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = text("name").ok_or("key name is missing")?;
    let version = text("cniVersion").ok_or("key cniVersion is missing")?;
    let plugins = match value.get("plugins") {
        Some(Value::Array(plugins)) if !plugins.is_empty() => plugins.clone(),
        Some(_) => return Err("key plugins has to be a list of at least one plugin".into()),
        // A file of one plugin is its own configuration.
        None => vec![value.clone()],
    };
    let complete = |(number, mut plugin): (usize, Value)| {
        let at = format!("plugins[{number}]");
        let object = plugin
            .as_object_mut()
            .ok_or_else(|| format!("{at} is not an object"))?;
        if !object.get("type").is_some_and(Value::is_string) {
            return Err(format!("{at}.type is missing: the name of the plugin"));
        }
        object.insert("name".into(), json!(name));
        object.insert("cniVersion".into(), json!(version));
        Ok(plugin)
    };
    let plugins = plugins
        .into_iter()
        .enumerate()
        .map(complete)
        .collect::<Result<_, _>>()?;
    Ok(List { name, plugins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_the_name_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let list = r#"{"cniVersion": "1.1.0", "name": "lan",
                       "plugins": [{"type": "bridge"}, {"type": "portmap"}]}"#;
        fs::write(dir.path().join("10-a.conflist"), list).unwrap();
        let single = r#"{"cniVersion": "0.4.0", "name": "one", "type": "macvlan"}"#;
        fs::write(dir.path().join("20-b.conf"), single).unwrap();
        let lan = find(dir.path(), "lan").unwrap();
        assert_eq!(lan.plugins.len(), 2);
        assert_eq!(lan.plugins[1]["cniVersion"], "1.1.0");
        assert_eq!(find(dir.path(), "one").unwrap().plugins[0]["name"], "one");
        let said = find(dir.path(), "x").unwrap_err().to_string();
        assert!(said.ends_with("networks there are: lan, one"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conflist");
        for (text, said) in [
            ("{", "EOF"),
            (r#"{"cniVersion": "1.0.0"}"#, "key name is missing"),
            (
                r#"{"name": "a", "cniVersion": "1.0.0", "plugins": []}"#,
                "key plugins",
            ),
            (
                r#"{"name": "a", "cniVersion": "1.0.0", "plugins": [{}]}"#,
                "plugins[0].type",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let error = find(dir.path(), "a").unwrap_err().to_string();
            assert!(
                error.contains("a.conflist") && error.contains(said),
                "{error}"
            );
        }
    }
}
