//! `storage.trees`: files and links of a directory of the laptop.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path as OsPath;

use serde_json::{Value, json};

use crate::tools::yaml::{Content, Node};

use super::resource::data_url;
use super::value::{Object, Path};
use super::{Translator, entry, list_in, shape};

/// Most files, links and directories of one tree.
const ENTRIES: usize = 10_000;

/// Deepest directory.
const DEPTH: usize = 64;

/// Adds the entries of all trees to `json`.
pub fn add(translator: &mut Translator<'_>, root: &Node, json: &mut Value) {
    let Some(trees) = root.get("storage").and_then(|s| s.get("trees")) else {
        return;
    };
    let list = Path::default().key("storage").key("trees");
    let checked = translator.value(trees, shape::TREES, &list);
    let (Some(Value::Array(checked)), Content::List(nodes)) = (checked, &trees.content) else {
        return;
    };
    for (number, (node, wanted)) in nodes.iter().zip(checked).enumerate() {
        let path = list.entry(number);
        let Value::Object(wanted) = wanted else {
            continue;
        };
        let text = |key| wanted.get(key).and_then(Value::as_str);
        let Some(local) = text("local") else {
            let message = "a tree needs the key local: a directory below --files-dir";
            translator.error(node, &path, message);
            continue;
        };
        let directory = match translator.files.directory(local) {
            Ok(directory) => directory,
            Err(error) => {
                translator.error(node, &path.key("local"), error.to_string());
                continue;
            }
        };
        let target = text("path").unwrap_or("/").trim_end_matches('/');
        let mut walk = Walk {
            translator,
            json,
            node,
            path: &path,
            wanted: &wanted,
            entries: 0,
        };
        if let Err(message) = walk.directory(&directory, target, 0) {
            translator.error(node, &path, message);
        }
    }
}

/// One tree that is being added.
struct Walk<'w, 'a> {
    translator: &'w mut Translator<'a>,
    json: &'w mut Value,
    node: &'w Node,
    path: &'w Path,
    wanted: &'w Object,
    entries: usize,
}

impl Walk<'_, '_> {
    fn directory(&mut self, from: &OsPath, to: &str, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!(
                "{} is more than {DEPTH} levels deep",
                from.display()
            ));
        }
        if ["user", "group", "dirMode"]
            .iter()
            .any(|key| self.wanted.contains_key(*key))
            && !to.is_empty()
        {
            self.own_directory(to)?;
        }
        let failed = |error| format!("listing {}: {error}", from.display());
        let mut found: Vec<_> = fs::read_dir(from)
            .and_then(|entries| entries.take(ENTRIES + 1).collect())
            .map_err(failed)?;
        found.sort_by_key(fs::DirEntry::file_name);
        for item in found {
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(format!("the tree has more than {ENTRIES} entries"));
            }
            let name = item.file_name().into_string().map_err(|name| {
                format!(
                    "{} in {} is not UTF-8; rename it",
                    name.display(),
                    from.display()
                )
            })?;
            let (from, to) = (item.path(), format!("{to}/{name}"));
            let kind = item.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.directory(&from, &to, depth + 1)?;
            } else if kind.is_file() {
                self.file(&from, &to)?;
            } else if kind.is_symlink() {
                self.link(&from, &to)?;
            } else {
                return Err(format!(
                    "{} is no file, directory or link; remove it from the tree",
                    from.display()
                ));
            }
        }
        Ok(())
    }

    /// A new entry of `list` for `to`, or the config's own one of that path,
    /// which must not have `content` then.
    fn entry(
        &mut self,
        list: &'static str,
        to: &str,
        content: &str,
    ) -> Result<&mut Object, String> {
        let clash = || {
            format!(
                "{to} of the tree is in storage.{list} too, with {content}; \
                 remove one of them"
            )
        };
        let key = {
            let entries = list_in(self.json, "storage", list).ok_or_else(clash)?;
            match entry(entries, "path", to) {
                Some((_, known)) if known.contains_key(content) => return Err(clash()),
                Some((at, _)) => at,
                None => {
                    let mut new = json!({ "path": to });
                    for key in ["user", "group"] {
                        if let Some(value) = self.wanted.get(key) {
                            new[key] = value.clone();
                        }
                    }
                    entries.push(new);
                    let at = entries.len() - 1;
                    let key = format!("storage.{list}.{at}");
                    self.translator.due_to(key, self.node, self.path);
                    at
                }
            }
        };
        let entries = list_in(self.json, "storage", list).ok_or_else(clash)?;
        entries[key].as_object_mut().ok_or_else(clash)
    }

    fn own_directory(&mut self, to: &str) -> Result<(), String> {
        let mode = self.wanted.get("dirMode").cloned();
        let directory = self.entry("directories", to, "mode")?;
        directory.insert("mode".to_owned(), mode.unwrap_or_else(|| json!(0o755)));
        Ok(())
    }

    fn file(&mut self, from: &OsPath, to: &str) -> Result<(), String> {
        let relative = self.translator.files.relative(from);
        let read = self.translator.files.read(&relative);
        let bytes = read.map_err(|error| error.to_string())?;
        let failed = |error| format!("reading the mode of {}: {error}", from.display());
        let metadata = fs::metadata(from).map_err(failed)?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let own = json!(if executable { 0o755 } else { 0o644 });
        let mode = self.wanted.get("fileMode").cloned().unwrap_or(own);
        let (source, compression) = data_url(&bytes);
        let file = self.entry("files", to, "contents")?;
        file.insert(
            "contents".to_owned(),
            json!({ "source": source, "compression": compression }),
        );
        file.entry("mode").or_insert(mode);
        Ok(())
    }

    fn link(&mut self, from: &OsPath, to: &str) -> Result<(), String> {
        let target = fs::read_link(from).map_err(|e| format!("reading {}: {e}", from.display()))?;
        let Some(target) = target.to_str().map(str::to_owned) else {
            return Err(format!("the target of {} is not UTF-8", from.display()));
        };
        self.entry("links", to, "target")?
            .insert("target".to_owned(), target.into());
        Ok(())
    }
}
