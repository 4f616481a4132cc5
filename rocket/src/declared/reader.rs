//! Reading values out of a tree of YAML. Whatever is wrong is noted with its file, line and key
//! path, and reading goes on: a file's problems are told all at once.

use daemon::yaml::{Content, Entry, Node, Spot};

/// Entries of a list.
const ENTRIES: usize = 1024;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// The key path, `spec.containers[0].image`; empty if it is about no key.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A value and where it is.
#[derive(Debug, Clone)]
pub struct At<'a> {
    /// The value.
    pub node: &'a Node,
    /// Its key path.
    pub path: String,
    /// Where its key is; of an entry of a list, where it starts itself.
    pub spot: Spot,
}

/// The keys and values of a map.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    entries: &'a [Entry],
    path: String,
}

/// Which keys a map may have.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// Those that mean something.
    pub known: &'static [&'static str],
    /// Those that Kubernetes has and rocket has not, with what to do instead.
    pub refused: &'static [(&'static str, &'static str)],
}

/// Reads one file.
#[derive(Debug)]
pub struct Reader<'a> {
    /// What messages call it.
    pub file: &'a str,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// What is accepted and has no effect.
    pub notes: Vec<Problem>,
}

impl<'a> At<'a> {
    /// The root of a document.
    pub fn root(node: &'a Node) -> Self {
        Self {
            node,
            path: String::new(),
            spot: node.spot,
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of `key`, unless it is left out or null.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if entry.value.content == Content::Null {
            return None;
        }
        Some(self.at(entry))
    }

    /// All keys and values.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, At<'a>)> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.at(entry)))
    }

    fn at(&self, entry: &'a Entry) -> At<'a> {
        let path = match self.path.as_str() {
            "" => entry.key.clone(),
            path => format!("{path}.{}", entry.key),
        };
        At {
            node: &entry.value,
            path,
            spot: entry.spot,
        }
    }
}

impl<'a> Reader<'a> {
    /// Of a file that messages call `file`.
    pub fn new(file: &'a str) -> Self {
        Self {
            file,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Notes that a value is wrong.
    pub fn refuse(&mut self, at: &At<'_>, message: impl Into<String>) {
        let problem = self.about(at, message.into());
        self.problems.push(problem);
    }

    /// Notes that a value is accepted and has no effect.
    pub fn note(&mut self, at: &At<'_>, message: impl Into<String>) {
        let note = self.about(at, message.into());
        self.notes.push(note);
    }

    fn about(&self, at: &At<'_>, message: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: at.spot.line,
            path: at.path.clone(),
            message,
        }
    }

    /// A map with any keys.
    pub fn any_map<'n>(&mut self, at: &At<'n>) -> Option<Fields<'n>> {
        match &at.node.content {
            Content::Map(entries) => Some(Fields {
                entries,
                path: at.path.clone(),
            }),
            _ => {
                let found = at.node.kind();
                self.refuse(at, format!("expected keys and values, found {found}"));
                None
            }
        }
    }

