//! Where each part of a merged config came from.

use serde_json::Value;

use super::index::join;
use super::merge::identity;
use super::{Config, Document, Locate, Place};

/// A merged config's texts, oldest parent first.
#[derive(Debug)]
pub struct Origins {
    merged: Value,
    parts: Vec<(Document, Value)>,
}

impl Origins {
    /// `parts` in the order they were merged into `merged`.
    ///
    /// Fails only if a config cannot be represented in JSON.
    pub fn new(merged: &Config, parts: Vec<(Document, Config)>) -> Result<Self, serde_json::Error> {
        let parts: Result<_, serde_json::Error> = parts
            .into_iter()
            .map(|(document, config)| Ok((document, serde_json::to_value(config)?)))
            .collect();
        Ok(Self {
            merged: serde_json::to_value(merged)?,
            parts: parts?,
        })
    }
}

impl Locate for Origins {
    /// The place in the newest part that has `key` of the merged config.
    fn place(&self, key: &str) -> Place {
        let wanted = key.split('.').filter(|segment| !segment.is_empty()).count();
        let mut best: Option<(usize, &Document, String)> = None;
        for (document, config) in self.parts.iter().rev() {
            let (depth, found) = follow(&self.merged, config, key);
            if best.as_ref().is_none_or(|(deepest, ..)| depth > *deepest) {
                best = Some((depth, document, found));
            }
            if depth == wanted {
                break;
            }
        }
        match best {
            Some((depth, document, found)) if depth > 0 || wanted == 0 => document.place(&found),
            _ => Place {
                source: "all sources, merged".to_owned(),
                position: None,
                key: key.to_owned(),
                excerpt: None,
            },
        }
    }
}

/// Follows `key` of `merged` in `part`, list entries by their identity:
/// how many segments were found, and their path in `part`.
fn follow(merged: &Value, part: &Value, key: &str) -> (usize, String) {
    let (mut merged, mut part) = (merged, part);
    let (mut depth, mut path, mut list) = (0, String::new(), "");
    for segment in key.split('.').filter(|segment| !segment.is_empty()) {
        let (step, next_merged, next_part) = match (merged, part) {
            (Value::Array(all), Value::Array(own)) => {
                let Some(entry) = segment.parse().ok().and_then(|n: usize| all.get(n)) else {
                    break;
                };
                let wanted = identity(list, entry);
                let Some(at) = own.iter().position(|e| identity(list, e) == wanted) else {
                    break;
                };
                (at.to_string(), entry, &own[at])
            }
            _ => match (merged.get(segment), part.get(segment)) {
                (Some(in_merged), Some(in_part)) if !in_part.is_null() => {
                    (segment.to_owned(), in_merged, in_part)
                }
                _ => break,
            },
        };
        (merged, part, list) = (next_merged, next_part, segment);
        path = join(&path, &step);
        depth += 1;
    }
    (depth, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{merge, parse};

    #[test]
    fn merged_entry_is_found_in_the_text_it_came_from() {
        let parent = br#"{"ignition": {"version": "3.0.0"},
 "storage": {"files": [{"path": "/a"}, {"path": "/b",
   "mode": 420}]}}"#;
        let child = br#"{"ignition": {"version": "3.6.0"},
 "storage": {"files": [
   {"path": "/b"}, {"path": "/c", "mode": 1}]}}"#;
        let parent = parse("parent", parent).unwrap().unwrap();
        let child = parse("child", child).unwrap().unwrap();
        let merged = merge(&parent.config, &child.config).unwrap();
        let parts = vec![
            (parent.document, parent.config),
            (child.document, child.config),
        ];
        let origins = Origins::new(&merged, parts).unwrap();
        let show = |key| origins.place(key).to_string();
        assert_eq!(
            show("storage.files.1.mode"),
            "config from parent, line 3, column 12, key storage.files.1.mode"
        );
        assert_eq!(
            show("storage.files.2.mode"),
            "config from child, line 3, column 43, key storage.files.1.mode"
        );
        assert_eq!(
            show("passwd.users.0"),
            "config from all sources, merged, key passwd.users.0"
        );
    }
}
