//! From the tree to JSON, along the tables of keys.

use serde_json::{Map, Value};

use crate::tools::yaml::{Content, Entry, Node};

use super::shape::{self, Field, Kind, Shape, Since, json_name};
use super::suggest::nearest;
use super::{Translator, variant::Family};

/// An object of JSON.
pub type Object = Map<String, Value>;

/// The key path of a value in both languages.
#[derive(Debug, Clone, Default)]
pub struct Path {
    /// In the text that was written.
    pub yaml: String,
    /// In the config that it becomes.
    pub json: String,
}

impl Path {
    /// The path of `name` in here.
    pub fn key(&self, name: &str) -> Self {
        Self {
            yaml: join(&self.yaml, name),
            json: join(&self.json, &json_name(name)),
        }
    }

    /// The path of an entry of this list.
    pub fn entry(&self, number: usize) -> Self {
        Self {
            yaml: join(&self.yaml, &number.to_string()),
            json: join(&self.json, &number.to_string()),
        }
    }
}

fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() {
        child.to_owned()
    } else {
        format!("{parent}.{child}")
    }
}

/// Modes that people set. Others are allowed.
const COMMON: [i64; 26] = [
    0o400, 0o440, 0o444, 0o500, 0o550, 0o555, 0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o700,
    0o710, 0o711, 0o750, 0o751, 0o755, 0o770, 0o775, 0o777, 0o1777, 0o2755, 0o2775, 0o4755, 0o2770,
];