    /// A map with these keys. Others are refused.
    pub fn map<'n>(&mut self, at: &At<'n>, keys: Keys) -> Option<Fields<'n>> {
        let fields = self.any_map(at)?;
        for (key, value) in fields.all() {
            if keys.known.contains(&key) {
                continue;
            }
            let refused = keys.refused.iter().find(|(name, _)| *name == key);
            match refused {
                // Nothing is asked for.
                Some(_) if value.node.is_empty() => {}
                Some((_, instead)) => self.refuse(&value, format!("not supported; {instead}")),
                None => {
                    let known = keys.known.join(", ");
                    self.refuse(&value, format!("not supported; keys here are {known}"));
                }
            }
        }
        Some(fields)
    }

    /// The entries of a list.
    pub fn list<'n>(&mut self, at: &At<'n>) -> Vec<At<'n>> {
        match &at.node.content {
            Content::List(nodes) if nodes.len() > ENTRIES => {
                self.refuse(at, format!("more than {ENTRIES} entries"));
                Vec::new()
            }
            Content::List(nodes) => {
                let entry = |(number, node): (usize, &'n Node)| At {
                    node,
                    path: format!("{}[{number}]", at.path),
                    spot: node.spot,
                };
                nodes.iter().enumerate().map(entry).collect()
            }
            _ => {
                let found = at.node.kind();
                self.refuse(at, format!("expected a list, found {found}"));
                Vec::new()
            }
        }
    }

    /// The entries of the list `key`, if there is one.
    pub fn list_of<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Vec<At<'n>> {
        let list = fields.get(key);
        list.map(|at| self.list(&at)).unwrap_or_default()
    }

    /// A text. As in Kubernetes, a number or a truth value is none unless it is quoted.
    pub fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.content {
            Content::Scalar { text, plain } => {
                if *plain && is_other_than_text(text) {
                    self.refuse(
                        at,
                        format!("expected a text, found {text}; put quotes around it"),
                    );
                    return None;
                }
                if text.contains('\0') {
                    self.refuse(at, "has a zero byte");
                    return None;
                }
                Some(text.clone())
            }
            _ => {
                self.refuse(at, format!("expected a text, found {}", at.node.kind()));
                None
            }
        }
    }

    /// The text of `key`, if there is one.
    pub fn text_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        fields.get(key).and_then(|at| self.text(&at))
    }

    /// The texts of the list `key`; nothing if there is no such list.
    pub fn texts_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<Vec<String>> {
        let at = fields.get(key)?;
        let entries = self.list(&at);
        Some(entries.iter().filter_map(|at| self.text(at)).collect())
    }

    /// A text, or a number as it is written: quantities and ports.
    pub fn words(&mut self, at: &At<'_>) -> Option<String> {
        match at.node.text() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.refuse(
                    at,
                    format!("expected a number or a text, found {}", at.node.kind()),
                );
                None
            }
        }
    }

    /// A whole number between `least` and `most`.
    pub fn number(&mut self, at: &At<'_>, least: i64, most: i64) -> Option<i64> {
        let number = match &at.node.content {
            Content::Scalar { text, plain: true } => text.parse::<i64>().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(number);
        }
        self.refuse(at, format!("expected a number between {least} and {most}"));
        None
    }

    /// The number of `key`, if there is one.
    pub fn number_of(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        fields.get(key).and_then(|at| self.number(&at, least, most))
    }

    /// A user or group ID.
    pub fn id_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<u32> {
        let number = self.number_of(fields, key, 0, i64::from(u32::MAX - 1))?;
        u32::try_from(number).ok()
    }

    /// The truth value of `key`; no, if there is none.
    pub fn truth_of(&mut self, fields: &Fields<'_>, key: &str) -> bool {
        fields
            .get(key)
            .and_then(|at| self.truth(&at))
            .unwrap_or(false)
    }

    /// A truth value.
    pub fn truth(&mut self, at: &At<'_>) -> Option<bool> {
        match &at.node.content {
            Content::Scalar { text, plain: true } if text == "true" => Some(true),
            Content::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.refuse(at, "expected true or false");
                None
            }
        }
    }

    /// Permissions: `0644`, `0o644` or, as JSON has it, 420.
    pub fn mode_of(&mut self, fields: &Fields<'_>, key: &str) -> Option<u32> {
        let at = fields.get(key)?;
        let text = at.node.text().unwrap_or_default();
        let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
        let mode = match octal {
            Some(digits) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
            _ => text.parse().ok(),
        };
        if let Some(mode) = mode.filter(|mode| *mode <= 0o777) {
            return Some(mode);
        }
        self.refuse(&at, "expected permissions such as 0644");
        None
    }

    /// An absolute path without `..`.
    pub fn path(&mut self, at: &At<'_>) -> Option<std::path::PathBuf> {
        use std::path::{Component, Path};
        let text = self.text(at)?;
        let goes_up = Path::new(&text)
            .components()
            .any(|part| part == Component::ParentDir);
        if text.starts_with('/') && !goes_up && !text.contains('\n') {
            return Some(text.into());
        }
        self.refuse(at, "expected an absolute path without ..");
        None
    }

    /// A name of lower-case letters, digits and `-`, at most 63 of them.
    pub fn name(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        if is_label(&text) {
            return Some(text);
        }
        let message = "expected a name of at most 63 lower-case letters, digits and -, which \
                       begins and ends with a letter or digit";
        self.refuse(at, message);
        None
    }

    /// A name with dots between such parts: of ConfigMaps and Secrets.
    pub fn long_name(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Some(text);
        }
        let message = "expected a name of lower-case letters, digits, - and .";
        self.refuse(at, message);
        None
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.refuse(
            at,
            format!("{text:?} is not supported; expected {}", names.join(", ")),
        );
        None
    }
}

/// A label as in DNS.
pub fn is_label(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= 63
        && ends.iter().all(|end| end.is_some_and(good))
        && text.bytes().all(|byte| good(byte) || byte == b'-')
}

/// What YAML takes for a number or a truth value when it is not quoted.
fn is_other_than_text(text: &str) -> bool {
    let is_truth = ["true", "false", "yes", "no", "on", "off"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let begins = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    is_truth || begins && text.parse::<f64>().is_ok()
}
