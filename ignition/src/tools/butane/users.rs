//! SSH keys of users.

use serde_json::Value;

use crate::tools::yaml::{Content, Node};

use super::Translator;
use super::value::{Object, Path};

/// Adds the keys in the files of `ssh_authorized_keys_local`.
pub fn keys(translator: &mut Translator<'_>, node: &Node, object: &mut Object, path: &Path) {
    const KEY: &str = "ssh_authorized_keys_local";
    let Some(Content::List(files)) = node.get(KEY).map(|node| &node.content) else {
        return;
    };
    let mut keys = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = path.key(KEY).entry(number);
        let Some(bytes) = translator.local(file, &path) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            translator.error(
                file,
                &path,
                "the file is not text; name a public key in OpenSSH's format",
            );
            continue;
        };
        if text.contains("PRIVATE KEY") {
            let message = "the file holds a private key, which must stay with you; name the \
                           public one (.pub)";
            translator.error(file, &path, message);
            continue;
        }
        keys.extend(
            text.lines()
                .filter(|line| !line.is_empty())
                .map(Value::from),
        );
    }
    let list = object
        .entry("sshAuthorizedKeys")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.extend(keys);
    }
}