impl Translator<'_> {
    /// `node` as an object with the keys of `shape`; nothing if it is left out
    /// or no map.
    pub fn object(&mut self, node: &Node, shape: &Shape, path: &Path) -> Option<Object> {
        let entries = match &node.content {
            Content::Null => return None,
            Content::Map(entries) => entries,
            Content::Scalar { .. } if shape.fields.iter().any(|field| field.name == "inline") => {
                let message = "expected keys and values; write the text below the key inline";
                self.error(node, path, message);
                return None;
            }
            _ => {
                self.error_kind(node, "keys and values", path);
                return None;
            }
        };
        self.places
            .insert(path.json.clone(), (node.spot, path.yaml.clone()));
        let before = self.found.errors.len();
        let mut object = Object::new();
        for entry in entries {
            let below = path.key(&entry.key);
            let field = shape.fields.iter().find(|field| field.name == entry.key);
            let Some(field) = field.filter(|field| self.has(field, entry, &below)) else {
                if field.is_none() {
                    self.unknown(entry, shape, &below);
                }
                continue;
            };
            if let Some(value) = self.value(&entry.value, field.kind, &below) {
                object.insert(json_name(field.name), value);
            }
        }
        // Of values that were refused nothing more is to be said.
        if let Some(finish) = shape.finish.filter(|_| self.found.errors.len() == before) {
            finish(self, node, &mut object, path);
        }
        Some(object)
    }

    /// Whether a config of this variant can have `field`; complains if not.
    fn has(&mut self, field: &Field, entry: &Entry, path: &Path) -> bool {
        let reason = match (field.kind, field.since) {
            (Kind::Refused(reason), _) => reason.to_owned(),
            (_, Since::Ballast) if self.variant.family != Family::Ballast => {
                "is for variant ballast only".to_owned()
            }
            (_, Since::Spec(spec)) if self.variant.spec < spec => self.variant.too_old(spec),
            _ => return true,
        };
        let message = format!("{:?} {reason}", entry.key);
        let problem = self.text.problem(entry.spot, &path.yaml, message);
        self.found.errors.push(problem);
        false
    }

    fn unknown(&mut self, entry: &Entry, shape: &Shape, path: &Path) {
        let name = entry.key.as_str();
        let names = shape.fields.iter().map(|field| field.name);
        let elsewhere = shape::belongs_below(name).filter(|section| *section != path.yaml);
        let hint = match (elsewhere, nearest(name, names.clone())) {
            (Some(section), _) if path.yaml == name => {
                format!("it belongs below {section:?}: indent it there")
            }
            (_, Some(meant)) => format!("did you mean {meant:?}?"),
            _ => format!("keys here are {}", names.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("there is no key {name:?} here, it has no effect; {hint}");
        let problem = self.text.problem(entry.spot, &path.yaml, message);
        self.found.warnings.push(problem);
    }

    /// `node` as JSON; nothing if it is wrong, left out or sugar.
    pub fn value(&mut self, node: &Node, kind: Kind, path: &Path) -> Option<Value> {
        if node.content == Content::Null {
            return None;
        }
        self.places
            .insert(path.json.clone(), (node.spot, path.yaml.clone()));
        match kind {
            Kind::Text => self.words(node, path).map(Value::from),
            Kind::Truth => self.truth(node, path).map(Value::from),
            Kind::Number => self.number(node, path).map(Value::from),
            Kind::Mode => self.mode(node, path).map(Value::from),
            Kind::List(kind) => self.list(node, *kind, path).map(Value::from),
            Kind::Map(shape) => self.object(node, shape, path).map(Value::from),
            Kind::Sugar(kind) => {
                self.value(node, *kind, path);
                None
            }
            Kind::Later | Kind::Refused(_) => None,
        }
    }

    fn list(&mut self, node: &Node, kind: Kind, path: &Path) -> Option<Vec<Value>> {
        let Content::List(nodes) = &node.content else {
            let message = format!(
                "expected a list (every entry starts with \"- \"), found {}",
                node.kind()
            );
            self.error(node, path, message);
            return None;
        };
        let mut values = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let path = path.entry(number);
            match self.value(node, kind, &path) {
                Some(value) => values.push(value),
                None if node.content == Content::Null => {
                    self.error(node, &path, "an empty entry of a list; remove it");
                }
                // Wrong entries keep their place, so that those behind keep theirs.
                None => values.push(Value::Null),
            }
        }
        Some(values)
    }

    fn words(&mut self, node: &Node, path: &Path) -> Option<String> {
        match node.text() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.error_kind(node, "a text", path);
                None
            }
        }
    }

    fn truth(&mut self, node: &Node, path: &Path) -> Option<bool> {
        let found = match &node.content {
            Content::Scalar { text, plain: true } => match truth(text) {
                Some(value) => return Some(value),
                None => format!("{text:?}"),
            },
            Content::Scalar { text, .. } => format!("{text:?} in quotes"),
            _ => node.kind().to_owned(),
        };
        self.error(node, path, format!("expected true or false, found {found}"));
        None
    }

    fn number(&mut self, node: &Node, path: &Path) -> Option<i64> {
        let found = match &node.content {
            Content::Scalar { text, plain } => match (number(text), plain) {
                (Some(number), true) => return Some(number),
                (Some(_), false) => {
                    let message = format!("expected a number: write {text} without quotes");
                    self.error(node, path, message);
                    return None;
                }
                (None, _) => format!("{text:?}"),
            },
            _ => node.kind().to_owned(),
        };
        let advice = match path.yaml.ends_with("_mib") {
            true => "; it is in MiB, and without a unit: 10 GiB are 10240",
            false => "",
        };
        let message = format!("expected a whole number, found {found}{advice}");
        self.error(node, path, message);
        None
    }

    fn mode(&mut self, node: &Node, path: &Path) -> Option<i64> {
        let text = node.text().unwrap_or_default();
        if number(text).is_none() && text.starts_with(['u', 'g', 'a', 'r', '-']) {
            let message = "expected a permission mode in octal, such as 0644 or 0755";
            self.error(node, path, message);
            return None;
        }
        if text.starts_with('0')
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && number(text).is_none()
        {
            let message = format!(
                "{text} is not octal, which has the digits 0 to 7; write 0644, 0755 or the like"
            );
            self.error(node, path, message);
            return None;
        }
        let mode = self.number(node, path)?;
        if !(0..=0o7777).contains(&mode) {
            let message = format!("{text} is no permission mode; write 0644, 0755 or the like");
            self.error(node, path, message);
            return None;
        }
        let octal = i64::from_str_radix(text, 8).ok();
        let meant = octal.filter(|octal| COMMON.contains(octal) && !COMMON.contains(&mode));
        if !text.starts_with('0') && meant.is_some() {
            let message = format!(
                "{text} is a decimal number and means the mode {mode:05o}; \
                 write 0{text} if you mean that in octal"
            );
            self.warn(node, path, message);
        }
        Some(mode)
    }

    /// An error at `node`.
    pub fn error(&mut self, node: &Node, path: &Path, message: impl Into<String>) {
        let problem = self.text.problem(node.spot, &path.yaml, message);
        self.found.errors.push(problem);
    }

    /// A warning at `node`.
    pub fn warn(&mut self, node: &Node, path: &Path, message: impl Into<String>) {
        let problem = self.text.problem(node.spot, &path.yaml, message);
        self.found.warnings.push(problem);
    }

    fn error_kind(&mut self, node: &Node, expected: &str, path: &Path) {
        let message = format!("expected {expected}, found {}", node.kind());
        self.error(node, path, message);
    }
}

/// A truth value as YAML 1.1 and 1.2 have them.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A whole number as YAML 1.1 and 1.2 have them.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    // The library would take a second sign here.
    let unsigned = |digits: &&str| digits.starts_with(|c: char| c.is_ascii_hexdigit());
    let radix = |radix, digits: &str| {
        let digits = Some(digits).filter(unsigned)?;
        i64::from_str_radix(digits, radix).ok()
    };
    let value = match digits.get(..2) {
        Some("0x") => radix(16, &digits[2..]),
        Some("0o") => radix(8, &digits[2..]),
        Some("0b") => radix(2, &digits[2..]),
        Some(_) if digits.starts_with('0') => radix(8, &digits),
        _ => radix(10, &digits),
    };
    value.map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_yaml_has_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0644", Some(0o644)),
            ("0o644", Some(0o644)),
            ("0x1F", Some(31)),
            ("-1", Some(-1)),
            ("1_000", Some(1000)),
            ("089", None),
            ("1.5", None),
            ("0x-5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
